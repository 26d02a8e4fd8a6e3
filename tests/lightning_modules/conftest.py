from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch

from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import batch, experiment, loader, trainer


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MultiTaskModule]:
    """One step of a training, made once: its checkpoint and its network, which tests get copies of."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    module = MultiTaskModule(experiment())
    run = trainer(folder, max_steps=1)
    run.fit(module, loader([batch()]), [loader([batch()])])
    run.save_checkpoint(folder / "some.ckpt")
    module._trainer = None  # a Trainer cannot be copied
    return folder / "some.ckpt", module


@pytest.fixture
def checkpoint(trained: tuple[Path, MultiTaskModule], tmp_path: Path) -> tuple[Path, MultiTaskModule]:
    path, module = trained
    return shutil.copy(path, tmp_path / "some.ckpt"), copy.deepcopy(module)
