"""The schema that every sweep YAML obeys: names, types, defaults."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

# OmegaConf reads the annotations at run time; a sweep has keys named `list` and `zip`.
from typing import Any, Dict, List

from omegaconf import MISSING

from experiments.bounds import bounded
from experiments.keys import flatten


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
    choices: List[Any] | None = None


@dataclass
class Algorithm:
    """A class of `optuna.samplers` or `optuna.pruners` by name, with its arguments."""

    name: str = MISSING
    options: Dict[str, Any] = field(default_factory=dict)


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

    space: Dict[str, Distribution] = field(default_factory=dict)
    trials: int = bounded(20, at_least=1)
    metric: str = MISSING
    direction: Direction = Direction.minimize
    sampler: Algorithm = field(default_factory=lambda: Algorithm("TPESampler"))
    pruner: Algorithm | None = field(default_factory=lambda: Algorithm("MedianPruner"))
    storage: str | None = None


@dataclass
class Launcher:
    """Where trials run, and what one trial gets.

    The local launcher uses ``processes``, ``gpus_per_node``, ``tasks_per_node`` and ``signal_seconds``; all others are
    for SLURM, and it ignores them.

    Attributes:
        processes: Local: trials at a time; null: as many as the GPUs suffice for, one without GPUs.
        nodes: Machines of one trial; its ``trainer.num_nodes``.
        gpus_per_node: GPUs of one trial on a machine; 0: none is reserved, locally for one trial at a time or on CPUs.
        tasks_per_node: Processes of one trial on a machine, its ``trainer.devices``; null: one a GPU, without GPUs what
            the experiment says.
        cpus_per_task: Cores of a process; its data loader's workers share them.
        mem_gb: Memory of a trial on a machine; null: the cluster's default.
        time_hours: Time limit of one job. A trial that needs longer is requeued and resumes from its checkpoint.
        signal_seconds: How long before the time limit a trial is told, less than the limit itself: a training step and
            a checkpoint must fit in; a validation or test need not, it is stopped and done again. Local: how long a
            trial has after Ctrl-C.
        requeues: How often a trial may requeue itself, at its time limit or in a preemption's GraceTime; what SLURM or
            a person requeues does not count.
        array_parallelism: How many trials may run at a time.
        setup: Shell lines before the training: ``module load ...``, ``source ...``.
        python: Interpreter on the cluster; null: this one, which must lie on a shared disk.
        options: Any further sbatch option: ``{qos: high, mail-type: END}``.
    """

    kind: LauncherKind = LauncherKind.local
    processes: int | None = bounded(None, above=0)
    nodes: int = bounded(1, at_least=1)
    gpus_per_node: int = bounded(0, at_least=0)
    tasks_per_node: int | None = bounded(None, above=0)
    cpus_per_task: int | None = bounded(None, above=0)
    mem_gb: float | None = bounded(None, above=0)
    time_hours: float = bounded(24.0, above=0)
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    signal_seconds: int = bounded(300, at_least=1)
    requeues: int = bounded(100, at_least=0)
    array_parallelism: int = bounded(256, at_least=1)
    setup: List[str] = field(default_factory=lambda: [])
    python: str | None = None
    options: Dict[str, Any] = field(default_factory=dict)


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
    overrides: Dict[str, Any] = field(default_factory=dict)
    grid: Dict[str, Any] = field(default_factory=dict)
    zip: Dict[str, Any] = field(default_factory=dict)
    seeds: List[int] = field(default_factory=lambda: [])
    search: Search | None = None
    launcher: Launcher = field(default_factory=Launcher)
    list: List[Dict[str, Any]] = field(default_factory=lambda: [])

    def points(self) -> Iterator[Dict[str, Any]]:
        """Yield what varies, trial by trial, without the seeds.

        >>> list(Sweep(grid={"optimizer.lr": [0.1, 0.2]}, list=[{"seed": 7}]).points())
        [{'optimizer.lr': 0.1}, {'optimizer.lr': 0.2}, {'seed': 7}]
        """
        grid, rows = flatten(self.grid), flatten(self.zip)
        zipped = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)] or [{}]
        if grid or rows or not self.list:
            for values in itertools.product(*grid.values()):
                for row in zipped:
                    yield {**dict(zip(grid, values, strict=True)), **row}
        yield from map(flatten, self.list)
