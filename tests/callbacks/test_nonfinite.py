"""Trainings that break: where they stop, what they say, and what is left of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.nonfinite import BestCheckpoint, NonfiniteGuard, named_losses
from callbacks.resume import ResumeCheckpoint
from experiments.errors import UserError
from tests.conftest import REPO
from tests.helpers.tiny_module import Tiny, TinyData, trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists"),
]


class Breaking(Tiny):
    """Its loss, of two tasks, is ``bad`` in one step, and then its validation loss in some epochs."""

    def __init__(self, step: int = -1, bad: float = float("nan"), epochs: tuple[int, ...] = (), rank: int = 0) -> None:
        super().__init__()
        self.step, self.bad, self.epochs, self.rank = step, bad, epochs, rank

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        loss = super().training_step(batch, batch_idx)
        broken = self.global_step + 1 == self.step and self.global_rank == self.rank
        second = torch.tensor(self.bad if broken else 0.5)
        total = loss + second
        logged = {"train/loss": total, "train/covidx/loss": loss, "train/nodule/loss": second}
        unknown = {"train/nodule/accuracy": torch.tensor(float("nan"))}  # of a batch in which nothing is known
        return {"loss": total} | {key: value.detach() for key, value in (logged | unknown).items()}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        value = self.bad if self.current_epoch in self.epochs else 1.0 + self.current_epoch
        self.log("val/covidx/loss", torch.tensor(value))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_loss_that_is_no_number_ends_the_training(bad: float):
    run, module = trainer(max_epochs=4, callbacks=[NonfiniteGuard()]), Breaking(step=4, bad=bad)
    with pytest.raises(UserError, match=r"the loss of nodule is no finite number in step 4 \(epoch 2\)"):
        run.fit(module, TinyData())
    assert run.global_step == 4


def test_a_step_without_numbers_that_no_loss_has_is_none():
    """The gradient scaler skips steps whose gradients overflow: their loss is finite."""
    module = Breaking()
    module.on_after_backward = lambda: [p.grad.fill_(float("inf")) for p in module.parameters()] and None  # ty: ignore
    module.optimizer_step = lambda epoch, batch, optimizer, closure: closure()  # ty: ignore  # as the scaler does
    guard = NonfiniteGuard()
    trainer(max_epochs=1, callbacks=[guard]).fit(module, TinyData())
    assert guard.steps == 0


def test_it_may_go_on_and_is_counted(caplog: pytest.LogCaptureFixture):
    guard = NonfiniteGuard(stop=False)
    trainer(max_epochs=2, callbacks=[guard]).fit(Breaking(step=2, epochs=(1,)), TinyData())
    assert guard.steps == 1
    assert "The training has broken: the loss of nodule is no finite number in step 2" in caplog.text
    assert "Training steps whose loss was no finite number: 1." in caplog.text


def test_a_validation_without_a_number_is_no_epoch_to_choose(tmp_path: Path):
    best = BestCheckpoint(tmp_path, "best", monitor="val/covidx/loss", save_weights_only=True)
    run = trainer(max_epochs=2, enable_checkpointing=True, callbacks=[NonfiniteGuard(), best])
    with pytest.raises(UserError, match="the loss of covidx is no finite number in the validation after step 3"):
        run.fit(Breaking(epochs=(0,)), TinyData())
    assert best.best_model_path == ""
    assert list(tmp_path.iterdir()) == []


def test_the_best_epoch_is_one_with_a_number(tmp_path: Path):
    best = BestCheckpoint(tmp_path, "{epoch}", monitor="val/covidx/loss", save_weights_only=True)
    guard = NonfiniteGuard(stop=False)
    run = trainer(max_epochs=3, enable_checkpointing=True, callbacks=[guard, best])
    run.fit(Breaking(epochs=(0, 2)), TinyData())
    assert Path(best.best_model_path).name == "epoch=1.ckpt"
    assert best.state_key.startswith("ModelCheckpoint{")  # older runs resume


def test_no_checkpoint_is_written_over_with_a_broken_network(tmp_path: Path):
    """A finite loss whose gradient is not: the weights break in the last step of an epoch, before a loss tells."""
    newest = ResumeCheckpoint(every_n_steps=1)
    newest.folder = tmp_path

    class Poisoned(Breaking):
        def on_train_batch_end(self, *args: Any) -> None:
            if self.global_step == 3:
                with torch.no_grad():
                    next(self.parameters()).fill_(float("nan"))

    with pytest.raises(UserError, match="the network's weights are no finite numbers after step 3"):
        trainer(max_epochs=2, callbacks=[NonfiniteGuard(), newest]).fit(Poisoned(), TinyData())
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


def test_names_are_those_of_the_tasks_before_the_sum():
    one = torch.tensor(1.0)
    logged = ["loss", "train/loss", "train/a/loss", "train/a/accuracy", "train/a/weight", "train/consistency"]
    assert list(named_losses(dict.fromkeys(logged, one))) == ["train/a/loss", "train/loss", "train/consistency"]
    assert list(named_losses(one)) == ["loss"]
    assert named_losses(None) == {}


@pytest.mark.slow
def test_all_processes_stop_at_the_same_step(tmp_path: Path):
    """The second process's loss alone breaks; both stop there, and neither waits for the other."""
    command = [sys.executable, "-m", "tests.callbacks.test_nonfinite", str(tmp_path)]
    subprocess.run(command, cwd=REPO, check=True, timeout=300)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts.keys() == {"0", "1"}
    assert texts["0"] == texts["1"]
    assert texts["0"].startswith("2 the training stopped: the loss of nodule is no finite number in step 2 (epoch 1)")


def main(out: str) -> None:
    run = trainer(devices=2, strategy="ddp", max_epochs=3, num_sanity_val_steps=0, callbacks=[NonfiniteGuard()])
    try:
        run.fit(Breaking(step=2, rank=1), TinyData())
    except UserError as error:
        Path(out, str(run.global_rank)).write_text(f"{run.global_step} {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
