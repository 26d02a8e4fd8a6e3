import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from callbacks import resume
from callbacks.resume import STATE, ResumeCheckpoint
from experiments.errors import UserError
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


def _starts(rank: int, folder: Path, sees_all: bool) -> None:
    """A process of two, on a node whose ``mlruns`` is its own unless ``sees_all``."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    start = folder / "run" / "last.ckpt" if rank == 0 or sees_all else None
    try:
        ResumeCheckpoint(1).setup(SimpleNamespace(world_size=2, ckpt_path=start), Tiny(), "fit")  # ty: ignore
        said = "began"
    except UserError as error:
        said = str(error)
    (folder / f"said-{rank}").write_text(said)


@pytest.mark.parametrize("sees_all", [True, False])
def test_processes_that_see_different_checkpoints_do_not_wait_for_each_other(tmp_path, sees_all):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.ckpt").write_bytes(b"12345")
    torch.multiprocessing.start_processes(_starts, (tmp_path, sees_all), nprocs=2, start_method="fork")
    said = [(tmp_path / f"said-{rank}").read_text() for rank in range(2)]
    if sees_all:
        assert said == ["began", "began"]
    else:
        assert said[0] == said[1]
        for part in ("process 0 on ", "run/last.ckpt of 5 bytes; process 1 on ", ": no checkpoint", "shared disk"):
            assert part in said[0]


def test_by_time_the_steps_between_two_checkpoints_follow_their_speed(tmp_path):
    checkpoint = ResumeCheckpoint(every_minutes=10)
    checkpoint._saved_at = time.monotonic() - 30
    assert checkpoint._next_interval(50) == pytest.approx(1000, rel=0.01)  # 50 steps in half a minute
    assert checkpoint._next_interval(0) == 50  # a validation: nothing is known yet
    checkpoint._saved_at = time.monotonic() - 3600
    assert checkpoint._next_interval(2) == 1


def test_by_time_a_training_is_saved_within_its_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "_FIRST_INTERVAL", 1)
    checkpoint = ResumeCheckpoint(every_minutes=1e-9)
    checkpoint.folder = tmp_path
    seen = Sees(checkpoint)
    trainer(max_epochs=1, callbacks=[checkpoint, seen]).fit(Tiny(), Ordered())
    assert "step" in seen.moments
