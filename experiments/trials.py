"""What a sweep YAML says, and the trials that it means."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from experiments.errors import UserError
from experiments.load import load_experiment, load_schema, to_dict
from experiments.schema import Experiment, Task

_List = list  # a sweep has a key of that name


class LauncherKind(Enum):
    """Where trials run."""

    local = "local"
    slurm = "slurm"


class Direction(Enum):
    """Of a search's metric."""

    minimize = "minimize"
    maximize = "maximize"


class Draw(Enum):
    """What a distribution yields."""

    float = "float"
    int = "int"


@dataclass
class Distribution:
    """Values that Optuna draws from: ``low`` to ``high``, both included, or ``choices``.

    Attributes:
        type: Of the values between low and high.
        log: Draw the logarithm evenly.
        step: Distance of the values; null: any (``int``: 1).
    """

    type: Draw = Draw.float
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: list[Any] | None = None


@dataclass
class Algorithm:
    """A class of `optuna.samplers` or `optuna.pruners` by name, with its arguments."""

    name: str = MISSING
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Search:
    """A search by Optuna; each trial is a training.

    Attributes:
        space: Key of the experiment -> distribution.
        metric: A validation metric; its value at the epoch of the best checkpoint is the objective.
        pruner: Stops unpromising trials after a validation epoch; null: none.
        storage: An Optuna URL, or a file ``*.journal``; null: ``mlruns/optuna.db``, on a network file system
            ``mlruns/optuna.journal``. Never MLflow's own database: both own its schema version.
    """

    space: dict[str, Distribution] = field(default_factory=dict)
    trials: int = 20
    metric: str = MISSING
    direction: Direction = Direction.minimize
    sampler: Algorithm = field(default_factory=lambda: Algorithm("TPESampler"))
    pruner: Algorithm | None = field(default_factory=lambda: Algorithm("MedianPruner"))
    storage: str | None = None


