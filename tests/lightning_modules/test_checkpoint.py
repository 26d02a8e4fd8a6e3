from __future__ import annotations

import pytest

from experiments.errors import UserError
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import batch, experiment, loader, trainer


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("active_tasks=[covidx,rsna_boxes]", "active tasks"),
        ("tasks.covidx.labels=[COVID-19,pneumonia,normal]", "active tasks"),
        ("model.backbone=resnet34", "model.backbone is resnet18"),
        ("model.boxes.objectness=false", "model.boxes"),
    ],
)
def test_a_checkpoint_of_another_experiment(checkpoint, tmp_path, override, words):
    path, _ = checkpoint
    other = MultiTaskModule(experiment(override))
    with pytest.raises(UserError, match=words):
        trainer(tmp_path).test(other, [loader([batch()])], ckpt_path=str(path), verbose=False)
