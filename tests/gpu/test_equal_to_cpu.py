"""What a GPU computes in float32 is what the CPU computes, within rounding."""

import copy

import pytest
import torch

from callbacks.robustness import RobustnessCallback
from experiments.schema import Robustness
from explain.decision import Decision
from explain.gradcam import gradcam
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import batch, experiment
from tests.helpers.tiny_module import TASK, Tiny, TinyData, trainer

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def module() -> MultiTaskModule:
    torch.manual_seed(0)
    return MultiTaskModule(experiment()).eval()


def test_outputs_and_boxes(module: MultiTaskModule, device: torch.device):
    images, there = batch(n=4).images, copy.deepcopy(module).to(device)
    with torch.no_grad():
        here, back = module(images), there(images.to(device))
    torch.testing.assert_close(back["covidx"].cpu(), here["covidx"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(back["rsna_boxes"].deltas.cpu(), here["rsna_boxes"].deltas, rtol=1e-3, atol=1e-3)

    boxes = [model.tasks["rsna_boxes"].head.decode(out["rsna_boxes"]) for model, out in ((module, here), (there, back))]
    for one, other in zip(*boxes, strict=True):
        torch.testing.assert_close(other["scores"].cpu(), one["scores"], rtol=1e-3, atol=1e-4)


def test_losses(module: MultiTaskModule, device: torch.device):
    here, there = copy.deepcopy(module), copy.deepcopy(module).to(device)
    images = batch(n=4)
    loss = here.training_step(images, 0)["loss"]
    other = there.training_step(there.transfer_batch_to_device(images, device, 0), 0)["loss"]
    torch.testing.assert_close(other.cpu(), loss, rtol=1e-3, atol=1e-3)


def test_gradcam(module: MultiTaskModule, device: torch.device):
    images, there = batch(n=4).images, copy.deepcopy(module).to(device)
    decision = Decision.of(module.experiment.tasks["covidx"], module.experiment.robustness)
    with torch.no_grad():
        here = gradcam(module.features(images)[-1], module.head("covidx"), decision.score)
        back = gradcam(there.features(images.to(device))[-1], there.head("covidx"), decision.score)
    torch.testing.assert_close(back.logits.cpu(), here.logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(back.map.cpu(), here.map, rtol=1e-2, atol=1e-4 * float(here.map.max()))


def test_pi_and_ols():
    figures = []
    for accelerator in ("cpu", "gpu"):
        callback = RobustnessCallback(Robustness(), TASK)
        trainer(accelerator=accelerator, callbacks=[callback]).validate(Tiny(), TinyData(), verbose=False)
        figures.append(callback.last)
    assert figures[1] == pytest.approx(figures[0], rel=1e-4, nan_ok=True)
