from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from experiments.batch import TaskBatch
from experiments.errors import UserError
from experiments.schema import Task, TaskKind
from lightning_modules.losses.tasks import Term
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.tasks import BoxTask, ClassificationTask, TermSum
from tests.helpers.tiny_experiment import batch, experiment


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["a.b", "keys"])
def test_task_names_that_no_module_can_have(name):
    settings = experiment()
    task = settings.tasks["covidx"]
    task.name = name
    settings.tasks, settings.active_tasks = {name: task}, None
    with pytest.raises(UserError, match="cannot have this name"):
        MultiTaskModule(settings)


def test_a_kind_that_is_no_task_module_is_named_by_its_setting():
    settings = experiment()
    settings.tasks["covidx"].module = "torch.nn.Identity"
    with pytest.raises(UserError, match=r"^tasks\.covidx\.kind: torch\.nn\.Identity gives a Identity; it must be a"):
        MultiTaskModule(settings)


def test_anchors_grow_with_the_strides_of_the_base_network():
    """On the paper's pyramid a level's smallest anchors have four strides: here of 16, and of two levels more."""
    settings = experiment("model.boxes.pyramid=paper")
    backbone = SimpleNamespace(channels=[8], strides=[16])
    head = BoxTask(settings.tasks["rsna_boxes"], backbone, settings).head  # ty: ignore[invalid-argument-type]
    assert [sizes[0] for sizes in head.anchors.sizes] == [64, 128, 256]


@pytest.mark.parametrize("objectness", ["true", "false"])
def test_boxes_have_a_detection_score_with_and_without_objectness(objectness):
    module = MultiTaskModule(experiment(f"model.boxes.objectness={objectness}", "model.boxes.pyramid=paper")).eval()
    task, targets = module.tasks["rsna_boxes"], batch(0).tasks["rsna_boxes"]
    with torch.no_grad():
        output = task([m[targets.rows] for m in module.features(batch(0).images)])
    task.update(output, targets)
    assert {"map", "map_50", "iou", "loss"} == set(task.compute())


def test_boxes_without_a_match_are_not_known():
    module = MultiTaskModule(experiment("model.boxes.objectness=false"))
    maps, task = module.features(batch(0).images), module.tasks["rsna_boxes"]
    for known in (True, False):
        targets = batch(0, known=known).tasks["rsna_boxes"]
        loss, found = task.loss_and_known(task([m[targets.rows] for m in maps]), targets)
        assert loss.item() > 0  # the penalty
        assert bool(found) == known


def test_terms_are_added_up_over_batches_and_processes():
    parts = [Term(torch.tensor(total), torch.tensor(count)) for total, count in ((3.0, 2.0), (6.0, 1.0), (1.0, 0.0))]
    whole, first, second = TermSum(), TermSum(), TermSum()
    for metric, some in ((whole, parts), (first, parts[:2]), (second, parts[2:])):
        for part in some:
            metric.update(part)
    first.merge_state(second)
    assert whole.compute() == first.compute() == (10, 3)


def test_a_classification_tasks_epoch_is_the_mean_over_what_is_known():
    """ln 2 for each known label at a logit of 0; after a reset nothing is known."""
    task = MultiTaskModule(experiment()).tasks["covidx"]
    targets = TaskBatch(slice(0, 2), torch.tensor([[1.0, 0, 0], [float("nan"), 0, 1]]), [])
    logits = torch.zeros(2, 3)
    assert task.loss(logits, targets).item() == pytest.approx(0.693147)
    task.update(logits, targets)
    task.update(torch.full((2, 3), 9.0), TaskBatch(slice(0, 2), torch.full((2, 3), float("nan")), []))
    assert task.compute()["loss"].item() == pytest.approx(0.693147)
    task.reset()
    assert task.compute() == {}


def test_the_deciding_task_alone_is_scored_by_the_decision():
    tasks = MultiTaskModule(experiment("robustness.threshold=0.3")).tasks
    decisions = {name: task.scores.decision for name, task in tasks.items() if isinstance(task, ClassificationTask)}
    assert decisions.pop("covidx") == ("COVID-19", 0.3)
    assert set(decisions.values()) == {None}


