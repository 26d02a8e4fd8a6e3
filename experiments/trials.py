"""What a sweep YAML says, and the trials that it means."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.keys import flatten, nest
from experiments.load import load_experiment, load_schema, to_dict
from experiments.schema import Experiment, Task
from experiments.sweep_schema import Distribution, Draw, Launcher, Sweep
from experiments.validate import check_sweep


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
    check_sweep(sweep, str(path))
    base = os.path.normpath(Path(path).parent / sweep.experiment)
    rest = [override for override in overrides if override not in mine]
    varied = {key for point in [*sweep.points(), sweep.search.space if sweep.search else {}] for key in point}
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
    points = list(sweep.points())
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


def _changed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    known = flatten(defaults)
    return {key: value for key, value in flatten(values).items() if value != known.get(key)}


def _deciding(values: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved experiment's settings without those that cannot change the result; tasks numbered in their order."""
    names = values["active_tasks"] or list(values["tasks"])
    tasks = {f"{number}": values["tasks"][name] | {"name": name} for number, name in enumerate(names)}
    flat = flatten({**values, "tasks": tasks, "active_tasks": None})
    return {key: value for key, value in flat.items() if not key.startswith(_IRRELEVANT)}


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


def _example(draw: Distribution) -> Any:
    if draw.choices:
        return draw.choices[0]
    assert draw.low is not None
    return int(draw.low) if draw.type is Draw.int else draw.low
