"""From a YAML file and dotted overrides to a typed experiment; every mistake named with its file and key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from experiments.errors import UserError, nearest
from experiments.keys import Values, as_literals, require_bounded, require_small_yaml, to_plain
from experiments.loading.merge import merge_layer
from experiments.loading.sources import kinds_first
from experiments.lungs.masks import MaskLevels
from experiments.lungs_schema import LungsExperiment
from experiments.paths import expand
from experiments.plugins.imports import make_importable
from experiments.plugins.registry import check_choice
from experiments.plugins.trust import choices_of
from experiments.pretraining.schema import PretrainExperiment
from experiments.schema import Experiment
from experiments.source_schema import ForeignSource
from experiments.validate import (
    check_experiment,
    check_lungs_experiment,
    check_pretrain_experiment,
    level_mistakes,
)

SHIPPED = Path(__file__).parent
T = TypeVar("T")
Layer = tuple[str, Values]  # where values come from, and the values, nested as in a YAML


def load_experiment(path: str | Path, overrides: Sequence[str | Layer] = ()) -> Experiment:
    """Read an experiment YAML with its ``extends`` chain and apply overrides.

    Args:
        path: The file; one that comes with the project is found from any folder.
        overrides: ``key.path=value`` as on the command line, or a sweep's layers; the last one counts.

    Raises:
        UserError: Missing file, bad YAML, unknown key, wrong type, or settings that do not fit together.

    >>> demo = load_experiment("experiments/demo.yaml", ["optimizer.lr=1e-3", "active_tasks=[covidx]"])
    >>> demo.optimizer.lr, [task.name for task in demo.active]
    (0.001, ['covidx'])
    >>> load_experiment("experiments/demo.yaml", ["optimiser.lr=1e-3"])
    Traceback (most recent call last):
    experiments.errors.UserError: command line (optimiser.lr=1e-3): unknown key 'optimiser'; did you mean 'optimizer'?
    """
    return _checked(load_schema(Experiment, path, overrides), path)


class CommonSettings:
    """What many experiments have in common, read once: a sweep's trials differ in a few settings.

    Args:
        path: As for :func:`load_experiment`.
        overrides: Those that all of them have.

    Raises:
        UserError: As :func:`load_experiment`, but for settings that do not fit together.

    >>> common = CommonSettings("experiments/demo.yaml", ["optimizer.lr=1e-3"])
    >>> experiments = [common.experiment(("here", {"seed": seed})) for seed in (1, 2)]
    >>> [(experiment.seed, experiment.optimizer.lr) for experiment in experiments]
    [(1, 0.001), (2, 0.001)]
    """

    def __init__(self, path: str | Path, overrides: Sequence[str | Layer] = ()) -> None:
        self.path = path
        self._config = _merge_layers(Experiment, path, overrides)

    def experiment(self, layer: Layer) -> Experiment:
        """Return the experiment that a layer of values makes of it.

        Raises:
            UserError: As :func:`load_experiment`.
        """
        config = deepcopy(self._config)
        merge_layer(config, layer[1], layer[0], choosing=True)
        return _checked(_to_object(config, Experiment, str(self.path)), self.path)

    def follows(self, key: str, values: Values) -> bool:
        """Return whether other settings, or some values, are written in terms of a setting, as ``${seed}``."""
        texts = f"{OmegaConf.to_container(self._config, resolve=False)} {values}"
        return re.search(rf"\$\{{[^}}]*\b{re.escape(key)}\b", texts) is not None


def _checked(experiment: Experiment, path: str | Path) -> Experiment:
    """Name the tasks of an experiment; refuse settings that do not fit together."""
    for name, task in experiment.tasks.items():
        if task.name not in ("", name):
            raise UserError(f"{path}: tasks.{name}.name: a task's name is its key; leave 'name' out")
        task.name = name
    check_experiment(experiment, str(path))
    check_choices(experiment, str(path))
    return experiment


def load_lungs_experiment(path: str | Path, overrides: Sequence[str] = ()) -> LungsExperiment:
    """Read a lung segmentation experiment as :func:`load_experiment` reads an experiment.

    >>> load_lungs_experiment("experiments/lungs_demo.yaml", ["seed=3"]).seed
    3
    """
    experiment = load_schema(LungsExperiment, path, overrides)
    check_lungs_experiment(experiment, str(path))
    check_choices(experiment, str(path))
    return experiment


def load_pretrain_experiment(path: str | Path, overrides: Sequence[str] = ()) -> PretrainExperiment:
    """Read an experiment of self-supervised pretraining as :func:`load_experiment` reads an experiment.

    >>> load_pretrain_experiment("experiments/pretrain.yaml", ["batch_size=32"]).batch_size
    32
    """
    experiment = load_schema(PretrainExperiment, path, overrides)
    check_pretrain_experiment(experiment, str(path))
    check_choices(experiment, str(path))
    return experiment


def check_choices(settings: Any, where: str) -> None:
    """Import every class that the settings name by its path: a wrong one is met before anything is read or made.

    Raises:
        UserError: It cannot be imported, or does not take its ``init_args``.
    """
    for key, group, text in choices_of(settings):
        if group != "channels":  # they are checked where they are parsed
            check_choice(group, text, f"{where}: {key}")
    for name, source in settings.data.sources.items() if hasattr(settings.data, "sources") else ():
        if isinstance(source, ForeignSource):
            source.resolve(f"{where}: data.sources.{name}")


def parse_levels(text: str, where: str) -> MaskLevels:
    """Read the levels of a mask as they are written in YAML.

    >>> parse_levels("{lungs: [1, 2], heart: 3}", "--levels")
    MaskLevels(lungs=[1, 2], heart=3)

    Raises:
        UserError: Another shape, or something that is no grey level.
    """
    try:
        values = yaml.safe_load(text)
        levels = MaskLevels(**values)
    except (TypeError, yaml.YAMLError) as error:
        raise UserError(f"{where}: takes levels such as '{{lungs: [1, 2], heart: 3}}', not {text!r}") from error
    for key, mistake in level_mistakes(levels, where):
        raise UserError(f"{key}: {mistake}")
    return levels


def load_schema(schema: type[T], path: str | Path, overrides: Sequence[str | Layer]) -> T:
    """Read a YAML that obeys a schema with a ``name``, and what it extends; then apply the overrides in order.

    Raises:
        UserError: Missing file, bad YAML, unknown key, wrong type.
    """
    return _to_object(_merge_layers(schema, path, overrides), schema, str(expand(path)))


def _merge_layers(schema: type, path: str | Path, overrides: Sequence[str | Layer]) -> DictConfig:
    """Return the settings of a YAML, of what it extends, and of the overrides, not resolved yet."""
    path = expand(path)
    config = OmegaConf.structured(schema)
    config.name = path.stem
    make_importable(Path.cwd())
    for where, values in _read_layers(path):
        merge_layer(config, values, where, choosing=True)
    for override in kinds_first(overrides):
        where, values = _parse_override(override) if isinstance(override, str) else override
        merge_layer(config, values, where, choosing=True)
    return config


def to_dict(experiment: Any) -> Values:
    """Return plain containers (dict, list, str, numbers): for YAML, checkpoints and hashes."""
    return to_plain(experiment)


def to_yaml(experiment: Any) -> str:
    """Return the resolved experiment as YAML; loading it again gives the same experiment.

    >>> from experiments.schema import Checkpoint
    >>> print(to_yaml(Checkpoint(every_n_steps=50)), end="")
    every_minutes: 10.0
    every_n_steps: 50
    keep: best
    """
    return yaml.safe_dump(to_dict(experiment), sort_keys=False, allow_unicode=True)


def from_dict(schema: type[T], values: Values) -> T:
    """Return the settings that :func:`to_dict` made plain; nothing in them is resolved.

    Raises:
        UserError: Unknown key, wrong type, or more values than any settings have.

    >>> from experiments.schema import Optimizer
    >>> from_dict(Optimizer, to_dict(Optimizer("SGD", lr=0.1))) == Optimizer("SGD", lr=0.1)
    True
    """
    require_bounded(values, "saved experiment")
    config = OmegaConf.structured(schema)
    merge_layer(config, as_literals(values), "saved experiment")
    return _to_object(config, schema, "saved experiment")


def override(experiment: Experiment, overrides: Sequence[str | Layer], where: str) -> Experiment:
    """Return a saved experiment as another machine needs it, by ``key.path=value`` as on a training's command line.

    Nothing in the saved experiment is resolved, nor in a layer of values.

    ``data.root=DIR`` moves the sources and mask folders that lie below the old root, whose paths were resolved when
    the experiment was loaded.

    Raises:
        UserError: As :func:`load_experiment`.

    >>> demo = load_experiment("experiments/demo.yaml", ["data.root=old"])
    >>> override(demo, ["data.root=/data/cxr"], "checkpoint").data.sources["covidx"].root
    '/data/cxr/covidx'
    """
    config, old = OmegaConf.structured(Experiment), experiment.data.root
    merge_layer(config, as_literals(to_plain(experiment)), where)
    for change in kinds_first(overrides):
        layer, values = _parse_override(change) if isinstance(change, str) else (change[0], as_literals(change[1]))
        merge_layer(config, values, layer, choosing=True)
        if "root" in values.get("data", {}):
            for source in config.data.sources.values():
                source.root = _move(source.root, old, config.data.root)
            config.data.masks.folders = [_move(path, old, config.data.root) for path in config.data.masks.folders]
    changed = _to_object(config, Experiment, where)
    check_experiment(changed, where)
    return changed


def _move(path: str, old: str, new: str) -> str:
    return str(Path(new) / Path(path).relative_to(old)) if Path(path).is_relative_to(old) else path


def _parse_override(override: str) -> Layer:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"command line: {override!r} is not an override; write key.path=value")
    require_small_yaml(text, f"command line: the value of {key}")
    try:
        values = OmegaConf.to_container(OmegaConf.from_dotlist([override]))
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise UserError(f"command line: the value of {key} is not YAML: {text!r}") from error
    assert isinstance(values, dict)
    return f"command line ({override})", {str(name): value for name, value in values.items()}


def _read_layers(path: Path) -> list[Layer]:
    """Return the file and what it extends, the base first."""
    layers: list[Layer] = []
    chain: list[Path] = []
    while True:
        path = _find_file(path)
        if path.resolve() in chain:
            raise UserError(f"{path}: 'extends' goes round in a circle: {' -> '.join(p.name for p in chain)}")
        chain.append(path.resolve())
        values = _read_yaml(path)
        if path.parent.resolve() != SHIPPED:
            make_importable(path.parent)
        base = values.pop("extends", None)
        layers.insert(0, (str(path), values))

        # what it extends
        if base is None:
            return layers
        if not isinstance(base, str):
            raise UserError(f"{path}: 'extends' takes one file name, not {base!r}")
        path = path.parent / base


def _find_file(path: Path) -> Path:
    """Return the file's path; what is shipped in ``experiments/`` is found from any working folder."""
    if path.is_file():
        return path
    _, folder, name = f"/{path.as_posix()}".rpartition(f"/{SHIPPED.name}/")
    shipped = SHIPPED / name
    if folder and shipped.is_file():
        return shipped
    names = {p.name for p in [*shipped.parent.glob("*.yaml"), *path.parent.glob("*.yaml")]}
    raise UserError(f"{path}: no such experiment file{nearest(path.name, names)}")


