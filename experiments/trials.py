"""The trials that a sweep YAML means, and what makes two trials the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.keys import Values, flatten, nest
from experiments.load import CommonSettings, Layer, load_experiment, load_schema, to_dict
from experiments.schema import Experiment, Task
from experiments.sweep_schema import Distribution, Draw, Launcher, Search, Sweep
from experiments.validate import check_experiment, check_sweep

# What cannot change a run's result: it is not part of a trial's identity.
_IRRELEVANT = (
    *("name", "tracking.", "checkpoint.", "data.num_workers", "data.masks.cache"),
    *("trainer.default_root_dir", "trainer.enable_", "trainer.log_every_n_steps", "trainer.profiler"),
)


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
    overrides: Values
    experiment: Experiment

    @property
    def name(self) -> str:
        """For people: the label and the seed."""
        return f"{self.label}, seed {self.experiment.seed}"


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Sweep, list[Trial]]:
    """Read a sweep YAML and return what it says and the trials that it means.

    Args:
        path: The sweep file.
        overrides: ``launcher.partition=gpu``, ``seeds=[0]``, ``data.root=/data/cxr``, ... An override whose first key
            is one of the sweep's sets that, all others set the base experiment's.

    Returns:
        The sweep and its trials, no two the same.

    Raises:
        UserError: Unknown key, wrong type, settings that do not fit together; any mistake in an experiment.

    >>> sweep, trials = load_sweep("experiments/sweeps/mini_cxr.yaml", ["seeds=[0]", "data.root=/data/cxr"])
    >>> sweep.name, len(trials), trials[0].name
    ('mini_cxr', 4, 'timm:tf_efficientnet_lite0, 1 task, seed 0')
    """
    sweep_keys = {item.name for item in fields(Sweep)}
    sweep_overrides = [text for text in overrides if text.partition("=")[0].split(".")[0] in sweep_keys]
    sweep = load_schema(Sweep, path, sweep_overrides)
    check_sweep(sweep, str(path))

    # overrides of the base experiment, which must leave alone what the sweep varies
    rest = [text for text in overrides if text not in sweep_overrides]
    points = [sweep.search.space] if sweep.search else list(sweep.points())
    varied = {key for point in points for key in point}
    for text in rest:
        key = text.partition("=")[0]
        if key in varied:
            raise UserError(f"command line ({text}): the sweep {sweep.name!r} varies {key}; set grid, zip or list")

    base = Path(os.path.normpath(Path(path).parent / sweep.experiment))
    layers: list[str | Layer] = [(f"{path}: overrides", nest(sweep.overrides)), *rest]
    if sweep.search:
        return sweep, _search_trials(sweep, sweep.search, path, base, layers)
    return sweep, _grid_trials(sweep, path, base, layers)


def _search_trials(
    sweep: Sweep, search: Search, path: str | Path, base: Path, layers: list[str | Layer]
) -> list[Trial]:
    experiment = _set_processes(load_experiment(base, layers), sweep.launcher)

    # a wrong key is found now, not when Optuna draws
    for key, distribution in search.space.items():
        load_experiment(base, [*layers, (f"{path}: search.space", nest({key: _example_value(distribution)}))])

    digest = trial_id(experiment)[:6]
    return [Trial(f"{digest}-{number:03d}", f"draw {number}", {}, experiment) for number in range(search.trials)]


def _grid_trials(sweep: Sweep, path: str | Path, base: Path, layers: list[str | Layer]) -> list[Trial]:
    """Return the trials of grid, zip and list with every seed; of equal ones the first."""
    trials: dict[str, Trial] = {}
    points = list(sweep.points())
    common = CommonSettings(base, layers)
    for point, label in zip(points, _make_labels(sweep, points), strict=True):
        for values, loaded in _load_seeds(sweep, common, point, f"{path}: trial {label!r}"):
            experiment = _set_processes(loaded, sweep.launcher)
            values = {**values, "seed": experiment.seed}
            trial = Trial(trial_id(experiment), label or experiment.name, values, experiment)
            trials.setdefault(trial.id, trial)
    return list(trials.values())


def _load_seeds(sweep: Sweep, common: CommonSettings, point: Values, where: str) -> Iterator[tuple[Values, Experiment]]:
    """Yield the experiment of a point with every seed, and its values; what differs in the seed alone is read once."""
    first: Experiment | None = None
    for seed in sweep.seeds or [None]:
        values = point if seed is None else {**point, "seed": seed}
        if first is not None and seed is not None and not common.follows("seed", point):
            experiment = replace(first, seed=seed)
            check_experiment(experiment, str(common.path))
        else:
            experiment = first = common.experiment((where, nest(values)))
        yield values, experiment


def trial_id(experiment: Experiment) -> str:
    """Return ten hexadecimal digits, equal where the result must be equal.

    Settings at their defaults are left out, so that a setting that covidmt gains changes no finished trial. One whose
    default it has changed is found by :func:`changed_settings`.

    >>> from dataclasses import replace
    >>> from experiments.load import load_experiment
    >>> demo = load_experiment("experiments/demo.yaml")
    >>> trial_id(demo) == trial_id(replace(demo, name="another name"))
    True
    >>> trial_id(demo) == trial_id(replace(demo, seed=1))
    False
    """
    values = to_dict(experiment)
    tasks = [_drop_defaults(values["tasks"][task.name], to_dict(Task())) for task in experiment.active]
    changed = _drop_defaults({**values, "tasks": tasks, "active_tasks": None}, to_dict(Experiment(name="")))
    return sha256(json.dumps(_drop_irrelevant(changed), sort_keys=True).encode()).hexdigest()[:10]


def changed_settings(saved: Values, experiment: Experiment) -> list[str]:
    """Return the keys of settings that decide the result and have another value in a saved experiment.

    Settings that only one of the two has are left out.

    Args:
        saved: A resolved experiment, as an older covidmt may have written it.
        experiment: Of now.

    >>> from experiments.load import load_experiment
    >>> demo = load_experiment("experiments/demo.yaml")
    >>> changed_settings(to_dict(demo) | {"seed": 7, "name": "another name"}, demo)
    ['seed']
    """
    old, new = _deciding_settings(saved), _deciding_settings(to_dict(experiment))
    return sorted(key for key in old.keys() & new.keys() if old[key] != new[key])


def _deciding_settings(values: Values) -> Values:
    """Return a resolved experiment's settings that can change the result; tasks numbered in their order."""
    names = values["active_tasks"] or list(values["tasks"])
    tasks = {f"{number}": values["tasks"][name] | {"name": name} for number, name in enumerate(names)}
    return _drop_irrelevant(flatten({**values, "tasks": tasks, "active_tasks": None}))


