import pytest
import torch
from torch import nn

from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import experiment


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    module = MultiTaskModule(experiment("active_tasks=[covidx]"), pretrained=False).eval()
    with torch.no_grad():  # evidence for COVID-19 everywhere
        last = list(module.head("covidx").children())[-1]
        assert isinstance(last, nn.Linear)
        last.weight.abs_().mul_(3)
    return module