def _read_yaml(path: Path) -> Values:
    try:
        require_small_yaml(path.read_text(), path)
        values = OmegaConf.to_container(OmegaConf.load(path))
    except RecursionError as error:
        raise UserError(f"{path}: cannot be read as YAML: its values are nested too deeply") from error
    except (yaml.YAMLError, ValueError, OSError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: an experiment is a mapping of keys to values, not a {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def _to_object(config: DictConfig, schema: type[T], where: str) -> T:
    try:
        experiment = OmegaConf.to_object(config)
        if _has_nested_list(experiment):  # else all is checked; this takes five times as long as the rest
            OmegaConf.structured(experiment)  # merging lets a mapping pass in a list of texts
    except MissingMandatoryValue as error:
        raise UserError(f"{where}: {_describe_missing(config, str(error.full_key or error.msg))}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {error.full_key}: {str(error.msg).splitlines()[0]}") from error
    assert isinstance(experiment, schema)
    return experiment


def _describe_missing(config: DictConfig, key: str) -> str:
    source = re.fullmatch(r"data\.sources\.([^.]+)\.(.+)", key)
    if source is None:
        return f"{key} is not set"
    return f"{key} is not set: a source of kind {config.data.sources[source[1]].kind} needs it"


def _has_nested_list(value: object) -> bool:
    """Return whether a list anywhere in some settings holds a mapping, a list or nothing."""
    if is_dataclass(value):
        return any(_has_nested_list(getattr(value, item.name)) for item in fields(value))
    if isinstance(value, dict):
        return any(map(_has_nested_list, value.values()))
    if isinstance(value, list):
        return any(item is None or isinstance(item, dict | list) or _has_nested_list(item) for item in value)
    return False
