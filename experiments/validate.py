"""What of settings types cannot say: names that refer to each other, ranges, what excludes what."""

from __future__ import annotations

import math
from typing import Any

from experiments.errors import UserError, nearest
from experiments.keys import flatten
from experiments.lungs_schema import LungsExperiment
from experiments.schema import Balance, Experiment, Losses, Norm, Privacy, TaskKind, Weighting
from experiments.sweep_schema import LauncherKind, Sweep


def _check_training(experiment: Experiment | LungsExperiment, where: str) -> None:
    if not 0 <= experiment.seed < 2**32:
        raise UserError(f"{where}: seed: must lie between 0 and 2^32 - 1, is {experiment.seed}")
    if not 0 <= experiment.optimizer.lr < math.inf:  # torch refuses it for some optimizers only
        raise UserError(f"{where}: optimizer.lr: must be 0 or more, is {experiment.optimizer.lr}")


def check_lungs_experiment(experiment: LungsExperiment, where: str) -> None:
    """The same of a lung segmentation experiment."""
    _check_training(experiment, where)
    data = experiment.data
    for key, low in {"batch_size": 1, "num_workers": 0, "image_size": 32}.items():
        if getattr(data, key) < low:
            raise UserError(f"{where}: data.{key}: must be {low} or more, is {getattr(data, key)}")
    if not (data.val_fraction >= 0 and data.test_fraction >= 0 and data.val_fraction + data.test_fraction < 1):
        raise UserError(f"{where}: data.val_fraction, data.test_fraction: must not be negative, their sum below 1")


def check_experiment(experiment: Experiment, where: str) -> None:
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


def check_sweep(sweep: Sweep, where: str) -> None:
    """Refuse a sweep whose settings do not fit together."""

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
    if sweep.seeds and any("seed" in point for point in sweep.points()):
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
