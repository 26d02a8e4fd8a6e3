import pickle
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from torch.utils.data import DataLoader

from callbacks.preemption import Preempted
from covidmt.tracking.logger import RUN_ID, MlflowSpoolLogger
from covidmt.tracking.sender import sync
from covidmt.tracking.store import Store
from covidmt.tracking.untracked import tracked
from experiments.errors import UserError
from experiments.schema import Tracking


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(autouse=True)
def _project(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


QUIET = Tracking(system_metrics=False)


def _run(logger: MlflowSpoolLogger):
    return logger.store.client.get_run(str(logger.run_id))


def _history(logger: MlflowSpoolLogger, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in logger.store.client.get_metric_history(str(logger.run_id), key)]


def _artifacts(logger: MlflowSpoolLogger, path: str | None = None) -> dict[str, Path]:
    client = logger.store.client
    root = Path(_run(logger).info.artifact_uri)
    return {file.path: root / file.path for file in client.list_artifacts(str(logger.run_id), path)}


def test_new_run_has_experiment_name_tags_and_author(folder: Path) -> None:
    logger = MlflowSpoolLogger(
        Tracking(experiment="xray", tags={"sweep": "s"}, system_metrics=False), run_name="demo", tags={"trial": "3"}
    )
    logger.close()
    run = _run(logger)
    assert (logger.name, logger.version, run.info.run_name) == ("xray", run.info.run_id, "demo")
    assert run.data.tags.items() >= {"sweep": "s", "trial": "3", "mlflow.source.name": "covidmt"}.items()
    assert run.info.artifact_uri == f"{folder}/mlruns/artifacts/xray/{run.info.run_id}/artifacts"


def test_validation_and_test_metrics_have_the_epoch_as_step_others_the_global_step() -> None:
    logger = MlflowSpoolLogger(QUIET)
    logger.log_metrics({"train/loss": 0.5, "epoch": 0}, step=7)
    logger.log_metrics({"val/pi_score": 2.0, "train/loss_epoch": 0.4, "epoch": 3}, step=99)
    logger.log_metrics({"test/pi_score": torch.tensor(1.5), "epoch": 4.0}, step=100)
    logger.close()
    assert _history(logger, "train/loss") == [(7, 0.5)]
    assert _history(logger, "val/pi_score") == [(3, 2.0)]
    assert _history(logger, "train/loss_epoch") == [(99, 0.4)]
    assert _history(logger, "test/pi_score") == [(4, 1.5)]
    assert _history(logger, "epoch") == [(7, 0.0)]


def test_what_few_look_at_is_in_a_table_with_all_scores_of_the_epoch() -> None:
    logger = MlflowSpoolLogger(QUIET)
    logger.log_metrics({"val/pi_score": 2.0, "val/pi/undefined": 1, "train/loss_epoch": 0.4, "epoch": 3}, step=99)
    logger.log_metrics({"test/covidx/confusion/a/(b)": 7.0, "epoch": 3}, step=100)
    logger.close()
    assert _run(logger).data.metrics == {"val/pi_score": 2.0, "train/loss_epoch": 0.4}
    tables = _artifacts(logger, "scores") | _artifacts(logger, "scores/val")
    assert tables["scores/val/003.csv"].read_text().split() == ["metric,value", "val/pi/undefined,1", "val/pi_score,2"]
    assert tables["scores/test.csv"].read_text().split() == ["metric,value", "test/covidx/confusion/a/_b_,7"]


def test_nan_and_infinities_arrive() -> None:
    logger = MlflowSpoolLogger(QUIET)
    logger.log_metrics({"a": float("nan"), "b": float("inf"), "c": float("-inf")}, step=0)
    logger.close()
    metrics = _run(logger).data.metrics
    assert np.isnan(metrics["a"])
    assert (metrics["b"], metrics["c"]) == (sys.float_info.max, -sys.float_info.max)


def test_characters_that_mlflow_refuses_are_replaced() -> None:
    logger = MlflowSpoolLogger(QUIET)
    logger.log_metrics({"val/No Lung Opacity / Not Normal (AP), %": 1.0, "epoch": 0})
    logger.log_image("overlay (first)", [np.zeros((4, 4), np.uint8)], step=0)
    logger.close()
    assert "val/No Lung Opacity / Not Normal _AP__ _" in _run(logger).data.metrics
    assert all(path.startswith("images/overlay _first_+step+0+") for path in _artifacts(logger, "images"))


def test_long_parameter_is_cut_with_a_note() -> None:
    logger = MlflowSpoolLogger(QUIET)
    logger.log_hyperparams(Namespace(lr=2e-4, tasks="x" * 7000))
    logger.close()
    params = _run(logger).data.params
    assert params["lr"] == "0.0002"
    assert len(params["tasks"]) == 6000
    assert params["tasks"].endswith("x ... (cut, 7000 characters)")


def test_more_parameters_and_metrics_than_one_request_takes() -> None:
    logger = MlflowSpoolLogger(QUIET)
    logger.log_hyperparams({f"p{n}": n for n in range(250)})
    logger.log_metrics({f"m{n}": n for n in range(2500)}, step=0)
    logger.close()
    run = _run(logger)
    assert (len(run.data.params), len(run.data.metrics)) == (250, 2500)


def test_pictures_keep_mlflow_naming_and_pixels() -> None:
    logger = MlflowSpoolLogger(QUIET)
    picture = np.random.default_rng(0).integers(0, 256, (40, 1280, 3), dtype=np.uint8)
    logger.log_image("gradcam/00", [picture], step=2)
    logger.log_image("pairs", [picture, picture[..., 0]], step=0)
    logger.close()
    files = _artifacts(logger, "images")
    names = sorted(path.split("+timestamp+")[0] + Path(path).suffix for path in files)
    keys = ["gradcam~00+step+2", "pairs~00+step+0", "pairs~01+step+0"]
    assert names == [f"images/{key}{ending}" for key in keys for ending in (".png", ".webp")]
    full, small = (next(file for path, file in files.items() if "~00+step+2" in path and path.endswith(e)) for e in
                   (".png", "+compressed.webp"))  # fmt: skip
    assert np.array_equal(np.asarray(Image.open(full)), picture)
    thumbnail = Image.open(small)
    assert thumbnail.size == (760, 760)  # a card is square, and its lower part is out of sight
    alpha = np.asarray(thumbnail.convert("RGBA"))[..., 3]
    assert (alpha[:19, :637].min(), alpha[21:].max(), alpha[:, 640:].max()) == (255, 0, 0)  # 0.84 of its width
    assert _run(logger).data.tags["mlflow.loggedImages"] == "True"


def test_artifact_is_the_file_as_it_was_when_logged(tmp_path: Path) -> None:
    logger = MlflowSpoolLogger(QUIET)
    (tmp_path / "last.ckpt").write_text("epoch 1")
    (tmp_path / "report" / "tables").mkdir(parents=True)
    (tmp_path / "report" / "tables" / "t.csv").write_text("a,b")
    logger.log_artifact(tmp_path / "last.ckpt", "checkpoints")
    logger.log_artifact(tmp_path / "report")
    (tmp_path / "last.ckpt").write_text("epoch 2")
    logger.log_text_file("key: 1", "config/experiment.yaml")
    logger.close()
    root = Path(_run(logger).info.artifact_uri)
    assert (root / "checkpoints" / "last.ckpt").read_text() == "epoch 1"
    assert (root / "report" / "tables" / "t.csv").read_text() == "a,b"
    assert (root / "config" / "experiment.yaml").read_text() == "key: 1"
    assert not logger.spool_dir.exists()


def test_resumed_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    first = MlflowSpoolLogger(QUIET)
    first.log_hyperparams({"lr": 0.1, "seed": 0})
    first.log_metrics({"train/loss": 1.0}, step=0)
    first.fail(RuntimeError())
    assert _run(first).info.status == "FAILED"
    again = MlflowSpoolLogger(QUIET, run_id=first.run_id, tags={"attempt": "2"})
    again.log_hyperparams({"lr": 0.2, "seed": 0})
    again.log_metrics({"train/loss": 0.5}, step=1)
    assert again._sender is not None
    assert again._sender.flush(60)
    assert _run(again).info.status == "RUNNING"
    again.finalize("success")
    again.close()
    assert "Parameter lr is now '0.2'; the run keeps '0.1'" in caplog.text
    run = _run(again)
    assert (run.info.status, run.data.params, run.data.tags["attempt"]) == ("FINISHED", {"lr": "0.1", "seed": "0"}, "2")
    assert _history(again, "train/loss") == [(0, 1.0), (1, 0.5)]


def test_what_comes_again_after_a_checkpoint_is_there_once() -> None:
    first = MlflowSpoolLogger(QUIET)
    picture = np.zeros((8, 8), np.uint8)
    first.log_metrics({"train/loss": 1.0}, step=0)
    first.log_metrics({"val/loss": 4.0, "epoch": 0}, step=0)
    checkpoint = first.position
    first.log_metrics({"train/loss": 0.5}, step=1)
    first.log_metrics({"val/loss": 3.0, "epoch": 0}, step=1)  # a second validation in the epoch
    first.log_image("gradcam/00", [picture], step=0)
    first.close()
    again = MlflowSpoolLogger(QUIET, run_id=first.run_id, resume_at=checkpoint)
    for step in (1, 2):
        again.log_metrics({"train/loss": 0.5 / step}, step=step)
    for loss in (3.0, 2.0):
        again.log_metrics({"val/loss": loss, "epoch": 0}, step=1)
    for step in (0, 1):
        again.log_image("gradcam/00", [picture], step=step)
    again.close()
    assert _history(again, "train/loss") == [(0, 1.0), (1, 0.5), (2, 0.25)]
    assert _history(again, "val/loss") == [(0, 4.0), (0, 3.0), (0, 2.0)]
    assert len([name for name in _artifacts(again, "images") if name.endswith(".png")]) == 2


def test_a_preempted_run_goes_on_without_its_server_and_logs_nothing_twice(folder: Path) -> None:
    first = MlflowSpoolLogger(QUIET)
    store = first.store
    first.log_metrics({"a": 0.0}, 0)
    checkpoint = first.position
    first.log_metrics({"a": 1.0}, 1)
    first.fail(Preempted(folder, signal.SIGTERM))
    assert _run(first).info.status == "SCHEDULED"
    away = Tracking(uri="http://127.0.0.1:9", system_metrics=False)
    again = MlflowSpoolLogger(away, run_id=first.version, resume_at=checkpoint, patience=0)
    again.log_metrics({"a": 1.0}, 1)
    again.log_metrics({"a": 2.0}, 2)
    again.finalize("success")
    again.close()
    (sent,) = [run for run in sync(folder / "mlruns" / "spool", store) if run.run_id == first.version]
    assert sent.problem is None
    assert _history(first, "a") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert _run(first).info.status == "FINISHED"
    with pytest.raises(UserError, match="does not answer"):  # a run that nothing here is known of
        MlflowSpoolLogger(away, run_id="0" * 32)


def test_unknown_and_deleted_runs_are_said() -> None:
    with pytest.raises(UserError, match="tracking store sqlite"):
        MlflowSpoolLogger(QUIET, run_id="0" * 32)
    logger = MlflowSpoolLogger(QUIET)
    logger.close()
    logger.store.client.delete_run(str(logger.run_id))
    with pytest.raises(UserError, match="has been deleted"):
        MlflowSpoolLogger(QUIET, run_id=logger.run_id)


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("loss is NaN"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(), "KILLED")],
)
def test_failed_run_has_its_traceback(error: BaseException, status: str) -> None:
    logger = MlflowSpoolLogger(QUIET)
    try:
        raise error
    except BaseException as caught:
        logger.finalize("failed")  # as Lightning does before it raises on
        logger.fail(caught)
    assert _run(logger).info.status == status
    text = _artifacts(logger)["traceback.txt"].read_text()
    assert "test_failed_run_has_its_traceback" in text
    assert repr(error).partition("(")[0] in text


