"""One line an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from callbacks.epochs.history import MetricHistory
from callbacks.epochs.lines import EpochLines, epoch_scores
from experiments.load import load_experiment

LOSSES = [0.5, 0.3, 0.4]  # of the validations: the second is the best


class Logging(LightningModule):
    """Two training steps an epoch with losses 1 and 3; validation losses as above, and a PI score."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: Any, index: int) -> dict[str, torch.Tensor]:
        return {"loss": self.weight * 0 + (1.0, 3.0)[index]}

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val/loss", LOSSES[self.current_epoch % 3], batch_size=1)
        if self.current_epoch != 1:
            self.log("val/pi_score", 2.94, batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, *, seconds: Iterator[float], **arguments: Any) -> list[str]:
    history, written = MetricHistory(), []
    lines = EpochLines(
        history, "val/loss", {"val/pi_score": "PI {:.1f} %"}, write=written.append, clock=lambda: next(seconds)
    )
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=[history, lines], **arguments,
    )  # fmt: skip
    trainer.fit(Logging(), [0, 1], [0])
    return written


def ticks(step: float) -> Iterator[float]:
    """A clock that goes on by so many seconds each time it is asked."""
    now = 0.0
    while True:
        yield now
        now += step


@pytest.mark.filterwarnings("ignore")
def test_a_line_a_validation_with_the_best_marked(tmp_path: Path):
    lines = fit(tmp_path, seconds=ticks(1.0))
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    # asked at the epoch's start, after each of two steps, and for the line: two steps in three seconds
    assert [line.split("  ")[2:] for line in lines] == [
        ["0.667 steps/s", "train loss 2", "PI 2.9 %", "*"],
        ["0.667 steps/s", "train loss 2", "*"],
        ["0.667 steps/s", "train loss 2", "PI 2.9 %"],
    ]


def test_the_best_is_the_highest_where_high_values_are_good():
    history = MetricHistory()
    history.validations = [(0, {"val/f1": 0.7}), (1, {"val/f1": 0.9})]
    texts = [EpochLines(history, "val/f1", {}, highest=highest).validation_text() for highest in (True, False)]
    assert texts == ["*", ""]


@pytest.mark.filterwarnings("ignore")
def test_a_heartbeat_where_the_output_is_no_terminal(tmp_path: Path):
    lines = fit(tmp_path, seconds=ticks(200.0))
    assert [line.split("  ")[-1] for line in lines if "step " in line] == ["step 2/2"] * 3


@pytest.mark.filterwarnings("ignore")
def test_the_loss_of_accumulated_batches_is_a_batchs(tmp_path: Path):
    lines = fit(tmp_path, seconds=ticks(1.0), accumulate_grad_batches=2)
    assert [line.split("  ")[2:4] for line in lines] == [["0.333 steps/s", "train loss 2"]] * 3


@pytest.mark.filterwarnings("ignore")
def test_without_an_end_in_epochs(tmp_path: Path):
    lines = fit(tmp_path, seconds=ticks(1.0), max_steps=2)
    assert lines[0].startswith("epoch 1/3  ")


def test_what_is_shown_of_a_shipped_experiment():
    shown = epoch_scores(load_experiment("experiments/mini_cxr.yaml"))
    assert list(shown) == [
        "val/covidx/auroc/COVID-19",
        "val/covidx/accuracy",
        "val/rsna_boxes/map",
        "val/pi_score",
        "val/ols_score/original",
    ]
