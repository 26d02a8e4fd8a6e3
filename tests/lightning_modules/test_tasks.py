from __future__ import annotations

import pytest
import torch

from experiments.errors import UserError
from lightning_modules.multitask import MultiTaskModule
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
