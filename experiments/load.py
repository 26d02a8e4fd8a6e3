"""From a YAML file and dotted overrides to a typed experiment; every mistake named with its file and key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from experiments.errors import UserError, nearest
from experiments.keys import Values
from experiments.lungs_schema import LungsExperiment
from experiments.paths import expand
from experiments.schema import Experiment
from experiments.source_schema import SOURCE_KINDS
from experiments.validate import check_experiment, check_lungs_experiment

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
    experiment = load_schema(Experiment, path, overrides)
    for name, task in experiment.tasks.items():
        if task.name not in ("", name):
            raise UserError(f"{path}: tasks.{name}.name: a task's name is its key; leave 'name' out")
        task.name = name
    check_experiment(experiment, str(path))
    return experiment


def load_lungs_experiment(path: str | Path, overrides: Sequence[str] = ()) -> LungsExperiment:
    """Read a lung segmentation experiment as :func:`load_experiment` reads an experiment.

    >>> load_lungs_experiment("experiments/lungs_demo.yaml", ["seed=3"]).seed
    3
    """
    experiment = load_schema(LungsExperiment, path, overrides)
    check_lungs_experiment(experiment, str(path))
    return experiment


def load_schema(schema: type[T], path: str | Path, overrides: Sequence[str | Layer]) -> T:
    """Read a YAML that obeys a schema with a ``name``, and what it extends; then apply the overrides in order.

    Raises:
        UserError: Missing file, bad YAML, unknown key, wrong type.
    """
    path = expand(path)
    config = OmegaConf.structured(schema)
    config.name = path.stem
    for where, values in _read_layers(path):
        _merge(config, values, where)
    for override in overrides:
        where, values = _parse_override(override) if isinstance(override, str) else override
        _merge(config, values, where)
    return _to_object(config, schema, str(path))


def to_dict(experiment: Any) -> Values:
    """Return plain containers (dict, list, str, numbers): for YAML, checkpoints and hashes."""
    plain = OmegaConf.to_container(OmegaConf.structured(experiment), enum_to_str=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def to_yaml(experiment: Any) -> str:
    """Return the resolved experiment as YAML; loading it again gives the same experiment.

    >>> from experiments.schema import Checkpoint
    >>> print(to_yaml(Checkpoint(every_n_steps=50)), end="")
    every_n_steps: 50
    """
    return yaml.safe_dump(to_dict(experiment), sort_keys=False, allow_unicode=True)


def from_dict(schema: type[T], values: Values) -> T:
    """Return the settings that :func:`to_dict` made plain.

    >>> from experiments.schema import Optimizer
    >>> from_dict(Optimizer, to_dict(Optimizer("SGD", lr=0.1))) == Optimizer("SGD", lr=0.1)
    True
    """
    config = OmegaConf.structured(schema)
    _merge(config, values, "saved experiment")
    return _to_object(config, schema, "saved experiment")


def override(experiment: Experiment, overrides: Sequence[str], where: str) -> Experiment:
    """Return a saved experiment as another machine needs it, by ``key.path=value`` as on a training's command line.

    ``data.root=DIR`` moves the sources and mask folders that lie below the old root, whose paths were resolved when
    the experiment was loaded.

    Raises:
        UserError: As :func:`load_experiment`.

    >>> demo = load_experiment("experiments/demo.yaml", ["data.root=old"])
    >>> override(demo, ["data.root=/data/cxr"], "checkpoint").data.sources["covidx"].root
    '/data/cxr/covidx'
    """
    config, old = OmegaConf.structured(experiment), experiment.data.root
    for text in overrides:
        layer, values = _parse_override(text)
        _merge(config, values, layer)
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
        values = OmegaConf.to_container(OmegaConf.load(path))
    except RecursionError as error:
        raise UserError(f"{path}: cannot be read as YAML: its values are nested too deeply") from error
    except (yaml.YAMLError, ValueError, OSError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: an experiment is a mapping of keys to values, not a {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def _merge(config: DictConfig, values: Values, where: str) -> None:
    """Merge one layer; its mistakes are reported with the layer's name."""
    try:
        _check_sections(OmegaConf.get_type(config), values, where)
        _choose_adapters(config, values, where)
        config.merge_with(OmegaConf.create(values))
    except ConfigKeyError as error:
        names = [item.name for item in fields(error.object_type)] if error.object_type else []
        raise UserError(f"{where}: unknown key {error.full_key!r}{nearest(str(error.key), names)}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {error.full_key or 'value'}: {str(error.msg).splitlines()[0]}") from error


def _check_sections(kind: Any, value: Any, where: str, key: str = "") -> None:
    """Refuse a plain value in the place of a section of this type: OmegaConf would not name the key."""
    types = get_args(kind)
    if type(None) in types:  # an optional section
        if value is None:
            return
        kind, types = types[0], get_args(types[0])
    if not is_dataclass(kind) and get_origin(kind) is not dict:
        return
    if not isinstance(value, dict):
        raise UserError(f"{where}: {key}: takes a mapping of keys to values, not {value!r}")
    kinds = get_type_hints(kind) if is_dataclass(kind) else dict.fromkeys(value, types[1])
    for name, section in value.items():
        if name in kinds:
            _check_sections(kinds[name], section, where, f"{key}.{name}" if key else name)


def _choose_adapters(config: DictConfig, values: Values, where: str) -> None:
    """Give every source the fields of its kind, before the layer's values are merged into them."""
    data = values.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    if not isinstance(sources, dict) or "sources" not in config.data:
        return
    for name, source in sources.items():
        kind = source.get("kind") if isinstance(source, dict) else None
        if kind is None:
            if name not in config.data.sources:
                raise UserError(f"{where}: data.sources.{name} has no 'kind'{nearest('', SOURCE_KINDS)}")
        elif not isinstance(kind, str) or kind not in SOURCE_KINDS:
            raise UserError(f"{where}: data.sources.{name}.kind: no kind {kind!r}{nearest(str(kind), SOURCE_KINDS)}")
        elif name not in config.data.sources or config.data.sources[name].kind != kind:
            config.data.sources[name] = OmegaConf.structured(SOURCE_KINDS[kind])
        _check_sections(OmegaConf.get_type(config.data.sources[name]), source, where, f"data.sources.{name}")


def _to_object(config: DictConfig, schema: type[T], where: str) -> T:
    try:
        experiment = OmegaConf.to_object(config)
        OmegaConf.structured(experiment)  # merging lets a mapping pass in a list of texts
    except MissingMandatoryValue as error:
        raise UserError(f"{where}: {error.full_key or error.msg} is not set") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {error.full_key}: {str(error.msg).splitlines()[0]}") from error
    assert isinstance(experiment, schema)
    return experiment