@dataclass
class Launcher:
    """Where trials run, and what one trial gets.

    The local launcher knows ``processes``, ``gpus_per_node``, ``tasks_per_node`` and ``signal_seconds``; all others are
    for SLURM, and it ignores them.

    Attributes:
        processes: Local: trials at a time; null: as many as the GPUs suffice for, one without GPUs.
        nodes: Machines of one trial; its ``trainer.num_nodes``.
        gpus_per_node: GPUs of one trial on a machine; 0: none is reserved, locally for one trial at a time or on CPUs.
        tasks_per_node: Processes of one trial on a machine, its ``trainer.devices``; null: one a GPU, without GPUs what
            the experiment says.
        cpus_per_task: Cores of a process; its data loader's workers share them.
        mem_gb: Memory of a trial on a machine; null: the cluster's default.
        time_hours: Time limit of one job. A trial that needs longer is requeued and goes on from its checkpoint.
        signal_seconds: So long before the time limit a trial is told: a training step and a checkpoint must fit in; a
            validation or test need not, it is left and done again. Less than the time limit. Local: so long it has
            after Ctrl-C.
        requeues: At most so often a trial has itself requeued, at its time limit or in a preemption's GraceTime; what
            SLURM or a person requeues does not count.
        array_parallelism: Trials at a time, at most.
        setup: Shell lines before the training: ``module load ...``, ``source ...``.
        python: Interpreter on the cluster; null: this one, which must lie on a shared disk.
        options: Any further sbatch option: ``{qos: high, mail-type: END}``.
    """

    kind: LauncherKind = LauncherKind.local
    processes: int | None = None
    nodes: int = 1
    gpus_per_node: int = 0
    tasks_per_node: int | None = None
    cpus_per_task: int | None = None
    mem_gb: float | None = None
    time_hours: float = 24.0
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    signal_seconds: int = 300
    requeues: int = 100
    array_parallelism: int = 256
    setup: list[str] = field(default_factory=lambda: [])
    python: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Sweep:
    """What ``covidmt sweep run`` runs: one experiment many times, with something varied.

    Keys of the experiment are written dotted (``model.backbone``). Trials are every combination of the grid's values
    and the rows of ``zip``, and those of ``list`` beside them; each with every seed. ``search`` stands alone.

    Attributes:
        experiment: The base experiment, relative to this file.
        overrides: Set in all trials.
        grid: Key -> values.
        zip: Key -> values, all equally many: the first of each together, the second of each together, ...
        list: Explicit trials: key -> value.
        seeds: Every trial once with each; empty: the experiment's own seed.
    """

    name: str = MISSING
    experiment: str = MISSING
    overrides: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    zip: dict[str, Any] = field(default_factory=dict)
    seeds: _List[int] = field(default_factory=lambda: [])
    search: Search | None = None
    launcher: Launcher = field(default_factory=Launcher)
    list: _List[dict[str, Any]] = field(default_factory=lambda: [])


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Attributes:
        id: Hash of the resolved configuration, without what cannot change the result; of a search its number.
        label: What varies, without the seed: ``resnet50, 3 tasks``; the experiment's name where nothing else does.
        overrides: What the sweep sets in this trial, the seed included.
        experiment: Resolved; of a search without the values that Optuna will draw.
    """

    id: str
    label: str
    overrides: dict[str, Any]
    experiment: Experiment

    @property
    def name(self) -> str:
        """For people: the label and the seed."""
        return f"{self.label}, seed {self.experiment.seed}"


# What cannot change a run's result: it is not part of a trial's identity.
_IRRELEVANT = (
    *("name", "tracking.", "checkpoint.", "data.num_workers", "data.masks.cache"),
    *("trainer.default_root_dir", "trainer.enable_", "trainer.log_every_n_steps", "trainer.profiler"),
)


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Sweep, list[Trial]]:
    """Reads a sweep YAML; an override whose first key is the sweep's own sets that, all others the base experiment.

    Args:
        path: The sweep file.
        overrides: ``launcher.partition=gpu``, ``seeds=[0]``, ``data.root=/data/cxr``, ...

    Returns:
        The sweep and its trials, no two the same.

    Raises:
        UserError: Unknown key, wrong type, settings that do not fit together; what an experiment can have wrong.
    """
    own = {item.name for item in dataclasses.fields(Sweep)}
    mine = [override for override in overrides if override.partition("=")[0].split(".")[0] in own]
    sweep = load_schema(Sweep, path, mine)
    _check(sweep, str(path))
    base = os.path.normpath(Path(path).parent / sweep.experiment)
    rest = [override for override in overrides if override not in mine]
    varied = {key for point in [*_points(sweep), sweep.search.space if sweep.search else {}] for key in point}
    for override in rest:
        if (key := override.partition("=")[0]) in varied:
            raise UserError(f"command line ({override}): the sweep {sweep.name!r} varies {key}; set grid, zip or list")
    layers = [(f"{path}: overrides", nest(sweep.overrides)), *rest]
    if sweep.search:
        experiment = _shaped(load_experiment(base, layers), sweep.launcher)
        for key in sweep.search.space:  # a wrong key is met now
            load_experiment(base, [*layers, (f"{path}: search.space", nest({key: _example(sweep.search.space[key])}))])
        digest = trial_id(experiment)[:6]
        return sweep, [Trial(f"{digest}-{n:03d}", f"draw {n}", {}, experiment) for n in range(sweep.search.trials)]
    trials: dict[str, Trial] = {}
    points = list(_points(sweep))
    for point, label in zip(points, _labels(sweep, points), strict=True):
        for seed in sweep.seeds or [None]:
            values = point if seed is None else {**point, "seed": seed}
            experiment = load_experiment(base, [*layers, (f"{path}: trial {label!r}", nest(values))])
            experiment = _shaped(experiment, sweep.launcher)
            trial = Trial(
                trial_id(experiment), label or experiment.name, {**values, "seed": experiment.seed}, experiment
            )
            trials.setdefault(trial.id, trial)
    return sweep, list(trials.values())


def trial_id(experiment: Experiment) -> str:
    """Ten hexadecimal digits, equal where the result must be equal.

    Settings at their defaults are left out, so that a setting that covidmt gains changes no finished trial. One whose
    default it has changed is found by `differing`.
    """
    values = to_dict(experiment)
    tasks = [_changed(values["tasks"][task.name], to_dict(Task())) for task in experiment.active]
    changed = _changed({**values, "tasks": tasks, "active_tasks": None}, to_dict(Experiment(name="")))
    kept = {key: value for key, value in changed.items() if not key.startswith(_IRRELEVANT)}
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:10]


def differing(saved: Mapping[str, Any], experiment: Experiment) -> list[str]:
    """Settings that decide the result and are others in the two; those that one of them does not know left out.

    Args:
        saved: A resolved experiment, as an older covidmt may have written it.
        experiment: Of now.
    """
    old, new = _deciding(saved), _deciding(to_dict(experiment))
    return sorted(key for key in old.keys() & new.keys() if old[key] != new[key])


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; an empty mapping stays a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys, mappings or both as nested mappings; of two values of one setting the last counts."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        _merge(nested, value)
    return nested


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in values.items():
        known = into.get(key)
        if isinstance(value, Mapping):
            into[key] = _merge(known if isinstance(known, dict) else {}, value)
        else:
            into[key] = value
    return into


def _changed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    known = flatten(defaults)
    return {key: value for key, value in flatten(values).items() if value != known.get(key)}


def _deciding(values: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved experiment's settings without those that cannot change the result; tasks numbered in their order."""
    names = values["active_tasks"] or list(values["tasks"])
    tasks = {f"{number}": values["tasks"][name] | {"name": name} for number, name in enumerate(names)}
    flat = flatten({**values, "tasks": tasks, "active_tasks": None})
    return {key: value for key, value in flat.items() if not key.startswith(_IRRELEVANT)}


