"""Rules between settings: names that refer to each other, what excludes what; bounds stand at the schema's fields."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from math import isfinite

from experiments.bounds import check_bounds
from experiments.errors import UserError, nearest
from experiments.keys import flatten
from experiments.lungs.masks import HEARTS, MaskLevels, Masks
from experiments.lungs_schema import LungModel, LungsExperiment
from experiments.models.schema import Model, Norm
from experiments.pairs.schema import Pairs
from experiments.paths import require_name
from experiments.pretraining.schema import PretrainExperiment
from experiments.schema import (
    Balance,
    DecisionRule,
    Experiment,
    Losses,
    Privacy,
    Task,
    TaskKind,
    Weighting,
)
from experiments.source_schema import Source
from experiments.sweep_schema import Distribution, LauncherKind, Search, Sweep
from experiments.tracking.schema import Tracking

# What is logged as val/pi/<name> of the decision, and so can be no task's name.
PI_NAMES = (
    *("ci_low", "ci_high", "argmax", "mean_abs_change", "undefined", "draws"),
    *(f"flips_{way}{unit}" for way in ("pos_to_neg", "neg_to_pos") for unit in ("", "_percent")),
)

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
    _refuse(_model_mistakes(experiment.model), where)
    _refuse(_data_mistakes(experiment), where)
    _refuse(_robustness_mistakes(experiment), where)
    _refuse(_tracking_mistakes(experiment.tracking), where)


def check_lungs_experiment(experiment: LungsExperiment, where: str) -> None:
    """Refuse a lung segmentation experiment whose settings lie outside their bounds or do not fit together.

    Raises:
        UserError: Naming the first mistake.
    """
    check_bounds(experiment, where)
    _refuse(_model_mistakes(experiment.model), where)
    if experiment.data.val_fraction + experiment.data.test_fraction >= 1:
        raise UserError(f"{where}: data.val_fraction, data.test_fraction: their sum must be below 1")
    for name, folder in experiment.data.folders.items():
        if folder.levels is not None:
            _refuse(level_mistakes(folder.levels, f"data.folders.{name}.levels"), where)
        _refuse(_convention_mistakes(folder.drawn, f"data.folders.{name}.drawn"), where)


def check_pretrain_experiment(experiment: PretrainExperiment, where: str) -> None:
    """Refuse an experiment of pretraining whose settings lie outside their bounds, or that has no films.

    Raises:
        UserError: Naming the first mistake.
    """
    check_bounds(experiment, where)
    if not experiment.data.sources:
        raise UserError(f"{where}: data.sources: name at least one data set whose films are learned from")


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
    if task.name in PI_NAMES:
        yield key, f"a metric is called val/pi/{task.name} already; give the task another name"
    if task.source not in sources:
        yield f"{key}.source", f"no source {task.source!r} in data.sources{nearest(task.source, sources)}"

    # what goes with the kind of task
    if task.kind is not TaskKind.boxes and not task.labels:
        yield f"{key}.labels", "a classification task needs labels"
    if task.kind is TaskKind.boxes and (task.balance is not Balance.none or task.upsample or task.class_weights):
        yield key, "balance, upsample and class_weights are for classification tasks"
    if task.kind is TaskKind.boxes and task.column is not None:
        yield f"{key}.column", "boxes are no column of texts; use kind: multiclass"
    if task.kind is TaskKind.multiclass and len(task.labels) < 2:
        yield f"{key}.labels", "a multiclass task needs two labels or more"

    # what goes with the labels
    known = sources[task.source].known_labels if task.column is None and task.kind is not TaskKind.boxes else []
    for label in task.labels:
        if known and label not in known:
            yield f"{key}.labels", f"source {task.source!r} has no label {label!r}{nearest(label, known)}"
    if task.class_weights is not None and len(task.class_weights) != len(task.labels):
        yield f"{key}.class_weights", f"{len(task.class_weights)} weights for {len(task.labels)} labels"
    if task.balance is not Balance.none and task.upsample:
        yield key, "balance and upsample exclude each other; keep one"
    for label in [*task.upsample, *task.upsample.values()]:
        if label not in task.labels:
            yield f"{key}.upsample", _describe_other_label(label, task, known)


def _describe_other_label(label: str, task: Task, known: Collection[str]) -> str:
    """Return what is wrong with a label that is none of a task's; where the data are not known, either is misspelt."""
    sentence = f"task {task.name!r} has no label {label!r}; tasks.{task.name}.labels has {task.labels}"
    alike = get_close_matches(label, task.labels, n=1, cutoff=0.7)
    if not alike or label in known:
        return sentence
    if known:
        return f"{sentence}; did you mean {alike[0]!r}?"
    return f"{sentence}: {label!r} here or {alike[0]!r} there is misspelt; write both as the data have it"


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


