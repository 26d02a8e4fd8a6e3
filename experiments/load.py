"""From a YAML file and dotted overrides to a typed experiment; every mistake named with its file and key."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import is_structured_config
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from experiments.errors import UserError, nearest
from experiments.lungs_schema import LungsExperiment
from experiments.schema import SOURCE_KINDS, Experiment
from experiments.validate import check_experiment, check_lungs_experiment

SHIPPED = Path(__file__).parent
T = TypeVar("T")
Layer = tuple[str, dict[str, Any]]  # where values come from, and the values, nested as in a YAML


def load_experiment(path: str | Path, overrides: Sequence[str | Layer] = ()) -> Experiment:
    """Read an experiment YAML with its ``extends`` chain and apply ``key.path=value`` overrides, or a sweep's layers.

    Raises:
        UserError: Missing file, bad YAML, unknown key, wrong type, or settings that do not fit together.
    """
    experiment = load_schema(Experiment, path, overrides)
    for name, task in experiment.tasks.items():
        if task.name not in ("", name):
            raise UserError(f"{path}: tasks.{name}.name: a task's name is its key; leave 'name' out")
        task.name = name
    check_experiment(experiment, str(path))
    return experiment


def load_lungs_experiment(path: str | Path, overrides: Sequence[str] = ()) -> LungsExperiment:
    """The same for a lung segmentation experiment."""
    experiment = load_schema(LungsExperiment, path, overrides)
    check_lungs_experiment(experiment, str(path))
    return experiment


def to_dict(experiment: Any) -> dict[str, Any]:
    """Plain containers (dict, list, str, numbers): for YAML, checkpoints and hashes."""
    plain = OmegaConf.to_container(OmegaConf.structured(experiment), enum_to_str=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def to_yaml(experiment: Any) -> str:
    """The resolved experiment as YAML; loading it again gives the same experiment."""
    return yaml.safe_dump(to_dict(experiment), sort_keys=False, allow_unicode=True)


def from_dict(schema: type[T], values: dict[str, Any]) -> T:
    """Inverse of :func:`to_dict`."""
    config = OmegaConf.structured(schema)
    _merge(config, values, "saved experiment")
    return _to_object(config, schema, "saved experiment")


def override(experiment: Experiment, overrides: Sequence[str], where: str) -> Experiment:
    """A saved experiment on another machine: ``key.path=value`` as on a training's command line.

    ``data.root=DIR`` moves the sources and mask folders that lie below the old root, whose paths were resolved when
    the experiment was loaded.

    Raises:
        UserError: As :func:`load_experiment`.
    """
    config, old = OmegaConf.structured(experiment), experiment.data.root
    for text in overrides:
        values = _override(text)
        _merge(config, values, f"command line ({text})")
        if "root" in values.get("data", {}):
            for source in config.data.sources.values():
                source.root = _moved(source.root, old, config.data.root)
            config.data.masks.folders = [_moved(path, old, config.data.root) for path in config.data.masks.folders]
    changed = _to_object(config, Experiment, where)
    check_experiment(changed, where)
    return changed


def _moved(path: str, old: str, new: str) -> str:
    return str(Path(new) / Path(path).relative_to(old)) if Path(path).is_relative_to(old) else path


def load_schema(schema: type[T], path: str | Path, overrides: Sequence[str | Layer]) -> T:
    """Read a YAML that obeys a schema with a ``name``, and what it extends; then the overrides in order.

    Raises:
        UserError: Missing file, bad YAML, unknown key, wrong type.
    """
    config = OmegaConf.structured(schema)
    config.name = Path(path).stem
    for where, values in _layers(Path(path)):
        _merge(config, values, where)
    for override in overrides:
        layer = (f"command line ({override})", _override(override)) if isinstance(override, str) else override
        _merge(config, layer[1], layer[0])
    return _to_object(config, schema, str(path))


def _override(override: str) -> dict[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UserError(f"command line: {override!r} is not an override; write key.path=value")
    try:
        values = OmegaConf.to_container(OmegaConf.from_dotlist([override]))
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise UserError(f"command line: the value of {key} is not YAML: {text!r}") from error
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _layers(path: Path) -> list[Layer]:
    """The file and what it extends, the base first."""
    layers: list[Layer] = []
    seen: list[Path] = []
    while True:
        path = _find(path)
        if path.resolve() in seen:
            raise UserError(f"{path}: 'extends' goes round in a circle: {' -> '.join(p.name for p in seen)}")
        seen.append(path.resolve())
        values = _read(path)
        base = values.pop("extends", None)
        layers.insert(0, (str(path), values))
        if base is None:
            return layers
        if not isinstance(base, str):
            raise UserError(f"{path}: 'extends' takes one file name, not {base!r}")
        path = path.parent / base


def _find(path: Path) -> Path:
    """The file; what is shipped in ``experiments/`` is found from any working folder."""
    if path.is_file():
        return path
    _, folder, name = f"/{path.as_posix()}".rpartition(f"/{SHIPPED.name}/")
    shipped = SHIPPED / name
    if folder and shipped.is_file():
        return shipped
    known = {p.name for p in [*shipped.parent.glob("*.yaml"), *path.parent.glob("*.yaml")]}
    raise UserError(f"{path}: no such experiment file{nearest(path.name, known)}")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except RecursionError as error:
        raise UserError(f"{path}: cannot be read as YAML: its values are nested too deeply") from error
    except (yaml.YAMLError, ValueError, OSError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: an experiment is a mapping of keys to values, not a {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def _merge(config: DictConfig, values: dict[str, Any], where: str) -> None:
    """Merge one layer; its mistakes are reported with the layer's name."""
    try:
        _check_sections(config, values, where)
        _choose_adapters(config, values, where)
        config.merge_with(OmegaConf.create(values))
    except ConfigKeyError as error:
        known = [f.name for f in dataclasses.fields(error.object_type)] if error.object_type else []
        raise UserError(f"{where}: unknown key {error.full_key!r}{nearest(str(error.key), known)}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {error.full_key or 'value'}: {str(error.msg).splitlines()[0]}") from error


def _check_sections(config: DictConfig, values: dict[str, Any], where: str, prefix: str = "") -> None:
    """OmegaConf does not name the key when a section is given a plain value."""
    for key, value in values.items():
        node = config._get_node(key) if key in config else None
        if not isinstance(node, DictConfig) and not is_structured_config(config._metadata.element_type):
            continue
        if value is None and isinstance(node, DictConfig) and node._is_optional():
            continue
        if not isinstance(value, dict):
            raise UserError(f"{where}: {prefix}{key}: takes a mapping of keys to values, not {value!r}")
        if isinstance(node, DictConfig) and not node._is_none():  # an optional section, left out until now
            _check_sections(node, value, where, f"{prefix}{key}.")


def _choose_adapters(config: DictConfig, values: dict[str, Any], where: str) -> None:
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
            continue
        if not isinstance(kind, str) or kind not in SOURCE_KINDS:
            raise UserError(f"{where}: data.sources.{name}.kind: no kind {kind!r}{nearest(str(kind), SOURCE_KINDS)}")
        if name not in config.data.sources or config.data.sources[name].kind != kind:
            config.data.sources[name] = OmegaConf.structured(SOURCE_KINDS[kind])


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