def test_ranks_above_zero_do_nothing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.delenv(RUN_ID, raising=False)  # not started by a rank zero
    before = sorted(folder.rglob("*"))
    logger = MlflowSpoolLogger(Tracking(uri="http://127.0.0.1:9"))
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_image("a", [np.zeros((2, 2), np.uint8)], 0)
    logger.fail(ValueError())
    assert logger.version is None
    assert sorted(folder.rglob("*")) == before


def test_logger_moves_to_another_process() -> None:
    logger = MlflowSpoolLogger(QUIET)
    logger.log_metrics({"a": 1.0}, 0)
    moved = pickle.loads(pickle.dumps(logger))
    moved.log_metrics({"a": 2.0}, 1)
    moved.close()
    logger.log_metrics({"a": 3.0}, 2)
    logger.close()
    assert _history(logger, "a") == [(0, 1.0), (1, 2.0), (2, 3.0)]


@pytest.mark.slow
def test_script_that_never_closes_is_sent_at_its_end(folder: Path) -> None:
    code = (
        "from covidmt.tracking.logger import MlflowSpoolLogger\n"
        "from experiments.schema import Tracking\n"
        "logger = MlflowSpoolLogger(Tracking(experiment='script'))\n"
        "logger.log_metrics({'a': 1.0}, 0)\n"
        "print(logger.run_id)\n"
    )
    run_id = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=folder).split()[-1]
    run = Store(f"sqlite:///{folder}/mlruns/mlflow.db").client.get_run(run_id)
    assert run.data.metrics["a"] == 1.0
    assert not (folder / "mlruns" / "spool" / run_id).exists()