def _drop_irrelevant(flat: Values) -> Values:
    return {key: value for key, value in flat.items() if not key.startswith(_IRRELEVANT)}


def _drop_defaults(values: Values, defaults: Values) -> Values:
    flat = flatten(defaults)
    return {key: value for key, value in flatten(values).items() if value != flat.get(key)}


def _make_labels(sweep: Sweep, points: Sequence[Values]) -> list[str]:
    """Return short labels: task lists counted, what ``zip`` varies by its first key alone; if not unique, in full."""
    hidden = list(flatten(sweep.zip))[1:]
    short = [
        ", ".join(_describe(key, point[key]) for key in _order_keys(point) if key not in hidden) for point in points
    ]
    if len(set(short)) == len({json.dumps(point, sort_keys=True) for point in points}):
        return short
    return [", ".join(_describe(key, point[key], full=True) for key in _order_keys(point)) for point in points]


def _order_keys(point: Values) -> list[str]:
    """Return the base network first, then the tasks, as the papers name their models."""
    head = ["model.backbone", "active_tasks"]
    return [key for key in head if key in point] + [key for key in point if key not in head]


def _describe(key: str, value: Any, *, full: bool = False) -> str:
    if key == "model.backbone":
        return str(value)
    if key == "active_tasks" and isinstance(value, list):
        return "+".join(value) if full else f"{len(value)} task" + "s" * (len(value) != 1)
    return f"{key.rpartition('.')[2]} {value if isinstance(value, str) else json.dumps(value)}"


def _set_processes(experiment: Experiment, launcher: Launcher) -> Experiment:
    """Return the experiment with as many processes as the launcher gives it."""
    trainer = experiment.trainer
    tasks = launcher.tasks_per_node or launcher.gpus_per_node or trainer.get("devices", 1)
    if not isinstance(tasks, int) or tasks < 1:
        raise UserError(
            f"trainer.devices: {tasks!r} is no number of processes: a sweep must know it before the trial runs; "
            "set launcher.gpus_per_node or launcher.tasks_per_node"
        )

    shape: Values = {"devices": tasks, "num_nodes": launcher.nodes}
    if tasks * launcher.nodes > 1 and trainer.get("strategy", "auto") == "auto":
        shape["strategy"] = "ddp"
    if launcher.gpus_per_node and "accelerator" not in trainer:
        shape["accelerator"] = "gpu"
    if not experiment.tracking.enabled:
        raise UserError("tracking.enabled: a sweep's trials are runs of MLflow; leave it at true")
    return replace(experiment, trainer={**trainer, **shape})


def _example_value(distribution: Distribution) -> Any:
    if distribution.choices:
        return distribution.choices[0]
    assert distribution.low is not None
    return int(distribution.low) if distribution.type is Draw.int else distribution.low
