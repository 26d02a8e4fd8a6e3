"""From a YAML file and dotted overrides to a typed experiment; every mistake named with its file and key."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import is_structured_config
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from experiments.errors import UserError
from experiments.schema import (
    SOURCE_KINDS,
    Balance,
    Experiment,
    Losses,
    LungsExperiment,
    Norm,
    Privacy,
    TaskKind,
    Weighting,
)

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
    _check(experiment, str(path))
    return experiment


def load_lungs_experiment(path: str | Path, overrides: Sequence[str] = ()) -> LungsExperiment:
    """The same for a lung segmentation experiment."""
    experiment = load_schema(LungsExperiment, path, overrides)
    _check_training(experiment, str(path))
    data = experiment.data
    for key, low in {"batch_size": 1, "num_workers": 0, "image_size": 32}.items():
        if getattr(data, key) < low:
            raise UserError(f"{path}: data.{key}: must be {low} or more, is {getattr(data, key)}")
    if not (data.val_fraction >= 0 and data.test_fraction >= 0 and data.val_fraction + data.test_fraction < 1):
        raise UserError(f"{path}: data.val_fraction, data.test_fraction: must not be negative, their sum below 1")
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
    _check(changed, where)
    return changed


def _moved(path: str, old: str, new: str) -> str:
    return str(Path(new) / Path(path).relative_to(old)) if Path(path).is_relative_to(old) else path


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean ...?`` for the known word nearest to a wrong one, else the known words."""
    known = list(known)
    match = get_close_matches(word, known, n=1, cutoff=0.5)
    if match:
        return f"; did you mean {match[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


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


def _check_training(experiment: Experiment | LungsExperiment, where: str) -> None:
    if not 0 <= experiment.seed < 2**32:
        raise UserError(f"{where}: seed: must lie between 0 and 2^32 - 1, is {experiment.seed}")
    if not 0 <= experiment.optimizer.lr < math.inf:  # torch refuses it for some optimizers only
        raise UserError(f"{where}: optimizer.lr: must be 0 or more, is {experiment.optimizer.lr}")


def _check(experiment: Experiment, where: str) -> None:
    """What types cannot say: names that refer to each other, ranges."""

    def refuse(key: str, text: str) -> None:
        raise UserError(f"{where}: {key}: {text}")

    _check_training(experiment, where)
    if not experiment.tasks:
        refuse("tasks", "an experiment needs at least one task")
    if experiment.active_tasks is not None and not experiment.active_tasks:
        refuse("active_tasks", "no task is active; name at least one, or null for all")
    active = experiment.active_tasks or list(experiment.tasks)
    for name in active:
        if name not in experiment.tasks:
            refuse("active_tasks", f"no task {name!r}{nearest(name, experiment.tasks)}")
    if len(set(active)) < len(active):
        refuse("active_tasks", f"a task is named twice: {active}")
    sources = experiment.data.sources
    for task in experiment.active:
        key = f"tasks.{task.name}"
        if task.source not in sources:
            refuse(f"{key}.source", f"no source {task.source!r} in data.sources{nearest(task.source, sources)}")
        if task.kind is not TaskKind.boxes and not task.labels:
            refuse(f"{key}.labels", "a classification task needs labels")
        if task.kind is TaskKind.boxes and (task.balance is not Balance.none or task.upsample or task.class_weights):
            refuse(key, "balance, upsample and class_weights are for classification tasks")
        if task.kind is TaskKind.multiclass and len(task.labels) < 2:
            refuse(f"{key}.labels", "a multiclass task needs two labels or more")
        if task.class_weights is not None and len(task.class_weights) != len(task.labels):
            refuse(f"{key}.class_weights", f"{len(task.class_weights)} weights for {len(task.labels)} labels")
        if task.balance is not Balance.none and task.upsample:
            refuse(key, "balance and upsample exclude each other; keep one")
        if task.batch_size < 1:
            refuse(f"{key}.batch_size", f"must be 1 or more, is {task.batch_size}")
        if not 0 < task.loss_weight < math.inf:
            refuse(f"{key}.loss_weight", f"must be above 0, is {task.loss_weight}; leave the task out instead")
        if any(not 0 <= weight < math.inf for weight in task.class_weights or []):
            refuse(f"{key}.class_weights", f"must be 0 or more, are {task.class_weights}")
        for label in [*task.upsample, *task.upsample.values()]:
            if label not in task.labels:
                refuse(f"{key}.upsample", f"no label {label!r}{nearest(label, task.labels)}")
    if experiment.checkpoint.every_n_steps < 1:
        refuse("checkpoint.every_n_steps", f"must be 1 or more, is {experiment.checkpoint.every_n_steps}")
    for name in ("consistency", "attention"):
        if not 0 <= getattr(experiment.losses, name) < math.inf:
            refuse(f"losses.{name}", f"must be 0 or more, is {getattr(experiment.losses, name)}")
    if experiment.privacy is not None:
        _check_privacy(experiment, experiment.privacy, refuse)
    _check_data(experiment, refuse)
    _check_model(experiment, refuse)
    _check_robustness(experiment, refuse)