def test_a_classification_head_reads_the_last_map():
    module = MultiTaskModule(experiment()).eval()
    maps, task = module.features(batch(0).images), module.tasks["covidx"]
    assert torch.equal(task([None, maps[-1]]), task.head(maps[-1]))


def test_a_softmax_says_how_many_of_the_known_images_of_a_batch_are_right():
    task = MultiTaskModule(experiment("tasks.covidx.kind=multiclass")).tasks["covidx"]
    nan = float("nan")
    targets = TaskBatch(slice(0, 4), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [nan, 0, 0]]), [])
    logits = torch.tensor([[3.0, 0, 0], [0, 3, 0], [3, 0, 0], [3, 0, 0]])
    assert task.progress(logits, targets)["accuracy"].item() == pytest.approx(2 / 3)
    assert MultiTaskModule(experiment()).tasks["covidx"].progress(logits, targets) == {}


def test_a_box_tasks_loss_is_its_means_and_the_penalty_without_the_iou():
    module = MultiTaskModule(experiment("model.boxes.l2=0.5")).eval()
    task, targets = module.tasks["rsna_boxes"], batch(0).tasks["rsna_boxes"]
    with torch.no_grad():
        output = task([m[targets.rows] for m in module.features(batch(0).images)])
        terms = task.terms(output, targets)
        weights = sum((layer.weight**2).sum() for layer in task.head.boxes if isinstance(layer, torch.nn.Conv2d))
        assert set(terms) == {"regression", "iou", "objectness"}
        expected = terms["regression"].mean + terms["objectness"].mean + 0.5 * weights
        torch.testing.assert_close(task.loss(output, targets), expected)
        task.update(output, targets)
        torch.testing.assert_close(task.compute()["loss"], expected)
        torch.testing.assert_close(task.compute()["iou"], terms["iou"].mean)
        task.reset()
        assert task.compute() == {}


def classification(kind: TaskKind, weights: list[float] | None = None) -> ClassificationTask:
    """A task of three labels on a base network of four channels."""
    task = Task("t", "own", kind=kind, labels=["a", "b", "c"], class_weights=weights)
    backbone = SimpleNamespace(channels=[4], strides=[32])
    return ClassificationTask(task, backbone, experiment())  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_a_softmax_tasks_loss_is_torchs_with_its_weights(weights):
    logits, classes = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = nn.CrossEntropyLoss(weight=None if weights is None else torch.tensor(weights))(logits, classes)
    loss = classification(TaskKind.multiclass, weights).loss(logits, TaskBatch(slice(0, 6), torch.eye(3)[classes], []))
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_a_sigmoid_tasks_loss_is_torchs_with_its_weights(weights):
    logits, targets = torch.randn(6, 3), torch.randint(0, 2, (6, 3)).float()
    expected = nn.BCEWithLogitsLoss(weight=None if weights is None else torch.tensor(weights))(logits, targets)
    loss = classification(TaskKind.multilabel, weights).loss(logits, TaskBatch(slice(0, 6), targets, []))
    torch.testing.assert_close(loss, expected)


def test_the_scores_of_a_task_read_its_logits_as_its_loss_does():
    """By a softmax a label above both others is answered, though each logit is negative; by sigmoids none is."""
    logits, targets = torch.tensor([[-1.0, -3.0, -3.0]]), TaskBatch(slice(0, 1), torch.tensor([[1.0, 0, 0]]), [])
    accuracies = {}
    for kind in (TaskKind.multiclass, TaskKind.multilabel):
        task = classification(kind)
        task.update(logits, targets)
        accuracies[kind] = task.scores.softmax
    assert accuracies == {TaskKind.multiclass: True, TaskKind.multilabel: False}


def test_one_known_label_is_something_known():
    nan = float("nan")
    task = classification(TaskKind.multilabel)
    for labels, known in ([[nan, nan, 1.0]], True), ([[nan, nan, nan]], False):
        assert (
            bool(task.loss_and_known(torch.zeros(1, 3), TaskBatch(slice(0, 1), torch.tensor(labels), []))[1]) == known
        )
