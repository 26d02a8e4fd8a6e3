"""Plots of every task on its own images: main scores, the deciding task's confusion matrix, ROC, training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import confusion_matrix, roc_curve

from covidmt.evaluation.answers import Answers, TaskAnswers
from covidmt.evaluation.plots.decision import Matrix, draw_matrices, share_with_interval
from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.evaluation.task_scores import labels_exclude
from covidmt.pages.style import (
    COLOURS,
    GREY,
    SMALL,
    Plot,
    draw_dot,
    figure_row,
    name_rows,
    new_figure,
    nth_colour,
    offset,
    run_legend,
    short_name,
)
from covidmt.tracking.history import MEASURES, SPLITS
from experiments.schema import Task, TaskKind
from metrics.intervals import Estimate
from metrics.log_odds import log_odds

_MAIN_SCORES = {
    "auroc": "AUROC",
    "map": "mAP",
    "map_50": "mAP, IoU 0.5",
    "rsna_map": "RSNA mAP",
}


class Classifications(NamedTuple):
    """What a task's n images with label and answer are, and were taken for; both count the task's labels.

    Attributes:
        rows: (n,) int, of the task's answers.
        truth: (n,) int labels.
        answer: (n,) int, the most probable labels.
    """

    rows: np.ndarray
    truth: np.ndarray
    answer: np.ndarray


class LabelCurve(NamedTuple):
    """One label of a task, for its ROC.

    Attributes:
        title: Names the task and the label.
        truth: (n,) bool.
        score: (n,) float, what ranks the images.
        auroc: The area under the curve.
    """

    title: str
    truth: np.ndarray
    score: np.ndarray
    auroc: Estimate | None


def draw_task_scores(evaluation: Evaluation) -> Plot | None:
    """Draw every task's main scores, a row each; None where no task was evaluated."""
    rows, runs = {}, evaluation.runs
    for key in evaluation.score_keys:
        task, _, name = key.removeprefix("task/").rpartition("/")
        if key.startswith("task/") and name in _MAIN_SCORES:
            rows[key] = f"{task.replace('/', ': ')}, {_MAIN_SCORES[name]}"
    if not rows:
        return None

    figure, axis = new_figure((SMALL[0], 1.3 + 0.24 * len(rows) * max(1.0, 0.4 * len(runs))))
    for index, run in enumerate(runs):
        for row, key in enumerate(rows):
            draw_dot(axis, run.estimate(key), row + offset(index, len(runs)), nth_colour(index))
    axis.axvline(0.5, color=GREY, lw=0.8)
    name_rows(axis, [*rows.values()], "score")
    axis.set_xlim(0, 1.01)
    run_legend(figure, [run.name for run in runs])
    caption = "Bars: 95 % interval. Grey line: an AUROC of chance; average precision of boxes (mAP) starts at 0."
    return Plot(figure, "Every task's main score", caption)


def draw_task_confusion(run: RunEvaluation) -> Plot | None:
    """Draw the deciding task's confusion matrix; None where its labels do not exclude each other."""
    task = run.network.experiment.tasks[run.network.experiment.robustness.task]
    classified = classifications(run.answers, task.name)
    if classified is None:
        return None
    counts = np.zeros((len(task.labels), len(task.labels)), int)
    if len(classified.truth):  # scikit-learn refuses none, as where the network gave no numbers
        counts = confusion_matrix(classified.truth, classified.answer, labels=range(len(task.labels)))
    return draw_matrices([Matrix("most probable label", task.labels, counts)], f"Confusion matrix of {task.name}")


def classifications(answers: Answers, task: str) -> Classifications | None:
    """Return a task's labels and answers; None where it is not here, or its labels do not exclude each other."""
    split = answers.tasks.get(task)
    if split is None or not labels_exclude(split.targets):
        return None
    rows = np.flatnonzero(~np.isnan(split.targets).any(axis=1) & ~np.isnan(split.logits).any(axis=1))
    return Classifications(rows, split.targets[rows].argmax(axis=1), split.logits[rows].argmax(axis=1))


def draw_task_roc(run: RunEvaluation) -> Plot | None:
    """Draw the ROC of every label of every task, axes each; None where none has both positives and negatives."""
    curves = list(_label_curves(run))
    if not curves:
        return None
    columns = min(4, len(curves))
    lines = -(-len(curves) // columns)
    figure = Figure((2.7 * columns, 2.7 * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)

    for axis, curve in zip(axes, curves, strict=False):
        fpr, tpr, _ = roc_curve(curve.truth, curve.score)
        axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        axis.plot(fpr, tpr, color=COLOURS[0])
        axis.set_title(short_name(curve.title, 30))
        axis.set(aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        text = f"AUROC {share_with_interval(curve.auroc)}\n{int(curve.truth.sum())} of {len(curve.truth)} positive"
        axis.text(1, 0.02, text, ha="right", va="bottom", fontsize=8)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()

    figure.supxlabel("1 − specificity", fontsize=9)
    figure.supylabel("sensitivity", fontsize=9)
    return Plot(figure, "ROC of every task's labels", "Each on the task's own split.", wide=columns > 2)


def _label_curves(run: RunEvaluation) -> Iterator[LabelCurve]:
    """Yield the labels that have both positives and negatives."""
    for name, split in run.answers.tasks.items():
        task = run.network.experiment.tasks[name]
        for index, label in enumerate(task.labels if split.logits.size else []):
            truth, score = _known_answers(task, split, index)
            if 0 < truth.sum() < len(truth):
                key = f"task/{name}/{label}/auroc" if len(task.labels) > 1 else f"task/{name}/auroc"
                title = name if label == name else f"{name}: {label}"
                yield LabelCurve(title, truth, score, run.estimate(key))


def _known_answers(task: Task, split: TaskAnswers, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return label (bool) and log-odds of the images that have both."""
    odds = log_odds(torch.from_numpy(split.logits).double(), softmax=task.kind is TaskKind.multiclass)
    target, score = split.targets[:, index], odds[:, index].numpy()
    known = ~np.isnan(target) & np.isfinite(score)
    return target[known] == 1, score[known]


def draw_training(evaluation: Evaluation) -> Plot | None:
    """Draw loss and accuracy of the deciding task over the epochs of its training; None where no run tells."""
    history = evaluation.history
    measures = [measure for measure in MEASURES if any(key.endswith(measure) for key in history)]
    if not measures:
        return None

    figure, axes = figure_row(len(measures), width=SMALL[0] * len(measures), height=3.2)
    for axis, measure in zip(axes, measures, strict=True):
        for split, colour in zip(SPLITS, COLOURS, strict=False):
            values = history.get(f"{split}/{measure}")
            if values is not None:
                axis.plot(values.index, values.to_numpy(), marker=".", color=colour, label=split)
        axis.set(title=measure, xlabel="epoch, from 0")
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
        axis.legend()
    caption = (
        "From the run's history. Training: mean of the epoch's logged batches, as they were augmented and while the "
        "weights changed; validation: all its images after the epoch. The checkpoint evaluated need not be the last."
    )
    title = f"The training of {evaluation.first.network.experiment.robustness.task} over epochs"
    return Plot(figure, title, caption, wide=len(measures) > 1)
