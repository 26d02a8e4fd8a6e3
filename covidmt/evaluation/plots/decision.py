"""Plots of the decision beside the label: ROC, precision over recall, reliability, confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    RocCurveDisplay,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

from covidmt.evaluation.pair_table import decision_odds
from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.pages.numbers import interval, share
from covidmt.pages.style import (
    COMPARED,
    GREY,
    SIDE_COLOURS,
    SMALL,
    Plot,
    figure_row,
    is_drawable,
    new_figure,
    nth_colour,
    short_name,
    side_legend,
)
from metrics.intervals import Estimate, share_interval
from metrics.paired import SIDES

BINS = 10  # of the reliability plot
_TALL = (SMALL[0], 4.4)


class DecisionCurve(NamedTuple):
    """A run's decisions on one side of the pairs, and how their curve is drawn.

    Attributes:
        truth: (n,) bool labels, both kinds.
        odds: (n,) log-odds, which rank the images.
        label: Names the run and the side, with a score.
        look: Of the line: one run's sides differ in colour, several runs' sides in the line.
    """

    truth: np.ndarray
    odds: np.ndarray
    label: str
    look: dict[str, str]


class Matrix(NamedTuple):
    """A confusion matrix.

    Attributes:
        title: What it is of.
        names: The classes.
        counts: (classes, classes) images, a row a label, a column an answer.
    """

    title: str
    names: list[str]
    counts: np.ndarray


def draw_roc(evaluation: Evaluation) -> Plot | None:
    """Draw the decision's ROC; None where no run has both positives and negatives."""
    curves = list(_decision_curves(evaluation, "auroc"))
    if not curves:
        return None
    figure, axis = new_figure(_TALL)
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for curve in curves:
        fpr, tpr, _ = roc_curve(curve.truth, curve.odds)
        RocCurveDisplay(fpr=fpr, tpr=tpr, name=curve.label).plot(axis, curve_kwargs=curve.look)
    axis.set(xlabel="1 − specificity", ylabel="sensitivity")
    axis.legend(title="AUROC (95 % interval)", loc="lower right")
    return Plot(figure, "ROC of the decision", "All thresholds at once; the grey diagonal is chance.")


def draw_precision_recall(evaluation: Evaluation) -> Plot | None:
    """Draw the decision's precision over recall; None where no run has both positives and negatives."""
    curves = list(_decision_curves(evaluation, "ap"))
    if not curves:
        return None
    figure, axis = new_figure(_TALL)
    for curve in curves:
        precision, recall, _ = precision_recall_curve(curve.truth, curve.odds)
        PrecisionRecallDisplay(precision, recall, name=curve.label).plot(axis, curve_kwargs=curve.look)
    truth, _ = known_decisions(evaluation.first, "original")
    axis.axhline(np.mean(truth), color=GREY, lw=0.8)
    axis.set(xlabel="sensitivity (recall)", ylabel="PPV (precision)", ylim=(-0.01, 1.02), aspect="auto")
    axis.legend(title="average precision (95 % interval)", loc="lower left")
    return Plot(figure, "Precision over recall", "The grey line is chance: the share of positives among these images.")


def draw_reliability(evaluation: Evaluation) -> Plot | None:
    """Draw how often the label is there over what the network promised; None where nothing is labelled.

    By hand: scikit-learn's ``CalibrationDisplay`` has neither intervals nor the number of images in a bin.
    """
    figure, axis = new_figure(_TALL)
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for index, side in enumerate(SIDES):
        truth, p = known_decisions(evaluation.first, side)
        patients = _known_patients(evaluation.first, side)
        bins = np.minimum((p * BINS).astype(int), BINS - 1)
        for members in [bins == one for one in np.unique(bins)]:
            k, n = int(truth[members].sum()), int(members.sum())
            x, colour = p[members].mean() + 0.008 * (index - 0.5), SIDE_COLOURS[side]
            _, low, high = share_interval(truth[members].astype(float), patients[members])
            axis.plot([x, x], [low, high], color=colour, lw=1)
            axis.plot(x, k / n, "o", color=colour, ms=10 * np.sqrt(n / len(p)))
    if len(axis.lines) == 1:
        return None

    label = evaluation.settings.label
    axis.set(xlabel=f"p({label}), mean of the bin", ylabel=f"share labelled {label}", aspect="equal")
    axis.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    side_legend(figure)  # below: anywhere inside it can hide a bar
    return Plot(
        figure,
        "Reliability",
        "Do probabilities mean what they say? On the diagonal they do, for this share of positives; bins with few "
        "images say little. A dot's area: how many of the images it holds; bars: 95 % interval over patients.",
    )


