"""Rules between settings: names that refer to each other, what excludes what; bounds stand at the schema's fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from experiments.bounds import check_bounds
from experiments.errors import UserError, nearest
from experiments.keys import flatten
from experiments.lungs_schema import LungsExperiment
from experiments.schema import Balance, Experiment, Losses, Norm, Privacy, Task, TaskKind, Weighting
from experiments.sweep_schema import Distribution, LauncherKind, Search, Sweep

Mistake = tuple[str, str]  # the dotted key, and what is wrong with it


def check_experiment(experiment: Experiment, where: str) -> None:
    """Refuse an experiment whose settings lie outside their bounds or do not fit together.

    A task that is not active may have any settings.

    Args:
        experiment: With all tasks named.
        where: The file, for the message.

    Raises:
        UserError: Naming the first mistake.

    >>> from experiments.schema import Experiment, Task
    >>> check_experiment(Experiment("mine", tasks={"covidx": Task("covidx", "here", labels=["COVID-19"])}), "mine.yaml")
    Traceback (most recent call last):
    experiments.errors.UserError: mine.yaml: tasks.covidx.source: no source 'here' in data.sources
    """
    _refuse(_active_mistakes(experiment), where)
    check_bounds(replace(experiment, tasks={task.name: task for task in experiment.active}), where)
    for task in experiment.active:
        _refuse(_task_mistakes(task, experiment), where)
    if experiment.privacy is not None:
        _refuse(_privacy_mistakes(experiment, experiment.privacy), where)
    _refuse(_data_mistakes(experiment), where)
    _refuse(_robustness_mistakes(experiment), where)


def check_lungs_experiment(experiment: LungsExperiment, where: str) -> None:
    """Refuse a lung segmentation experiment whose settings lie outside their bounds or do not fit together.

    Raises:
        UserError: Naming the first mistake.
    """
    check_bounds(experiment, where)
    if experiment.data.val_fraction + experiment.data.test_fraction >= 1:
        raise UserError(f"{where}: data.val_fraction, data.test_fraction: their sum must be below 1")


def check_sweep(sweep: Sweep, where: str) -> None:
    """Refuse a sweep whose settings lie outside their bounds or do not fit together.

    Raises:
        UserError: Naming the first mistake.

    >>> check_sweep(Sweep("mine", "demo.yaml", grid={"optimizer.lr": 0.1}), "mine.yaml")
    Traceback (most recent call last):
    experiments.errors.UserError: mine.yaml: grid.optimizer.lr: takes a list of values, not 0.1
    """
    check_bounds(sweep, where)
    _refuse(_sweep_mistakes(sweep), where)
    _refuse(_launcher_mistakes(sweep), where)
    if sweep.search:
        _refuse(_search_mistakes(sweep, sweep.search), where)


def _refuse(mistakes: Iterable[Mistake], where: str) -> None:
    """Raise the first mistake; the rules behind it may rely on that it was not made, and are not looked at."""
    for key, text in mistakes:
        raise UserError(f"{where}: {key}: {text}")


def _active_mistakes(experiment: Experiment) -> Iterator[Mistake]:
    if not experiment.tasks:
        yield "tasks", "an experiment needs at least one task"
    if experiment.active_tasks is not None and not experiment.active_tasks:
        yield "active_tasks", "no task is active; name at least one, or null for all"

    active = experiment.active_tasks or list(experiment.tasks)
    for name in active:
        if name not in experiment.tasks:
            yield "active_tasks", f"no task {name!r}{nearest(name, experiment.tasks)}"
    if len(set(active)) < len(active):
        yield "active_tasks", f"a task is named twice: {active}"


def _task_mistakes(task: Task, experiment: Experiment) -> Iterator[Mistake]:
    key, sources = f"tasks.{task.name}", experiment.data.sources
    if task.source not in sources:
        yield f"{key}.source", f"no source {task.source!r} in data.sources{nearest(task.source, sources)}"

    # what goes with the kind of task
    if task.kind is not TaskKind.boxes and not task.labels:
        yield f"{key}.labels", "a classification task needs labels"
    if task.kind is TaskKind.boxes and (task.balance is not Balance.none or task.upsample or task.class_weights):
        yield key, "balance, upsample and class_weights are for classification tasks"
    if task.kind is TaskKind.multiclass and len(task.labels) < 2:
        yield f"{key}.labels", "a multiclass task needs two labels or more"

    # what goes with the labels
    if task.class_weights is not None and len(task.class_weights) != len(task.labels):
        yield f"{key}.class_weights", f"{len(task.class_weights)} weights for {len(task.labels)} labels"
    if task.balance is not Balance.none and task.upsample:
        yield key, "balance and upsample exclude each other; keep one"
    for label in [*task.upsample, *task.upsample.values()]:
        if label not in task.labels:
            yield f"{key}.upsample", f"no label {label!r}{nearest(label, task.labels)}"


def _privacy_mistakes(experiment: Experiment, privacy: Privacy) -> Iterator[Mistake]:
    """Yield what DP-SGD cannot be combined with, and why."""
    if (privacy.target_epsilon is None) == (privacy.noise_multiplier is None):
        yield "privacy", "takes either target_epsilon or noise_multiplier"

    # the task
    task = experiment.active[0]
    if len(experiment.active) > 1 or task.kind is TaskKind.boxes:
        yield "privacy", "takes one classification task: the draws from several sources are not accounted for"
    if task.balance is not Balance.none or task.upsample:
        yield f"tasks.{task.name}", "balance and upsample draw some images more often than privacy accounts for"
    if task.loss_weight != 1:
        yield f"tasks.{task.name}.loss_weight", "leave it at 1, under privacy every image's gradient is clipped alike"

    # the network and its losses
    if experiment.model.norm is not Norm.group:
        yield "model.norm", "batch normalisation mixes the images of a batch: privacy needs model.norm=group"
    if experiment.losses not in (Losses(), Losses(weighting=Weighting.sum)):
        yield "losses", "extra losses, learnt weights and gradient surgery cannot be combined with privacy"

    # the trainer
    for name, allowed, reason in (
        ("accumulate_grad_batches", (1,), "the images of every step are drawn anew"),
        ("gradient_clip_val", (None,), "every image's gradient is clipped already"),
        ("precision", ("32-true", "32", 32), "gradients are clipped in single precision"),
        ("overfit_batches", (0, 0.0), "the same few steps again and again are no independent draws"),
    ):
        if experiment.trainer.get(name, allowed[0]) not in allowed:
            yield f"trainer.{name}", f"leave it out, under privacy {reason}"


def _data_mistakes(experiment: Experiment) -> Iterator[Mistake]:
    data = experiment.data
    steps = data.epoch_length
    if steps not in ("primary", "longest") and not (steps.isdecimal() and int(steps) > 0):
        yield "data.epoch_length", f"takes primary, longest or a number of steps, not {steps!r}"
    for key, source in {"val": data.pairs.val, "test": data.pairs.test}.items():
        if source is not None and source not in data.sources:
            yield f"data.pairs.{key}", f"no source {source!r} in data.sources{nearest(source, data.sources)}"
    quality = data.augment.jpeg_quality
    if len(quality) != 2 or not 1 <= quality[0] <= quality[1] <= 100:
        yield "data.augment.jpeg_quality", f"takes [lowest, highest] between 1 and 100, not {quality}"


def _robustness_mistakes(experiment: Experiment) -> Iterator[Mistake]:
    robustness, active = experiment.robustness, {task.name: task for task in experiment.active}
    if robustness.task not in active:
        yield "robustness.task", f"{robustness.task!r} is not an active task{nearest(robustness.task, active)}"
    labels = active[robustness.task].labels
    if robustness.label not in labels:
        yield "robustness.label", f"task {robustness.task!r} has no label {robustness.label!r}; it has {labels}"


def _sweep_mistakes(sweep: Sweep) -> Iterator[Mistake]:
    if not sweep.name or any(letter in sweep.name for letter in "/\\ ") or sweep.name.startswith("."):
        yield "name", f"{sweep.name!r} cannot name a folder: use letters, digits, - and _"

    # what varies
    for section in ("grid", "zip"):
        for key, values in flatten(getattr(sweep, section)).items():
            if not isinstance(values, list) or not values:
                yield f"{section}.{key}", f"takes a list of values, not {values!r}"
    lengths = {key: len(values) for key, values in flatten(sweep.zip).items()}
    if len(set(lengths.values())) > 1:
        yield "zip", f"takes lists of one length, these differ: {lengths}; for all combinations use grid"
    for key in sorted(flatten(sweep.grid).keys() & lengths.keys()):
        yield "zip", f"{key} is in grid too; keep one"

    # seeds
    if len(set(sweep.seeds)) < len(sweep.seeds):
        yield "seeds", f"a seed is named twice: {sweep.seeds}"
    if sweep.seeds and any("seed" in point for point in sweep.points()):
        yield "seeds", "a trial has a seed of its own; keep one"


def _launcher_mistakes(sweep: Sweep) -> Iterator[Mistake]:
    launcher, seconds = sweep.launcher, 3600 * sweep.launcher.time_hours
    if launcher.kind is LauncherKind.local and launcher.nodes > 1:
        yield "launcher.nodes", "a trial on several machines needs launcher.kind=slurm"
    if launcher.kind is LauncherKind.slurm and launcher.signal_seconds >= seconds:
        yield (
            "launcher.signal_seconds",
            f"a trial would be told {launcher.signal_seconds} s before the end of a job that lasts {seconds:.0f} s "
            "(launcher.time_hours): before it has begun",
        )


def _search_mistakes(sweep: Sweep, search: Search) -> Iterator[Mistake]:
    for section in ("grid", "zip", "list", "seeds"):
        if getattr(sweep, section):
            yield "search", f"draws its own trials: leave {section} out"
    if not search.space:
        yield "search.space", "names no key to vary"
    if not search.metric.startswith("val/"):
        yield "search.metric", f"takes a validation metric such as val/covidx/loss, not {search.metric!r}"
    for key, distribution in search.space.items():
        mistake = _distribution_mistake(distribution)
        if mistake:
            yield f"search.space.{key}", mistake


def _distribution_mistake(draw: Distribution) -> str | None:
    if draw.choices is not None:
        if not draw.choices or draw.low is not None or draw.high is not None:
            return "takes a list of choices, or low and high, not both"
    elif draw.low is None or draw.high is None or not draw.low <= draw.high:
        return f"takes low and high, low <= high, or choices; has {draw.low} and {draw.high}"
    elif draw.log and (draw.low <= 0 or draw.step is not None):
        return "log takes a low above 0 and no step"
    return None
