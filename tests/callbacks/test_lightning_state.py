from importlib.metadata import version
from operator import attrgetter

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import launchers
from lightning.pytorch.trainer.connectors.logger_connector import result
from torchmetrics import MeanMetric

from callbacks import lightning_state
from callbacks.lightning_state import PRIVATE_NAMES, WRITTEN_FOR
from tests.helpers.tiny_module import Tiny, TinyData, trainer


@pytest.fixture(scope="module")
def owners() -> dict[str, object]:
    run = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    return {"trainer": run, "metric": MeanMetric(), "launchers": launchers, "result": result}


@pytest.mark.parametrize("path", PRIVATE_NAMES)
def test_the_library_still_has_the_private_name(owners: dict[str, object], path: str):
    owner, _, name = path.partition(".")
    library = "torchmetrics" if owner == "metric" else "lightning"
    try:
        attrgetter(name)(owners[owner])
    except AttributeError:
        pytest.fail(
            f"{library} {version(library)} has no {path}, which {library} {WRITTEN_FOR[library]} had; "
            f"callbacks/lightning_state.py needs it: {PRIVATE_NAMES[path]}",
            pytrace=False,
        )


class Logs(Tiny):
    """Logs a mean, a maximum and a Metric."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = MeanMetric()

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.mean.update(loss.detach())
        self.log("mean", loss, on_step=True, on_epoch=True, batch_size=batch_idx + 1)
        self.log("largest", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("metric", self.mean, on_step=False, on_epoch=True)
        return loss

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if batch_idx == 1:
            self.state = lightning_state.collect_process_state(self.trainer, self)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:The number of training batches")
def test_a_process_state_comes_back(tmp_path):
    module = Logs()
    trainer(max_epochs=1).fit(module, TinyData())
    torch.save(module.state, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert set(state["results"]) == {"training_step.mean", "training_step.largest", "training_step.metric"}
    assert state["results"]["training_step.mean"]["state"]["cumulated_batch_size"] == 1 + 2
    assert state["metrics"]["mean"][1] == 2

    other, run = Logs(), trainer()
    lightning_state.restore_process_state(run, other, state)
    again = lightning_state.collect_process_state(run, other)
    assert {key: value["count"] for key, value in again["results"].items()} == dict.fromkeys(again["results"], 2)
    assert again["results"]["training_step.largest"]["state"] == state["results"]["training_step.largest"]["state"]
    assert again["metrics"]["mean"][0]["mean_value"] == state["metrics"]["mean"][0]["mean_value"]
    assert torch.equal(again["random"]["torch"], state["random"]["torch"])
    assert again["random"]["python"] == state["random"]["python"]


def test_loops_are_settled_by_hand():
    def counters() -> dict[str, dict[str, int]]:
        return {name: {"ready": 3, "started": 3, "completed": 2} for name in ("total", "current")}

    def loops() -> dict[str, dict]:
        batches = counters() | {"is_last_batch": True}
        return {
            "epoch_loop.batch_progress": batches,
            "epoch_progress": counters(),
            "epoch_loop.val_loop.batch_progress": counters(),
        }

    step, epoch, validation = loops(), loops(), loops()
    lightning_state.settle_loops(step, "step")
    assert step["epoch_loop.batch_progress"]["total"] == {"ready": 2, "started": 3, "completed": 2}
    assert step["epoch_loop.batch_progress"]["is_last_batch"] is False
    assert step["epoch_progress"] == counters()

    lightning_state.settle_loops(epoch, "epoch")
    assert epoch["epoch_progress"]["current"] == {"ready": 2, "started": 2, "completed": 2}
    assert epoch["epoch_loop.val_loop.batch_progress"] == counters()

    lightning_state.settle_loops(validation, "validation")
    assert validation["epoch_loop.val_loop.batch_progress"]["total"] == {"ready": 4, "started": 4, "completed": 2}
    assert validation["epoch_loop.batch_progress"] == loops()["epoch_loop.batch_progress"]