def _check_privacy(experiment: Experiment, privacy: Privacy, refuse: Any) -> None:
    """What DP-SGD cannot be combined with, and why."""
    if (privacy.target_epsilon is None) == (privacy.noise_multiplier is None):
        refuse("privacy", "takes either target_epsilon or noise_multiplier")
    for name in ("target_epsilon", "noise_multiplier", "max_grad_norm", "delta"):
        value = getattr(privacy, name)
        if value is not None and not 0 < value < math.inf:
            refuse(f"privacy.{name}", f"must be above 0, is {value}")
    if len(experiment.active) > 1 or experiment.active[0].kind is TaskKind.boxes:
        refuse("privacy", "takes one classification task: the draws from several sources are not accounted for")
    task, trainer = experiment.active[0], experiment.trainer
    if task.balance is not Balance.none or task.upsample:
        refuse(f"tasks.{task.name}", "balance and upsample draw some images more often than privacy accounts for")
    if task.loss_weight != 1:
        refuse(f"tasks.{task.name}.loss_weight", "leave it at 1, under privacy every image's gradient is clipped alike")
    if experiment.model.norm is not Norm.group:
        refuse("model.norm", "batch normalisation mixes the images of a batch: privacy needs model.norm=group")
    if experiment.losses not in (Losses(), Losses(weighting=Weighting.sum)):
        refuse("losses", "extra losses, learnt weights and gradient surgery do not go with privacy")
    for name, allowed, reason in (
        ("accumulate_grad_batches", (1,), "every step's images are drawn for themselves"),
        ("gradient_clip_val", (None,), "every image's gradient is clipped already"),
        ("precision", ("32-true", "32", 32), "gradients are clipped in single precision"),
        ("overfit_batches", (0, 0.0), "the same few steps again and again are no draws of their own"),
    ):
        if trainer.get(name, allowed[0]) not in allowed:
            refuse(f"trainer.{name}", f"leave it out, under privacy {reason}")


def _check_model(experiment: Experiment, refuse: Any) -> None:
    model = experiment.model
    sizes = {"transition_channels": model.transition_channels, "boxes.channels": model.boxes.channels}
    for name, value in {**sizes, "boxes.max_boxes": model.boxes.max_boxes}.items():
        if value < 1:
            refuse(f"model.{name}", f"must be 1 or more, is {value}")
    for name in ("score_threshold", "nms_iou"):
        if not 0 <= getattr(model.boxes, name) <= 1:
            refuse(f"model.boxes.{name}", f"must lie between 0 and 1, is {getattr(model.boxes, name)}")
    if not 0 <= model.boxes.l2 < math.inf:
        refuse("model.boxes.l2", f"must be 0 or more, is {model.boxes.l2}")


def _check_data(experiment: Experiment, refuse: Any) -> None:
    data = experiment.data
    if data.image_size < 32:
        refuse("data.image_size", f"must be 32 or more, is {data.image_size}")
    if not 0 <= data.crop_top < 1:
        refuse("data.crop_top", f"must be 0 or more and below 1, is {data.crop_top}")
    if data.split_seed < 0:
        refuse("data.split_seed", f"must be 0 or more, is {data.split_seed}")
    if not 0 < data.val_fraction < 1:
        refuse("data.val_fraction", f"must lie between 0 and 1, is {data.val_fraction}")
    if not 0 < data.test_fraction < 1:
        refuse("data.test_fraction", f"must lie between 0 and 1, is {data.test_fraction}")
    if data.num_workers < 0:
        refuse("data.num_workers", f"must be 0 or more, is {data.num_workers}")
    if data.epoch_length not in ("primary", "longest") and not (
        data.epoch_length.isdecimal() and int(data.epoch_length) > 0
    ):
        refuse("data.epoch_length", f"takes primary, longest or a number of steps, not {data.epoch_length!r}")
    for key, source in {"val": data.pairs.val, "test": data.pairs.test}.items():
        if source is not None and source not in data.sources:
            refuse(f"data.pairs.{key}", f"no source {source!r} in data.sources{nearest(source, data.sources)}")
    if data.pairs.limit is not None and data.pairs.limit < 1:
        refuse("data.pairs.limit", f"must be 1 or more, or null for all pairs, is {data.pairs.limit}")
    low_high = data.augment.jpeg_quality
    if len(low_high) != 2 or not 1 <= low_high[0] <= low_high[1] <= 100:
        refuse("data.augment.jpeg_quality", f"takes [lowest, highest] between 1 and 100, not {low_high}")
    for name in ("translate", "zoom", "intensity", "hflip", "jpeg"):
        value = getattr(data.augment, name)
        if not 0 <= value <= 1:
            refuse(f"data.augment.{name}", f"must lie between 0 and 1, is {value}")


def _check_robustness(experiment: Experiment, refuse: Any) -> None:
    robustness = experiment.robustness
    active = {task.name: task for task in experiment.active}
    if robustness.task not in active:
        refuse("robustness.task", f"{robustness.task!r} is not an active task{nearest(robustness.task, active)}")
    labels = active[robustness.task].labels
    if robustness.label not in labels:
        refuse("robustness.label", f"task {robustness.task!r} has no label {robustness.label!r}; it has {labels}")
    for name in ("threshold", "eta", "region_threshold"):
        if not 0 < getattr(robustness, name) <= 1:
            refuse(f"robustness.{name}", f"must lie in (0, 1], is {getattr(robustness, name)}")
    if robustness.batch_size < 1:
        refuse("robustness.batch_size", f"must be 1 or more, is {robustness.batch_size}")
    if robustness.overlays < 0:
        refuse("robustness.overlays", f"must be 0 or more, is {robustness.overlays}")
