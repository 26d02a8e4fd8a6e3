from __future__ import annotations

import pytest
import timm
import torch

from experiments.errors import UserError
from experiments.models.schema import Normalisation, Pyramid
from lightning_modules.load import load_module
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import batch, covidx_batch, experiment, loader, trainer


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("active_tasks=[covidx,rsna_boxes]", "active tasks"),
        ("tasks.covidx.labels=[COVID-19,pneumonia,normal]", "active tasks"),
        ("model.backbone=resnet34", "model.backbone is timm:test_resnet"),
        ("model.boxes.objectness=false", "model.boxes"),
        ("model.boxes.pyramid=paper", "model.boxes"),
        ("model.head=native", "model.head is transition"),
        ("model.normalisation={mean: [0.5, 0.5, 0.5]}", "model.normalisation"),
    ],
)
def test_a_checkpoint_of_another_experiment(checkpoint, tmp_path, override, words):
    path, _ = checkpoint
    other = MultiTaskModule(experiment(override))
    with pytest.raises(UserError, match=words):
        trainer(tmp_path).test(other, [loader([batch()])], ckpt_path=str(path), verbose=False)


def test_the_normalisation_stands_in_the_checkpoint(tmp_path):
    """Of a network that starts from weights: who loads it need not know which."""
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    settings = ["active_tasks=[covidx]", "model.backbone=timm:test_resnet", f"model.weights={tmp_path / 'weights.pth'}"]
    module = MultiTaskModule(experiment(*settings))
    trained = trainer(tmp_path, max_steps=1)
    trained.fit(module, loader([covidx_batch(2)]))
    trained.save_checkpoint(tmp_path / "some.ckpt")

    half = Normalisation([0.5] * 3, [0.5] * 3)  # test_resnet's own
    loaded = load_module(tmp_path / "some.ckpt")
    assert loaded.normalise.settings == loaded.experiment.model.normalisation == half
    images = covidx_batch(2).images
    torch.testing.assert_close(loaded(images), module.eval()(images))


def test_a_checkpoint_of_before_normalisation_heads_and_pyramids(checkpoint):
    """It was trained with ImageNet's mean and deviation and torchvision's pyramid, whatever the defaults are now."""
    path, module = checkpoint[0], MultiTaskModule(experiment("model.backbone=resnet18"))
    content = torch.load(path, weights_only=True)
    content["state_dict"] = module.state_dict()
    saved = content["experiment"]["model"]
    del saved["normalisation"], saved["head"], saved["boxes"]["pyramid"]
    saved["backbone"], saved["pretrained"] = "resnet18", True
    torch.save(content, path)
    loaded = load_module(path)
    assert loaded.normalise.settings == Normalisation()
    assert loaded.experiment.model.boxes.pyramid is Pyramid.torchvision
    assert loaded.experiment.model.head == "transition"
    images = batch().images
    torch.testing.assert_close(loaded(images)["covidx"], module.eval()(images)["covidx"])
