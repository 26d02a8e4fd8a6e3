"""Plots of the decision: curves, bins and matrices as numbers."""

import numpy as np

from covidmt.evaluation.plots.decision import (
    Matrix,
    draw_confusion,
    draw_matrices,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
    known_decisions,
)
from datamodules.evaluation import EvaluationDataModule
from tests.helpers.evaluation import N, evaluation_of, make_answers


def test_curves_say_their_score(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 0))
    roc, precision = draw_roc(evaluation), draw_precision_recall(evaluation)
    assert roc is not None
    assert precision is not None
    labels = [text.get_text() for text in roc.figure.axes[0].get_legend().get_texts()]
    assert labels == [
        "original: 1.00 (0.71, 1.00)",
        "received: 1.00 (0.71, 1.00)",
    ]  # twelve of either class
    curve = roc.figure.axes[0].lines[1]
    assert curve.get_xydata()[-1].tolist() == [1, 1]
    assert roc.figure.axes[0].get_xlabel() == "1 − specificity"
    assert list(precision.figure.axes[0].lines[-1].get_ydata()) == [0.5, 0.5]  # chance: half are positive


def test_several_runs_differ_in_colour_and_sides_in_the_line(data: EvaluationDataModule):
    roc = draw_roc(evaluation_of(data, *(make_answers(data, seed, seed) for seed in range(6))))
    assert roc is not None
    lines = roc.figure.axes[0].lines[1:]
    assert [line.get_linestyle() for line in lines] == ["-", "--"] * 4  # of six runs four
    assert len({line.get_color() for line in lines}) == 4


def test_counts_and_shares_of_the_matrix(data: EvaluationDataModule):
    plot = draw_confusion(evaluation_of(data, make_answers(data, 3)))
    assert plot is not None
    texts = [[text.get_text() for text in axis.texts] for axis in plot.figure.axes]
    assert texts == [["12\n100%", "0\n0%", "0\n0%", "12\n100%"], ["12\n100%", "0\n0%", "3\n25%", "9\n75%"]]


def test_bins_lie_at_their_mean(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 0))
    plot = draw_reliability(evaluation)
    assert plot is not None
    dots = [line for line in plot.figure.axes[0].lines if line.get_marker() == "o"]
    _, p = known_decisions(evaluation.first, "original")
    lowest = p[p < 0.1]
    assert dots[0].get_xdata()[0] == np.mean(lowest) - 0.004
    assert dots[0].get_ydata()[0] == 0  # all of them are negative


def test_the_legend_of_the_reliability_hides_no_bar(data: EvaluationDataModule):
    plot = draw_reliability(evaluation_of(data, make_answers(data, 0)))
    assert plot is not None
    assert plot.figure.axes[0].get_legend() is None
    (legend,) = plot.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["original", "received"]


def test_without_labels_there_is_nothing_to_draw(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 0, labelled=False))
    assert [draw(evaluation) for draw in (draw_roc, draw_precision_recall, draw_reliability, draw_confusion)] == [
        None
    ] * 4
    assert [len(values) for values in known_decisions(evaluation.first, "original")] == [0, 0]
    assert len(evaluation.first.table) == N


def test_numbers_are_dark_on_light_cells():
    chance = Matrix("chance", ["a", "b", "c"], np.full((3, 3), 5))
    sure = Matrix("sure", ["a", "b"], np.array([[9, 1], [4, 6]]))
    figure = draw_matrices([chance, sure], "").figure
    colours = [[text.get_color() for text in axis.texts] for axis in figure.axes]
    assert colours == [["black"] * 9, ["white", "black", "black", "black"]]