def _points(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """What varies, trial by trial, without the seeds."""
    grid, rows = flatten(sweep.grid), flatten(sweep.zip)
    zipped = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)] or [{}]
    if grid or rows or not sweep.list:
        for values in itertools.product(*grid.values()):
            for row in zipped:
                yield {**dict(zip(grid, values, strict=True)), **row}
    yield from map(flatten, sweep.list)


def _labels(sweep: Sweep, points: Sequence[dict[str, Any]]) -> list[str]:
    """Short ones: task lists are counted, what ``zip`` varies goes by its first key; where not unique, in full."""
    hidden = list(flatten(sweep.zip))[1:]
    short = [", ".join(_say(key, point[key]) for key in _shown(point) if key not in hidden) for point in points]
    if len(set(short)) == len({json.dumps(point, sort_keys=True) for point in points}):
        return short
    return [", ".join(_say(key, point[key], full=True) for key in _shown(point)) for point in points]


def _shown(point: Mapping[str, Any]) -> list[str]:
    """The base network first, then the tasks, as the papers name their models."""
    head = ["model.backbone", "active_tasks"]
    return [key for key in head if key in point] + [key for key in point if key not in head]


def _say(key: str, value: Any, *, full: bool = False) -> str:
    if key == "model.backbone":
        return str(value)
    if key == "active_tasks" and isinstance(value, list):
        return "+".join(value) if full else f"{len(value)} task" + "s" * (len(value) != 1)
    return f"{key.rpartition('.')[2]} {value if isinstance(value, str) else json.dumps(value)}"


def _shaped(experiment: Experiment, launcher: Launcher) -> Experiment:
    """The experiment with as many processes as the launcher gives it."""
    trainer = experiment.trainer
    tasks = launcher.tasks_per_node or launcher.gpus_per_node or trainer.get("devices", 1)
    if not isinstance(tasks, int) or tasks < 1:
        raise UserError(
            f"trainer.devices: {tasks!r} is no number of processes: a sweep must know it before the trial runs; "
            "set launcher.gpus_per_node or launcher.tasks_per_node"
        )
    shape: dict[str, Any] = {"devices": tasks, "num_nodes": launcher.nodes}
    if tasks * launcher.nodes > 1 and trainer.get("strategy", "auto") == "auto":
        shape["strategy"] = "ddp"
    if launcher.gpus_per_node and "accelerator" not in trainer:
        shape["accelerator"] = "gpu"
    experiment.trainer = {**trainer, **shape}
    return experiment


