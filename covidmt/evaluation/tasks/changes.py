"""The answers that change on the way, of every label of every task: on which image, from what to what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from covidmt.evaluation.result import RunEvaluation
from covidmt.evaluation.tasks.answers import LabelRows, decided
from explain.task_decisions import TaskDecisions
from metrics.paired import SIDES, flips

MOST_CHANGES = 50  # of a task that the page lists


class ChangedAnswer(NamedTuple):
    """An answer that is not the same on the received image.

    Attributes:
        task: The task.
        image: The pair's name.
        before: The answer on the original: ``Effusion`` or ``not Effusion``.
        after: The answer on the received image.
        p_original: The label's probability on the original, in [0, 1].
        p_received: The same on the received image.
    """

    task: str
    image: str
    before: str
    after: str
    p_original: float
    p_received: float


class TaskChanges(NamedTuple):
    """A task's answers that change, the largest change of the probability first.

    Attributes:
        changes: At most :data:`MOST_CHANGES` of them.
        total: How many there are.
    """

    changes: list[ChangedAnswer]
    total: int


def changed_answers(run: RunEvaluation) -> list[TaskChanges]:
    """Return the answers that change under a network, of each classification task that has any."""
    tables = [
        _changes_of_task(task, rows, run.answers.decisions[task])
        for task, rows in run.answers.stability.items()
        if isinstance(rows, LabelRows)
    ]
    return [table for table in tables if table.total]


def _changes_of_task(task: str, rows: LabelRows, decisions: TaskDecisions) -> TaskChanges:
    before, after = (decided(decisions, rows.logits[side]) for side in SIDES)
    p = [decisions.probability(torch.from_numpy(rows.logits[side])).numpy() for side in SIDES]
    found = [
        ChangedAnswer(
            task=task,
            image=rows.ids[row],
            before=decisions.decisions[label].answer(before[row, label] == 1),
            after=decisions.decisions[label].answer(after[row, label] == 1),
            p_original=float(p[0][row, label]),
            p_received=float(p[1][row, label]),
        )
        for row, label in np.argwhere(flips(before, after) == 1)
    ]
    found.sort(key=lambda change: -abs(change.p_original - change.p_received))
    return TaskChanges(found[:MOST_CHANGES], len(found))