def _model_mistakes(model: Model | LungModel) -> Iterator[Mistake]:
    if isinstance(model, Model) and model.init_from is not None and model.weights is not None:
        yield "model.init_from", "takes the place of model.weights; keep one"
    normalisation = model.normalisation
    if normalisation is not None:
        if [len(normalisation.mean), len(normalisation.std)] != [3, 3]:
            yield "model.normalisation", "takes a mean and a std of three channels each"
        if not all(isfinite(mean) for mean in normalisation.mean):
            yield "model.normalisation.mean", f"takes numbers, not {normalisation.mean}"
        if not all(isfinite(std) and std > 0 for std in normalisation.std):
            yield "model.normalisation.std", f"takes numbers above 0, not {normalisation.std}"


def _data_mistakes(experiment: Experiment) -> Iterator[Mistake]:
    data = experiment.data
    steps = data.epoch_length
    if steps not in ("primary", "longest") and not (steps.isdecimal() and int(steps) > 0):
        yield "data.epoch_length", f"takes primary, longest or a number of steps, not {steps!r}"
    yield from _pair_mistakes(data.pairs, data.sources)
    yield from _mask_mistakes(data.masks)
    quality = data.augment.jpeg_quality
    if len(quality) != 2 or not 1 <= quality[0] <= quality[1] <= 100:
        yield "data.augment.jpeg_quality", f"takes [lowest, highest] between 1 and 100, not {quality}"


def _pair_mistakes(pairs: Pairs, sources: Mapping[str, Source]) -> Iterator[Mistake]:
    # names
    named = [("val", pairs.val, pairs.val_sources)]
    if pairs.test is not None:
        named.append(("test", pairs.test, pairs.test_sources))
    for key, value, names in named:
        if not names or not all(isinstance(name, str) for name in names):
            yield f"data.pairs.{key}", f"takes a source or a list of sources, not {value!r}"
            continue
        if len(set(names)) < len(names):
            yield f"data.pairs.{key}", f"a source is named twice: {value}"
        for name in names:
            if name not in sources:
                yield f"data.pairs.{key}", f"no source {name!r} in data.sources{nearest(name, sources)}"

    # how many
    limits = pairs.limit if isinstance(pairs.limit, dict) else {"": pairs.limit}
    for source, limit in limits.items():
        if source and source not in sources:
            yield "data.pairs.limit", f"no source {source!r} in data.sources{nearest(str(source), sources)}"
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            yield "data.pairs.limit", f"must be 1 or more, is {limit!r}; null takes all pairs"


def _mask_mistakes(masks: Masks) -> Iterator[Mistake]:
    yield from _convention_mistakes(masks.heart, "data.masks.heart")
    yield from _convention_mistakes(masks.drawn, "data.masks.drawn")
    if masks.levels is not None:
        yield from level_mistakes(masks.levels, "data.masks.levels")


def _convention_mistakes(value: str, key: str) -> Iterator[Mistake]:
    if value not in HEARTS:
        yield key, f"takes {' or '.join(HEARTS)}, not {value!r}"


def level_mistakes(levels: MaskLevels, key: str) -> Iterator[Mistake]:
    """Yield what is wrong with the levels of a mask.

    >>> list(level_mistakes(MaskLevels(lungs=[0, 1]), "levels"))
    [('levels.lungs', 'takes grey levels above 0, such as [1, 2], not [0, 1]')]
    """
    for name in ("lungs", "heart"):
        value = getattr(levels, name, None)
        many = value if isinstance(value, list) else [value]
        if name == "heart" and value is None:
            continue
        if not many or not all(isinstance(level, int) and 0 < level < 2**16 for level in many):
            yield f"{key}.{name}", f"takes grey levels above 0, such as [1, 2], not {value!r}"


def _robustness_mistakes(experiment: Experiment) -> Iterator[Mistake]:
    robustness, active = experiment.robustness, {task.name: task for task in experiment.active}
    if robustness.task not in active:
        yield "robustness.task", f"{robustness.task!r} is not an active task{nearest(robustness.task, active)}"
    if active[robustness.task].kind is TaskKind.custom:
        yield "robustness.task", f"{robustness.task!r} is of a class of its own, whose answers make no decision"
    task = active[robustness.task]
    labels, known = task.labels, experiment.data.sources[task.source].known_labels
    if robustness.label not in labels:
        yield "robustness.label", _describe_other_label(robustness.label, task, known)
    if robustness.decision is DecisionRule.argmax and len(labels) < 2:
        yield "robustness.decision", f"argmax needs a task of two labels or more; {robustness.task!r} has {labels}"


def _tracking_mistakes(tracking: Tracking) -> Iterator[Mistake]:
    if tracking.register is None:
        return
    if not tracking.register or len(tracking.register) > 250 or set(tracking.register) & set("/:'\""):
        yield (
            "tracking.register",
            f"{tracking.register!r} is no name for MLflow's registry: up to 250 characters, no / : ' \"",
        )
    if not tracking.enabled:
        yield "tracking.register", "needs MLflow: leave tracking.enabled at true, or leave register out"
    if not tracking.log_checkpoint:
        yield "tracking.register", "needs tracking.log_checkpoint=true: what is registered is the logged network"


def _sweep_mistakes(sweep: Sweep) -> Iterator[Mistake]:
    try:
        require_name(sweep.name, "it")
    except UserError:
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