def _check(sweep: Sweep, where: str) -> None:
    def refuse(key: str, text: str) -> None:
        raise UserError(f"{where}: {key}: {text}")

    if not sweep.name or any(letter in sweep.name for letter in "/\\ ") or sweep.name.startswith("."):
        refuse("name", f"{sweep.name!r} cannot name a folder: use letters, digits, - and _")
    for section in ("grid", "zip"):
        for key, values in flatten(getattr(sweep, section)).items():
            if not isinstance(values, list) or not values:
                refuse(f"{section}.{key}", f"takes a list of values, not {values!r}")
    lengths = {key: len(values) for key, values in flatten(sweep.zip).items()}
    if len(set(lengths.values())) > 1:
        refuse("zip", f"takes lists of one length, these differ: {lengths}; for all combinations use grid")
    if both := flatten(sweep.grid).keys() & lengths.keys():
        refuse("zip", f"{sorted(both)[0]} is in grid too; keep one")
    if len(set(sweep.seeds)) < len(sweep.seeds):
        refuse("seeds", f"a seed is named twice: {sweep.seeds}")
    if sweep.seeds and any("seed" in point for point in _points(sweep)):
        refuse("seeds", "a trial has a seed of its own; keep one")
    launcher = sweep.launcher
    for key, low in {
        "nodes": 1,
        "gpus_per_node": 0,
        "array_parallelism": 1,
        "signal_seconds": 1,
        "requeues": 0,
    }.items():
        if getattr(launcher, key) < low:
            refuse(f"launcher.{key}", f"must be {low} or more, is {getattr(launcher, key)}")
    for key in ("processes", "tasks_per_node", "cpus_per_task", "mem_gb", "time_hours"):
        value = getattr(launcher, key)
        if value is not None and not value > 0:
            refuse(f"launcher.{key}", f"must be above 0, is {value}")
    if launcher.kind is LauncherKind.local and launcher.nodes > 1:
        refuse("launcher.nodes", "a trial on several machines needs launcher.kind=slurm")
    if launcher.kind is LauncherKind.slurm and launcher.signal_seconds >= 3600 * launcher.time_hours:
        refuse(
            "launcher.signal_seconds",
            f"a trial would be told {launcher.signal_seconds} s before the end of a job that lasts "
            f"{3600 * launcher.time_hours:.0f} s (launcher.time_hours): before it has begun",
        )
    if sweep.search:
        _check_search(sweep, refuse)


def _check_search(sweep: Sweep, refuse: Any) -> None:
    search = sweep.search
    assert search is not None
    for section in ("grid", "zip", "list", "seeds"):
        if getattr(sweep, section):
            refuse("search", f"draws its own trials: leave {section} out")
    if not search.space:
        refuse("search.space", "names no key to vary")
    if search.trials < 1:
        refuse("search.trials", f"must be 1 or more, is {search.trials}")
    if not search.metric.startswith("val/"):
        refuse("search.metric", f"takes a validation metric such as val/covidx/loss, not {search.metric!r}")
    for key, draw in search.space.items():
        name = f"search.space.{key}"
        if draw.choices is not None:
            if not draw.choices or draw.low is not None or draw.high is not None:
                refuse(name, "takes a list of choices, or low and high, not both")
        elif draw.low is None or draw.high is None or not draw.low <= draw.high:
            refuse(name, f"takes low and high, low <= high, or choices; has {draw.low} and {draw.high}")
        elif draw.log and (draw.low <= 0 or draw.step is not None):
            refuse(name, "log takes a low above 0 and no step")


def _example(draw: Distribution) -> Any:
    if draw.choices:
        return draw.choices[0]
    assert draw.low is not None
    return int(draw.low) if draw.type is Draw.int else draw.low
