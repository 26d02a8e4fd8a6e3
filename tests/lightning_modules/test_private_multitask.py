from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from experiments.errors import UserError
from lightning_modules.load import build_module
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import covidx_batch, private_experiment, trainer


class Pixels(LightningDataModule):
    """A fit of one step: what it learns from is the test's."""

    training_patients = np.arange(30) // 2

    def train_dataloader(self):
        batch = covidx_batch(3)._replace(patients=torch.tensor([4, 2, 4]))
        return DataLoader([batch], batch_size=None)  # ty: ignore[invalid-argument-type]


def fit(folder: Path, *overrides: str, resume: Path | None = None, steps: int = 2) -> Path:
    """Train for a step, or go on; gives the checkpoint."""
    quiet = {f"enable_{name}": False for name in ("checkpointing", "progress_bar", "model_summary")}
    limits = {"max_steps": steps, "max_epochs": -1, "limit_train_batches": 1, "limit_val_batches": 0}
    run = Trainer(accelerator="cpu", logger=False, **quiet, **limits)
    run.fit(build_module(private_experiment(folder, *overrides)), datamodule=Pixels(), ckpt_path=resume)
    run.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_private_training_goes_on_under_one_guarantee(tmp_path):
    private = ["privacy.noise_multiplier=1.0", "privacy.accountant=rdp", "seed=3"]
    last = fit(tmp_path, *private)
    for other, words in {
        "privacy.noise_multiplier=0.5": "noise_multiplier is 1.0, this training's is 0.5",
        "tasks.covidx.batch_size=3": "sampling rate is 0.2, this training's is 0.1",
        "privacy.max_grad_norm=2.0": "max_grad_norm is",
        "privacy.delta=1e-6": "delta is",
        "seed=4": "seed is 3, this training's is 4",
        "privacy.accountant=prv": "accountant is rdp, this training's is prv",
        "privacy.unit=patient": "unit is image, this training's is patient",
        "privacy.entropy=os": "entropy is seed, this training's is os",
        "privacy=null": "its guarantee would end here",
    }.items():
        with pytest.raises(UserError, match=words):
            fit(tmp_path, *private, other, resume=last, steps=3)
    more = torch.load(fit(tmp_path, *private, resume=last, steps=3), weights_only=True)["privacy"]
    assert more["history"] == [(1.0, 0.2, 3)]
    plain = fit(tmp_path)
    with pytest.raises(UserError, match="the checkpoint was trained without"):
        fit(tmp_path, *private, resume=plain, steps=3)


@pytest.mark.filterwarnings("ignore")
def test_a_step_clips_patients_under_their_own_unit(tmp_path):
    """Without noise to speak of, a step of SGD is the clipped gradients' sum over the expected number of units."""
    overrides = ["privacy.noise_multiplier=1e-9", "privacy.accountant=rdp", "privacy.max_grad_norm=1e-3", "seed=3"]
    overrides += ["optimizer={name: SGD, lr: 1.0}", "scheduler.name=null"]
    lengths = {}
    for unit in ("image", "patient"):
        module = build_module(private_experiment(tmp_path, *overrides, f"privacy.unit={unit}"))
        before = torch.cat([p.detach().flatten().double() for p in module.parameters()])
        trainer(tmp_path, max_steps=1, max_epochs=-1, limit_val_batches=0).fit(module, datamodule=Pixels())
        after = torch.cat([p.detach().flatten().double() for p in module.parameters()])
        lengths[unit] = float((after - before).norm())
    assert 0 < lengths["image"] <= 3 * 1e-3 / 6 * 1.01  # three images, six expected
    assert 0 < lengths["patient"] <= 2 * 1e-3 / 3 * 1.01  # two patients, three expected of 15 at a rate of 0.2
    assert lengths["patient"] != pytest.approx(lengths["image"], rel=0.01)


def test_the_plain_module_does_not_train_where_privacy_is_asked_for(tmp_path):
    module = MultiTaskModule(private_experiment(tmp_path, "privacy.noise_multiplier=1.0"))
    with pytest.raises(UserError, match="privacy: MultiTaskModule trains without"):
        trainer(tmp_path).fit(module, datamodule=Pixels())


def test_several_processes_and_endless_trainings_have_no_guarantee(tmp_path):
    module = build_module(private_experiment(tmp_path, "privacy.noise_multiplier=1.0"))
    with pytest.raises(UserError, match="a training without end has no epsilon"):
        trainer(tmp_path, max_epochs=-1).fit(module, datamodule=Pixels())
    module._trainer = SimpleNamespace(strategy=DDPStrategy(), world_size=2)
    with pytest.raises(UserError, match="noise are those of one process"):
        module.setup("fit")
