"""Scores of tasks from a few images that can be counted by hand."""

import numpy as np
import pytest
import torch

from covidmt.evaluation.answers import TaskAnswers
from covidmt.evaluation.task_scores import labels_exclude, task_scores
from experiments.schema import Task, TaskKind
from metrics.bootstrap import PatientBootstrap


def test_exclusive_classes_are_decided_by_the_largest():
    task = Task(name="covidx", kind=TaskKind.multilabel, labels=["a", "b", "c"])
    targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]]
    logits = np.array([[2, 1, 0], [3, 2, 0], [0, 0, -1], [-3, -2, -1]], np.float32)  # a, a (wrong), a (tie), c
    found = task_scores(task, TaskAnswers(np.array(list("wxyz")), targets, logits), PatientBootstrap(list("wxyz"), 100))
    assert found["accuracy"].estimate.value == 0.5
    assert found["c/sensitivity"].estimate.value == 0.5
    assert found["a/ppv"].estimate.value == pytest.approx(1 / 3)


def test_unknown_labels_are_left_out():
    task = Task(name="nodule", kind=TaskKind.multilabel, labels=["Nodule"])
    targets = np.array([[1], [0], [np.nan]], np.float32)
    answers = TaskAnswers(np.array(list("xyz")), targets, np.array([[1], [-1], [9]], np.float32))
    found = task_scores(task, answers, PatientBootstrap(list("xyz"), 100))
    assert found["auroc"].n == 2
    assert found["accuracy"].estimate.value == found["auroc"].estimate.value == 1


def test_boxes_are_scored_by_their_own_measures():
    """One image whose box is found, one whose box is not."""
    square = torch.tensor([[0.0, 0, 8, 8]])
    hit, miss = ({"boxes": boxes, "scores": torch.ones(len(boxes))} for boxes in (square, square[:0]))
    empty = np.empty((2, 0), np.float32)
    answers = TaskAnswers(np.array(["x", "y"]), empty, empty, [hit, miss], [square, square])
    task = Task(name="rsna_boxes", kind=TaskKind.boxes)
    scores = task_scores(task, answers, PatientBootstrap(["x", "y"], 100))
    assert {name: round(score.estimate.value, 2) for name, score in scores.items()} == {
        "map": 0.50,  # recall 0 to 0.5 of COCO's 101 points
        "map_50": 0.50,
        "rsna_map": 0.50,
    }
    assert task_scores(task, TaskAnswers(np.array(["x"]), empty[:1], empty[:1]), PatientBootstrap(["x"], 100)) == {}


def test_labels_that_stand_beside_each_other_do_not_exclude():
    assert labels_exclude(np.eye(3))
    assert not labels_exclude(np.array([[1.0, 1.0], [0.0, 1.0]]))
    assert not labels_exclude(np.full((2, 2), np.nan))
    assert not labels_exclude(np.ones((3, 1)))


def test_what_is_no_number_is_ranked_by_nothing():
    """Without a number for the third and fourth image the first two decide; the file's order does not."""
    task = Task(name="covidx", kind=TaskKind.multiclass, labels=["a", "b"])
    targets = np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1]]
    logits = np.array([[2, 0], [0, 2], [np.nan, 0], [np.inf, 0], [0, 3]], np.float32)
    names = list("vwxyz")
    found = task_scores(task, TaskAnswers(np.array(names), targets, logits), PatientBootstrap(names, 100))
    assert {found[f"{label}/auroc"].n for label in "ab"} == {3}
    assert found["b/auroc"].estimate.value == found["accuracy"].estimate.value == 1
    nothing = TaskAnswers(np.array(names), targets, np.full_like(logits, np.nan))
    scores = task_scores(task, nothing, PatientBootstrap(names, 100))
    assert not any(key.endswith(("auroc", "ap", "ece")) for key in scores)


def test_an_image_whose_boxes_are_no_numbers_does_not_count():
    square = torch.tensor([[0.0, 0, 8, 8]])
    hit = {"boxes": square, "scores": torch.ones(1)}
    broken = {"boxes": square, "scores": torch.tensor([float("nan")])}
    empty = np.empty((2, 0), np.float32)
    answers = TaskAnswers(np.array(["x", "y"]), empty, empty, [hit, broken], [square, square])
    found = task_scores(Task(name="boxes", kind=TaskKind.boxes), answers, PatientBootstrap(["x", "y"], 100))
    assert (found["map"].estimate.value, found["map"].n) == (1, 1)
