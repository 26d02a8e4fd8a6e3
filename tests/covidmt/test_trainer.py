from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, Timer
from lightning.pytorch.loggers import CSVLogger

from covidmt.trainer import AtomicCheckpointIO, check_arguments, explain_refusals, make_trainer
from experiments.errors import UserError
from tests.helpers.tiny_module import Tiny, TinyData


class Unsaveable:
    def __reduce__(self) -> object:
        raise OSError("no space left on device")


def test_a_failed_write_leaves_the_checkpoint_that_was_there(tmp_path: Path):
    path = tmp_path / "folder" / "last.ckpt"
    io = AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, path)
    with pytest.raises(UserError, match="cannot be written"):
        io.save_checkpoint({"step": 2, "more": Unsaveable()}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_objects_of_the_section_are_added_to_covidmts(tmp_path: Path):
    settings = {
        "accelerator": "cpu",
        "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path)}},
        "callbacks": [{"class_path": "lightning.pytorch.callbacks.Timer"}],
        "log_every_n_steps": 3,
    }
    own = LearningRateMonitor()
    trainer = make_trainer(settings, [own], tmp_path)
    assert trainer.callbacks.index(own) == 0
    assert any(isinstance(callback, Timer) for callback in trainer.callbacks)
    assert isinstance(trainer.logger, CSVLogger)
    assert isinstance(trainer.strategy.checkpoint_io, AtomicCheckpointIO)
    assert (trainer.log_every_n_steps, trainer.num_sanity_val_steps) == (3, 1)
    assert trainer.default_root_dir == str(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"logger": {"class_path": "lightning.pytorch.callbacks.Timer"}}, r"trainer\.logger: <.*> is no Logger"),
        ({"callbacks": [{"class_path": "lightning.nothing.Timer"}]}, r"trainer\.callbacks\[0\]\.class_path: 'lightn"),
        ({"callbacks": [{"class_path": "datetime.date"}]}, r"trainer\.callbacks\[0\]\.init_args: datetime\.date ref"),
    ],
)
def test_objects_that_cannot_be_made_are_named(tmp_path: Path, settings: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        make_trainer({"accelerator": "cpu"} | settings, [], tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": "three"}, r"trainer\.max_epochs: takes a whole number, null; not 'three'"),
        ({"accumulate_grad_batches": 0}, r"trainer\.accumulate_grad_batches: must be 1 or more, is 0"),
        ({"use_distributed_sampler": True}, "would count images twice"),
        ({"strategy": "ddp_spawn"}, "use ddp"),
    ],
)
def test_arguments_that_would_break_the_scores_are_refused(settings: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        check_arguments(settings)


def test_what_lightning_refuses_when_it_runs_is_one_message(tmp_path: Path):
    settings = {"accelerator": "cpu", "max_epochs": 1, "val_check_interval": 1000, "enable_progress_bar": False}
    trainer = make_trainer(settings, [], tmp_path)
    with pytest.raises(UserError, match="Lightning refuses these settings"), explain_refusals():
        trainer.fit(Tiny(), TinyData())