def draw_confusion(evaluation: Evaluation) -> Plot | None:
    """Draw the decision's confusion matrix on either side; None where nothing is labelled."""
    label, matrices = evaluation.settings.label, []
    for side in SIDES:
        rows = evaluation.first.table.dropna(subset=["label", f"positive_{side}"])
        if len(rows):
            counts = confusion_matrix(rows["label"] == 1, rows[f"positive_{side}"] == 1, labels=[False, True])
            matrices.append(Matrix(side, [f"not {label}", label], counts))
    return draw_matrices(matrices, "Confusion matrices of the decision") if matrices else None


def draw_matrices(matrices: Sequence[Matrix], title: str) -> Plot:
    """Draw confusion matrices side by side, with images and their share of the label's."""
    figure, axes = figure_row(len(matrices), width=SMALL[0], height=2.9 if len(matrices) > 1 else 4.4)
    for axis, (name, classes, counts) in zip(axes, matrices, strict=True):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        display = ConfusionMatrixDisplay(shares, display_labels=classes)
        display.plot(ax=axis, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 1})
        for cell, text in np.ndenumerate(display.text_):
            # scikit-learn's own colours are for shades that end at this matrix's largest share
            text.set(text=f"{counts[cell]}\n{shares[cell]:.0%}", color="white" if shares[cell] > 0.6 else "black")
        axis.set_yticks(range(len(classes)), classes, rotation=90, va="center")
        axis.set(title=name, xlabel="network", ylabel="label")
        axis.grid(visible=False)
    return Plot(figure, title, "Images, and their share of the row: of those labelled so, how many were called what.")


def share_with_interval(score: Estimate | None) -> str:
    """Return a share with its interval; a dash where it is undefined.

    Example:
        >>> share_with_interval(Estimate(0.93, 0.8, 1.0)), share_with_interval(None)
        ('0.93 (0.80, 1.00)', '–')
    """
    if score is None or not is_drawable(score):
        return "–"
    return share(score.value) + (interval(score.low, score.high, share) or " (no interval)")


def known_decisions(run: RunEvaluation, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Return label (bool) and probability of the images that have both."""
    table = run.table[["label", f"p_{side}"]].dropna()
    return table["label"].to_numpy() == 1, table[f"p_{side}"].to_numpy(float)


def _known_patients(run: RunEvaluation, side: str) -> np.ndarray:
    """Return the same images' patients, as numbers."""
    names = run.table.dropna(subset=["label", f"p_{side}"])["patient"]
    return np.unique(names.to_numpy(str), return_inverse=True)[1]


def _decision_curves(evaluation: Evaluation, score: str) -> Iterator[DecisionCurve]:
    """Yield the sides of the runs that have both positives and negatives."""
    several = len(evaluation.runs) > 1
    for index, run in enumerate(evaluation.runs[:COMPARED]):
        for side in SIDES:
            known = run.table.dropna(subset=["label", f"p_{side}"])
            truth = known["label"].to_numpy() == 1
            if not 0 < truth.sum() < len(truth):
                continue
            name, look = side, {"color": SIDE_COLOURS[side]}
            if several:
                name = f"{short_name(run.name, 24)}, {side}"
                look = {"color": nth_colour(index), "linestyle": "-" if side == "original" else "--"}
            label = f"{name}: {share_with_interval(run.estimate(f'decision/{side}/{score}'))}"
            yield DecisionCurve(truth, decision_odds(known, side), label, look)
