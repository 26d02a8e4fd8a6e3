from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, Timer
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from callbacks.nonfinite import NonfiniteGuard
from covidmt.trainer import (
    AtomicCheckpointIO,
    BackgroundCheckpointIO,
    SyncBatchNorm,
    explain_refusals,
    make_trainer,
)
from experiments.errors import UserError
from experiments.schema import Model
from lightning_modules.networks.backbones import build_backbone
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


def test_what_is_written_in_the_background_is_as_it_was_when_it_was_saved(tmp_path: Path):
    io, weights, steps = BackgroundCheckpointIO(AtomicCheckpointIO()), torch.zeros(1_000_000), [1]
    io.save_checkpoint({"weights": weights, "steps": steps}, tmp_path / "last.ckpt")
    weights.fill_(7)
    io.teardown()
    assert not torch.load(tmp_path / "last.ckpt", weights_only=True)["weights"].any()


def test_the_newest_of_several_checkpoints_is_left(tmp_path: Path):
    io = BackgroundCheckpointIO(AtomicCheckpointIO())
    for step in range(5):
        io.save_checkpoint({"step": step, "weights": torch.zeros(100_000)}, tmp_path / "last.ckpt")
    io.teardown()
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["step"] == 4


@pytest.mark.parametrize("then", ["save", "end"])
def test_a_write_in_the_background_that_fails_ends_the_training(tmp_path: Path, then: str):
    io = BackgroundCheckpointIO(AtomicCheckpointIO())

    def write() -> None:
        io.save_checkpoint({"step": 1, "more": Unsaveable()}, tmp_path / "last.ckpt")
        io.teardown() if then == "end" else io.save_checkpoint({"step": 2}, tmp_path / "last.ckpt")

    with pytest.raises(UserError, match="cannot be written"):  # from the first call after the failure
        write()


def test_objects_of_the_section_are_added_to_covidmts(tmp_path: Path):
    settings = {
        "accelerator": "cpu",
        "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": str(tmp_path)}},
        "callbacks": [{"class_path": "lightning.pytorch.callbacks.Timer"}],
        "log_every_n_steps": 3,
    }
    own = LearningRateMonitor()
    trainer = make_trainer(settings, [own], tmp_path, background=True)
    assert trainer.callbacks.index(own) == 1  # after the one that stops at a loss without a number
    assert any(isinstance(callback, Timer) for callback in trainer.callbacks)
    assert isinstance(trainer.logger, CSVLogger)
    assert isinstance(trainer.strategy.checkpoint_io, BackgroundCheckpointIO)
    assert isinstance(trainer.strategy.checkpoint_io.checkpoint_io, AtomicCheckpointIO)
    assert isinstance(make_trainer(settings, [], tmp_path).strategy.checkpoint_io, AtomicCheckpointIO)
    assert (trainer.log_every_n_steps, trainer.num_sanity_val_steps) == (3, 1)
    assert trainer.default_root_dir == str(tmp_path)


@pytest.mark.parametrize(("chosen", "stop"), [({}, True), ({"detect_nonfinite": "warn"}, False)])
def test_a_loss_without_a_number_stops_unless_told_otherwise(tmp_path: Path, chosen: dict[str, object], stop: bool):
    trainer = make_trainer({"accelerator": "cpu"} | chosen, [], tmp_path)
    (guard,) = (callback for callback in trainer.callbacks if isinstance(callback, NonfiniteGuard))
    assert guard.stop is stop


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


def test_what_lightning_refuses_when_it_runs_is_one_message(tmp_path: Path):
    settings = {"accelerator": "cpu", "max_epochs": 1, "val_check_interval": 1000, "enable_progress_bar": False}
    trainer = make_trainer(settings, [], tmp_path)
    with pytest.raises(UserError, match="Lightning refuses these settings"), explain_refusals():
        trainer.fit(Tiny(), TinyData())


NETWORKS = [
    "resnet18",
    "vgg11_bn",
    "densenet121",
    "timm:test_resnet",
    "timm:tf_efficientnet_lite0",
    "timm:legacy_xception",
    "covidnet_like_cxr4b",
]


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_statistics_of_all_processes_leave_a_network_as_it_was(name: str):
    backbone = build_backbone(Model(backbone=name, pretrained=False), image_size=64).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = backbone(images)
        for _ in range(2):  # a test follows the fit, with a conversion of its own
            backbone = SyncBatchNorm().apply(backbone)
            for one, other in zip(before, backbone(images), strict=True):
                assert torch.equal(one, other)
    kinds = {type(layer) for layer in backbone.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)}
    assert kinds
    assert all(issubclass(kind, nn.SyncBatchNorm) for kind in kinds)


def test_sync_batchnorm_takes_covidmts_conversion(tmp_path: Path):
    trainer = make_trainer(
        {"accelerator": "cpu", "strategy": "ddp", "devices": 1, "sync_batchnorm": True}, [], tmp_path
    )
    assert isinstance(trainer.strategy._layer_sync, SyncBatchNorm)


def test_a_logger_has_its_short_name_with_arguments_too(tmp_path: Path):
    chosen = {"class_path": "CSVLogger", "init_args": {"save_dir": str(tmp_path)}}
    trainer = make_trainer({"accelerator": "cpu", "devices": 1, "logger": [chosen]}, [], tmp_path)
    assert [type(logger).__name__ for logger in trainer.loggers] == ["CSVLogger"]
