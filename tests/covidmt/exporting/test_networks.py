"""Networks in other formats: equal outputs, any batch, Grad-CAM without a gradient."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from callbacks.pair_maps import PairMaps
from covidmt.exporting.networks import PlainNetwork, example_images, explains, export_networks
from lightning_modules.lungs.segmenters import load_unet
from lightning_modules.lungs.unet import LungUNet
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import SIZE, experiment

pytestmark = pytest.mark.slow


def network(*overrides: str, seed: int = 0) -> MultiTaskModule:
    torch.manual_seed(seed)
    module = MultiTaskModule(experiment("model.backbone=timm:test_resnet", *overrides), pretrained=False).eval()
    for part in module.modules():  # statistics and weights unlike those of a new network
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
            torch.nn.init.uniform_(part.weight, -1, 1)
    return module


@pytest.mark.parametrize("target", ["decision", "positive", "predicted"])
@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_the_closed_form_is_our_gradcam(target: str, kind: str):
    hottest = 0.0
    for seed in range(4):
        settings = [f"robustness.target={target}", f"tasks.covidx.kind={kind}", "active_tasks=[covidx]"]
        module, images = network(*settings, seed=seed), example_images(SIZE, 6)
        with torch.no_grad():
            logits, heat = PlainNetwork(module)(images)
        ours = PairMaps(module.experiment.robustness, module.experiment.tasks["covidx"]).explain(module, images)
        hottest = max(hottest, float(ours.map.max()))
        torch.testing.assert_close(heat, ours.map, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(logits, ours.logits)
    assert hottest > 1e-4  # not of zeros alone


@pytest.mark.parametrize("kind", ["onnx", "torch-export", "safetensors"])
def test_every_format_gives_our_outputs(kind: str, tmp_path: Path):
    module, segmenter = network(), load_unet("covidmt")
    assert isinstance(segmenter, LungUNet)
    differences = export_networks(module, segmenter, tmp_path, kind)
    assert {difference.network: difference.largest <= 1e-4 for difference in differences} == {
        "network": True,
        "lungs": True,
    }
    description = json.loads((tmp_path / "export.json").read_text())
    outputs = ["covidx", "rsna_boxes/deltas", "rsna_boxes/anchors", "rsna_boxes/objectness"]
    assert description["network"]["outputs"] == [
        *outputs,
        "infiltration",
        "effusion",
        "atelectasis",
        "nodule",
        "gradcam",
    ]
    assert description["experiment"]["model"]["backbone"] == "timm:test_resnet"


def test_another_batch_size_works_and_reads_without_covidmt(tmp_path: Path):
    import onnxruntime

    module = network("active_tasks=[covidx]")
    export_networks(module, None, tmp_path, "onnx")
    images = example_images(SIZE, 5)
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    logits, heat = session.run(["covidx", "gradcam"], {"images": images.numpy()})
    with torch.no_grad():
        expected = PlainNetwork(module)(images)
    torch.testing.assert_close(torch.from_numpy(logits), expected[0], atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.from_numpy(heat), expected[1], atol=1e-4, rtol=0)


def test_a_heat_map_that_needs_gradients_is_left_out(tmp_path: Path):
    module = network("model.norm=group", "active_tasks=[covidx]")
    assert not explains(module)
    export_networks(module, None, tmp_path, "torch-export")
    assert json.loads((tmp_path / "export.json").read_text())["network"]["outputs"] == ["covidx"]
