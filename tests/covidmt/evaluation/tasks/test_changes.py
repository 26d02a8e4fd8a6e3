"""The answers that change are listed by task, image and label, with both answers."""

from types import SimpleNamespace
from typing import cast

import numpy as np

from covidmt.evaluation.result import RunEvaluation
from covidmt.evaluation.tasks.answers import LabelRows
from covidmt.evaluation.tasks.changes import MOST_CHANGES, changed_answers
from experiments.schema import Robustness, Task
from explain.task_decisions import TaskDecisions

TASK = Task("findings", "nih", labels=["Effusion", "Nodule"])


def run_of(original: list[list[float]], received: list[list[float]]) -> RunEvaluation:
    logits = {"original": np.array(original, np.float32), "received": np.array(received, np.float32)}
    ids = [f"image{row}.png" for row in range(len(original))]
    stability = {"findings": LabelRows(ids, ids, logits, {}, {}, np.empty(0)), "boxes": object()}
    answers = SimpleNamespace(stability=stability, decisions={"findings": TaskDecisions.of(TASK, Robustness())})
    return cast(RunEvaluation, SimpleNamespace(answers=answers))


def test_both_answers_of_the_label_that_changes():
    run = run_of([[1.0, 1.0], [0.1, 2.0], [3.0, -2.0]], [[1.0, 1.0], [-0.1, 2.0], [3.0, 2.0]])
    ((changes, total),) = changed_answers(run)
    assert total == 2
    assert [change[:4] for change in changes] == [
        ("findings", "image2.png", "not Nodule", "Nodule"),  # moves further
        ("findings", "image1.png", "Effusion", "not Effusion"),
    ]
    np.testing.assert_allclose(changes[1][4:], [0.525, 0.475], atol=1e-3)


def test_a_label_without_a_number_does_not_change():
    assert changed_answers(run_of([[1.0, 1.0]], [[float("nan"), 1.0]])) == []


def test_a_long_list_ends():
    n = MOST_CHANGES + 3
    ((changes, total),) = changed_answers(run_of([[1.0, 1.0]] * n, [[1.0, -1.0]] * n))
    assert (len(changes), total) == (MOST_CHANGES, n)
