"""A layer's values against the sections of a schema, before OmegaConf merges them."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from experiments.errors import UserError
from experiments.keys import Values
from experiments.plugins.choices import without_none


def check_sections(kind: Any, value: Any, where: str, key: str = "") -> None:
    """Refuse a plain value in the place of a section of this type, and a number in the place of true or false.

    Of the first OmegaConf would not name the key; it would take any number but 0 as true.

    Args:
        kind: A dataclass, or any other type of a setting.
        value: What a layer gives.
        where: The layer's name.
        key: The setting.

    Raises:
        UserError: Naming the key.

    >>> from experiments.schema import Experiment
    >>> check_sections(Experiment, {"data": {"pairs": "whatsapp"}}, "mine.yaml")
    Traceback (most recent call last):
    experiments.errors.UserError: mine.yaml: data.pairs: takes a mapping of keys to values, not 'whatsapp'
    """
    if type(None) in get_args(kind) and value is None:
        return
    kind = without_none(kind)
    if kind is bool and _is_other_number(value):
        raise UserError(f"{where}: {key}: takes true or false, not {value!r}")
    if not is_dataclass(kind) and get_origin(kind) is not dict:
        return
    if not isinstance(value, dict):
        raise UserError(f"{where}: {key}: takes a mapping of keys to values, not {value!r}")
    kinds = get_type_hints(kind) if is_dataclass(kind) else dict.fromkeys(value, get_args(kind)[1])
    for name, section in value.items():
        if name in kinds:
            check_sections(kinds[name], section, where, f"{key}.{name}" if key else name)


def _is_other_number(value: Any) -> bool:
    """Return whether a value is a whole number, or the text of one, but neither 0 nor 1."""
    try:
        return int(str(value)) not in (0, 1)
    except ValueError:
        return False


def empty_mappings(config: DictConfig, schema: Any, values: Values) -> None:
    """Empty what a layer gives as ``{}`` and is no section, such as options: merging would leave it as it is.

    Args:
        config: What the layer will be merged into.
        schema: Its dataclass.
        values: The layer's.

    >>> from experiments.schema import Scheduler
    >>> config = OmegaConf.structured(Scheduler)
    >>> empty_mappings(config, Scheduler, {"options": {}})
    >>> config.options
    {}
    """
    hints = get_type_hints(schema) if is_dataclass(schema) else {}
    for name, value in values.items():
        kind = without_none(hints.get(name))
        inner = get_args(kind)[1] if get_origin(kind) is dict else None
        if value == {} and inner is not None and not is_dataclass(inner):
            config[name] = {}
        elif isinstance(value, dict) and is_dataclass(kind) and config[name] is not None:
            empty_mappings(config[name], kind, value)
        elif isinstance(value, dict) and is_dataclass(inner):
            for each in value.keys() & config[name].keys():
                if isinstance(value[each], dict):
                    empty_mappings(config[name][each], OmegaConf.get_type(config[name][each]), value[each])
