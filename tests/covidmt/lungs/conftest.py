"""A segmenter for the tests of this wing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from covidmt.lungs.train import train_lungs
from experiments.load import load_lungs_experiment


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """The checkpoint of the demo experiment, one short epoch, in the run folder where its training put it."""
    folder = tmp_path_factory.mktemp("trained")
    torch.set_num_threads(1)
    overrides = [
        f"data.root={demo_data}", "data.image_size=64", "data.num_workers=0", "tracking.system_metrics=false",
        "trainer.max_epochs=1", "trainer.limit_train_batches=6", "trainer.enable_progress_bar=false",
        "trainer.accelerator=cpu",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return train_lungs(load_lungs_experiment("experiments/lungs_demo.yaml", overrides))