def test_system_metrics_go_through_the_spool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    logger = MlflowSpoolLogger(Tracking())
    for _ in range(600):
        if b"system/cpu" in (logger.spool_dir / "events.jsonl").read_bytes():
            break
        time.sleep(0.05)
    logger.close()
    metrics = _run(logger).data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"} <= metrics.keys()


class _Line(LightningModule):
    """Fits y = 2x."""

    def __init__(self, fail_at: int | None = None):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.fail_at = fail_at

    def _loss(self, x: torch.Tensor) -> torch.Tensor:
        return (self.layer(x) - 2 * x).square().mean()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if self.global_step == self.fail_at:
            raise ArithmeticError("made to fail")
        loss = self._loss(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/loss", self._loss(batch))

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("test/loss", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def _trainer(logger: MlflowSpoolLogger) -> Trainer:
    return Trainer(
        max_epochs=2,
        log_every_n_steps=1,
        logger=logger,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def _loader() -> DataLoader:
    return DataLoader(torch.arange(6, dtype=torch.float32).reshape(6, 1), batch_size=2)  # ty: ignore[invalid-argument-type]


def test_lightning_fit_and_test_make_one_finished_run() -> None:
    logger = MlflowSpoolLogger(QUIET)
    trainer, module = _trainer(logger), _Line()
    trainer.fit(module, _loader(), _loader())
    assert _run(logger).info.status == "FINISHED"
    trainer.test(module, _loader(), verbose=False)
    logger.close()
    assert [step for step, _ in _history(logger, "train/loss")] == [0, 1, 2, 3, 4, 5]
    assert [step for step, _ in _history(logger, "val/loss")] == [0, 1]  # nothing of the sanity check
    assert len(_history(logger, "test/loss")) == 1
    assert _run(logger).info.status == "FINISHED"


def test_a_training_has_not_finished_before_its_test() -> None:
    """Killed between the two, a run that says FINISHED would lack its test for ever, without a word."""
    logger = MlflowSpoolLogger(QUIET)
    trainer, module = _trainer(logger), _Line()
    with tracked(logger):
        trainer.fit(module, _loader(), _loader())
        assert _run(logger).info.status == "RUNNING"
        assert len(_history(logger, "train/loss")) == 6  # sent all the same
        trainer.test(module, _loader(), verbose=False)
        assert _run(logger).info.status == "RUNNING"
    assert _run(logger).info.status == "FINISHED"
    assert len(_history(logger, "test/loss")) == 1


def test_lightning_exception_marks_the_run_failed() -> None:
    logger = MlflowSpoolLogger(QUIET)
    with pytest.raises(ArithmeticError) as error:
        _trainer(logger).fit(_Line(fail_at=4), _loader(), _loader())
    logger.fail(error.value)
    assert _run(logger).info.status == "FAILED"
    assert "made to fail" in _artifacts(logger)["traceback.txt"].read_text()
    assert len(_history(logger, "train/loss")) == 4


def test_what_went_wrong_first_is_said_where_the_spool_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    logger = MlflowSpoolLogger(QUIET)
    (logger.spool_dir / "files").touch()  # so that there can be no folder for traceback.txt
    with pytest.raises(ZeroDivisionError), tracked(logger):
        raise ZeroDivisionError
    assert f"How run {logger.run_id} ended could not be noted in its spool" in caplog.text


def test_a_checkpoint_that_is_written_while_a_run_repeats_itself() -> None:
    """Killed at step 9, gone on from 4; told to go at 6, gone on from there: 7 and 8 come a third time."""
    first = MlflowSpoolLogger(QUIET)
    positions = {}
    for step in range(9):
        first.log_metrics({"a": float(step), "b": 1.0}, step)
        first.log_image("picture", [np.zeros((8, 8), np.uint8)], step)
        positions[step] = first.position
    first.close()
    second = MlflowSpoolLogger(QUIET, run_id=first.run_id, resume_at=positions[3])
    for step in (4, 5):
        second.log_metrics({"a": float(step), "b": 1.0}, step)
        second.log_image("picture", [np.zeros((8, 8), np.uint8)], step)
    assert positions[4] < second.position <= positions[5]
    second.close()
    third = MlflowSpoolLogger(QUIET, run_id=first.run_id, resume_at=second.position)
    for step in range(6, 12):
        third.log_metrics({"a": float(step), "b": 1.0}, step)
        third.log_image("picture", [np.zeros((8, 8), np.uint8)], step)
    assert third.position > positions[8]
    third.close()
    for key in ("a", "b"):
        assert [step for step, _ in _history(first, key)] == [*range(12)]
    assert len(_artifacts(first, "images")) == 2 * 12
