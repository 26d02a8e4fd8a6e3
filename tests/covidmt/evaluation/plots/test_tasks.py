"""Plots of tasks: which rows and curves there are."""

from dataclasses import replace

import numpy as np
import pandas as pd

from covidmt.evaluation.plots.tasks import (
    classifications,
    draw_task_confusion,
    draw_task_roc,
    draw_task_scores,
    draw_training,
)
from datamodules.evaluation import EvaluationDataModule
from tests.helpers.evaluation import N, evaluation_of, make_answers


def test_labels_and_answers(data: EvaluationDataModule):
    answers = make_answers(data, 0)
    split = answers.tasks["covidx"]
    targets = split.targets.copy()
    targets[0] = np.nan  # an unknown label
    logits = split.logits.copy()
    logits[1] = logits[1, ::-1]  # a wrong answer
    answers = replace(answers, tasks={"covidx": replace(split, targets=targets, logits=logits)})
    classified = classifications(answers, "covidx")
    assert classified is not None
    assert classified.rows.tolist() == list(range(1, N))
    assert np.flatnonzero(classified.truth != classified.answer).tolist() == [0]
    assert classifications(answers, "nodule") is None

    plot = draw_task_confusion(evaluation_of(data, answers).first)
    assert plot is not None
    counts = [int(text.get_text().split("\n")[0]) for text in plot.figure.axes[0].texts]
    assert sum(counts) == N - 1
    assert counts[1] + counts[2] == 1


def test_a_network_that_gives_no_numbers_has_an_empty_matrix(data: EvaluationDataModule):
    answers = make_answers(data, 0)
    split = answers.tasks["covidx"]
    answers = replace(answers, tasks={"covidx": replace(split, logits=np.full_like(split.logits, np.nan))})
    plot = draw_task_confusion(evaluation_of(data, answers).first)
    assert plot is not None
    assert [text.get_text() for text in plot.figure.axes[0].texts] == ["0\n0%"] * 4


def test_rows_of_main_scores_and_a_curve_a_label(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 0))
    scores, roc = draw_task_scores(evaluation), draw_task_roc(evaluation.first)
    assert scores is not None
    assert roc is not None
    rows = [label.get_text() for label in scores.figure.axes[0].get_yticklabels()]
    assert rows == ["covidx: normal, AUROC", "covidx: COVID-19, AUROC"]
    assert [axis.get_title(loc="left") or axis.get_title() for axis in roc.figure.axes] == [
        "covidx: normal",
        "covidx: COVID-19",
    ]
    bare = evaluation_of(data, make_answers(data, 0, labelled=False))
    assert draw_task_scores(bare) is draw_task_roc(bare.first) is draw_task_confusion(bare.first) is None


def test_a_training_has_axes_for_what_was_logged(data: EvaluationDataModule):
    history = {"val/loss": pd.Series([0.7, 0.4]), "train/loss": pd.Series([0.9, 0.5])}
    plot = draw_training(evaluation_of(data, make_answers(data, 0), history=history))
    assert plot is not None
    (axis,) = plot.figure.axes
    assert {line.get_label(): list(line.get_ydata()) for line in axis.lines} == {
        "train": [0.9, 0.5],
        "val": [0.7, 0.4],
    }
    assert draw_training(evaluation_of(data, make_answers(data, 0))) is None
