from contextlib import suppress

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from callbacks.resume import STATE, ResumeCheckpoint
from tests.helpers.tiny_module import Tiny, TinyData, trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]


class Sees(L.Callback):
    """Remembers the moment of the checkpoint file at every step."""

    def __init__(self, checkpoint):
        self.checkpoint = checkpoint
        self.moments = []

    def on_train_batch_end(self, trainer, *args):
        path = self.checkpoint.path
        self.moments.append(torch.load(path, weights_only=True)[STATE]["moment"] if path.exists() else None)


class Ordered(TinyData):
    """Its order depends on no random state: the loader draws it before a resumed training has its own."""

    def train_dataloader(self):
        return DataLoader(super().train_dataloader().dataset, batch_size=2)


class Stops(L.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 4:
            raise KeyboardInterrupt


def fit(folder, *callbacks, ckpt_path=None):
    checkpoint, module = ResumeCheckpoint(every_n_steps=2), Tiny()
    checkpoint.folder = folder
    seen = Sees(checkpoint)
    L.seed_everything(3, verbose=False)
    run = trainer(max_epochs=3, callbacks=[checkpoint, *callbacks, seen])
    with suppress(SystemExit):  # Lightning's answer to the keyboard
        run.fit(module, Ordered(), ckpt_path=ckpt_path, weights_only=True)
    return module, seen.moments


def test_a_checkpoint_is_written_where_nothing_is_under_way(tmp_path):
    """Three steps an epoch: after two of them, before the validation, which ends an epoch, and at an epoch's start."""
    _, moments = fit(tmp_path)
    assert moments == [None, None, "step", "epoch", "epoch", "step", "epoch", "epoch", "step"]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)[STATE]["moment"] == "end"


def test_a_training_that_was_broken_off_ends_with_the_same_bits(tmp_path):
    whole, _ = fit(tmp_path / "whole")
    fit(tmp_path / "broken", Stops())
    checkpoint = tmp_path / "broken" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 3
    resumed, _ = fit(tmp_path / "broken", ckpt_path=checkpoint)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
