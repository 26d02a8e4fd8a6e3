from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from experiments.errors import UserError
from experiments.load import to_dict
from lightning_modules.load import build_module, load_module
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.private_multitask import PrivateMultiTaskModule
from tests.helpers.tiny_experiment import batch, private_experiment


def test_a_checkpoint_brings_its_experiment(checkpoint):
    path, module = checkpoint
    content = torch.load(path, weights_only=True)
    model = replace(module.experiment.model, normalisation=module.normalise.settings)
    assert content["experiment"] == to_dict(replace(module.experiment, model=model))
    loaded = load_module(path)
    assert loaded.experiment == replace(module.experiment, model=model)
    assert not loaded.training
    again = type(module).load_from_checkpoint(path)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in loaded.state_dict().items())
    images = batch(7).images
    expected, outputs = module.eval()(images), loaded(images)
    assert torch.equal(outputs["covidx"], expected["covidx"])
    assert torch.equal(outputs["rsna_boxes"].deltas, expected["rsna_boxes"].deltas)


def test_no_weights_are_needed_for_a_checkpoint(checkpoint, tmp_path):
    path, _ = checkpoint
    content = torch.load(path, weights_only=True)
    content["experiment"]["model"] |= {"pretrained": True, "weights": "gone.pth"}
    torch.save(content, tmp_path / "trained_elsewhere.ckpt")
    assert load_module(tmp_path / "trained_elsewhere.ckpt").experiment.model.weights == "gone.pth"


def test_checkpoints_that_cannot_be_used(checkpoint, tmp_path):
    path, module = checkpoint
    (tmp_path / "cut.ckpt").write_bytes(path.read_bytes()[:-5000])
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    content = torch.load(path, weights_only=True)
    content["state_dict"].pop("tasks.covidx.head.5.bias")
    torch.save(content, tmp_path / "odd.ckpt")
    lungs = {"experiment": {"name": "lungs", "data": {}}, "state_dict": {}}
    torch.save(lungs, tmp_path / "lungs.ckpt")
    for name, words in {
        "absent.ckpt": "no such checkpoint",
        "cut.ckpt": "cut short",
        "weights.pth": "not of `covidmt train`",
        "lungs.ckpt": "not of `covidmt train`",
        "odd.ckpt": r"head\.5\.bias",
    }.items():
        with pytest.raises(UserError, match=words) as error:
            load_module(tmp_path / name)
        assert name in str(error.value)


def test_privacy_decides_the_kind_of_module(tmp_path):
    plain = private_experiment(tmp_path)
    private = private_experiment(tmp_path, "privacy.noise_multiplier=1.0")
    assert type(build_module(plain)) is MultiTaskModule
    module = build_module(private)
    assert type(module) is PrivateMultiTaskModule
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "private.ckpt")
    assert type(load_module(tmp_path / "private.ckpt")) is PrivateMultiTaskModule
    loaded = load_module(tmp_path / "private.ckpt").experiment
    assert replace(loaded, model=replace(loaded.model, normalisation=None)) == private
