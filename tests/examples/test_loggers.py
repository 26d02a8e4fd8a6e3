"""W&B (offline) and TensorBoard beside MLflow: one validation, in all three."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from covidmt.tracking.store import Store
from tests.conftest import REPO
from tests.helpers.quick import QUICK, run
from tests.helpers.wandb_files import read_history

PICTURE, TABLE = "gradcam/00", "robustness/val_pairs"


@pytest.mark.slow
def test_three_loggers_have_the_same(demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "demo-data").symlink_to(demo_data)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    run(tmp_path, "train", str(REPO / "examples/loggers/loggers.yaml"), *QUICK)

    # MLflow, at the epoch
    client = Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db").client
    (tracked,) = client.search_runs(["1"])
    (score,) = client.get_metric_history(tracked.info.run_id, "val/pi_score")
    assert score.step == 0
    assert [file.path for file in client.list_artifacts(tracked.info.run_id, TABLE)] == [f"{TABLE}/000.csv"]

    # TensorBoard, at the step: the second, counted from 0
    (events,) = tmp_path.glob("curves/lightning_logs/*")
    board = EventAccumulator(str(events), {"images": 0, "tensors": 0, "scalars": 0}).Reload()
    steps = [
        [event.step for event in board.Scalars("val/pi_score")],
        [event.step for event in board.Images(PICTURE)],
        [event.step for event in board.Tensors(f"{TABLE}/text_summary")],
    ]
    assert steps == [[1]] * 3
    assert board.Scalars("val/pi_score")[0].value == pytest.approx(score.value)

    # W&B, at the step
    history = read_history(next(tmp_path.glob("curves/wandb/offline-run-*/run-*.wandb")))
    for key in ("val/pi_score", PICTURE, TABLE):
        assert [row["trainer/global_step"] for row in history if key in row] == [1], key
