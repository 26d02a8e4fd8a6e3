"""One layer of settings merged into those before it: of a YAML, of the command line, of a sweep's trial."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from experiments.errors import UserError
from experiments.keys import Values
from experiments.loading.places import describe_unknown
from experiments.loading.sections import check_sections, empty_mappings
from experiments.loading.sources import choose_sources
from experiments.plugins.choices import Choice, group_of, write_choices
from experiments.plugins.registry import find
from experiments.schema import TaskKind
from experiments.trainer.arguments import ARGUMENTS, OWN


def merge_layer(config: DictConfig, values: Values, where: str, *, choosing: bool = False) -> None:
    """Merge one layer; its mistakes are reported with the layer's name.

    An empty mapping empties what is no section, such as ``optimizer.options={}``.

    Args:
        config: What it is merged into: settings of a schema.
        values: The layer's.
        where: Its name.
        choosing: A person wrote it, who may choose classes; nothing in a saved one is imported.

    Raises:
        UserError: Unknown key, wrong type, wrong choice.

    >>> from experiments.schema import Optimizer
    >>> config = OmegaConf.structured(Optimizer("Adam", options={"weight_decay": 0.1}))
    >>> merge_layer(config, {"lr": 0.5, "options": {}}, "mine.yaml")
    >>> config
    {'name': 'Adam', 'lr': 0.5, 'options': {}}
    """
    schema = OmegaConf.get_type(config)
    try:
        if choosing:
            values = _write_choices(config, values, where)
            _check_trainer(values.get("trainer"), schema, where)
        check_sections(schema, values, where)
        choose_sources(config, values, where)
        if choosing:
            _drop_other_options(config, values, where)
        empty_mappings(config, schema, values)
        config.merge_with(OmegaConf.create(values))
    except ConfigKeyError as error:
        here = [item.name for item in fields(error.object_type)] if error.object_type else []
        hint = describe_unknown(str(error.full_key), here, schema)
        raise UserError(f"{where}: unknown key {error.full_key!r}{hint}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {error.full_key or 'value'}: {str(error.msg).splitlines()[0]}") from error


def _write_choices(config: DictConfig, values: Values, where: str) -> Values:
    """Return a layer with one line in the place of each class and its ``init_args``; see `write_choices`."""
    before = OmegaConf.to_container(config)
    assert isinstance(before, dict)
    try:
        values = write_choices(OmegaConf.get_type(config), values, {str(key): value for key, value in before.items()})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error

    # a task of a class of its own, and what that answers; another kind takes its place
    tasks = values.get("tasks")
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        kind = task.get("kind") if isinstance(task, dict) else None
        if isinstance(kind, str) and kind not in TaskKind.__members__:
            key = f"{where}: tasks.{name}.kind"
            answers = getattr(find("tasks", Choice.parse(kind, key).name, key), "answers", TaskKind.custom)
            task |= {"kind": TaskKind(answers).name, "module": kind}
        elif kind is not None:
            task.setdefault("module", None)
    return values


def _check_trainer(settings: Any, schema: Any, where: str) -> None:
    """Refuse what Lightning's Trainer has no argument for; `experiments.trainer.arguments` looks at the values."""
    for name in settings if isinstance(settings, dict) else ():
        if name not in ARGUMENTS and name not in OWN:
            hint = describe_unknown(f"trainer.{name}", [*ARGUMENTS, *OWN], schema)
            raise UserError(f"{where}: trainer.{name}: Lightning's Trainer has no such argument{hint}")


def _drop_other_options(config: DictConfig, values: Values, where: str) -> None:
    """Where a layer chooses another optimizer or scheduler, drop the options that the new one does not take."""
    hints: dict[str, Any] = get_type_hints(OmegaConf.get_type(config))
    for section, given in values.items():
        kind, name = hints.get(section, Any), given.get("name") if isinstance(given, dict) else None
        groups = {item.name: group_of(item) for item in fields(kind)} if is_dataclass(kind) else {}
        group = groups.get("name")
        if group is None or "options" not in groups or name in (None, config[section].name):
            continue

        # the schema's own are left to whoever makes it
        default = kind().options
        options = OmegaConf.to_container(config[section].options, resolve=False)
        assert isinstance(options, dict)
        others = [option for option, value in options.items() if default.get(option) != value]
        accepted = _arguments(group, str(name), f"{where}: {section}.name") if others else []
        for option in others:
            if accepted is not None and option not in accepted:
                del config[section].options[option]


def _arguments(group: str, name: str, key: str) -> list[str] | None:
    """Return the names of a class's or function's arguments; None: it takes any."""
    parameters = inspect.signature(find(group, Choice.parse(name, key).name, key)).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return None
    return list(parameters)
