from __future__ import annotations

import pytest
import torch

from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import batch, experiment, loader, trainer


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    module = MultiTaskModule(experiment())
    run = trainer(tmp_path, max_steps=1)
    run.fit(module, loader([batch()]), [loader([batch()])])
    run.save_checkpoint(tmp_path / "some.ckpt")
    return tmp_path / "some.ckpt", module
