"""A training without MLflow."""

from pathlib import Path

import pytest

from covidmt.tracking.folders import RunFolder
from covidmt.tracking.logger import RUN_ID, MlflowSpoolLogger
from covidmt.tracking.spool.place import SpoolInUse, SpoolLock
from covidmt.tracking.untracked import UntrackedLogger, open_logger, tracked
from experiments.schema import Tracking
from tests.conftest import REPO
from tests.helpers.quick import QUICK, run


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUN_ID, "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_run_has_a_folder_and_a_lock_and_no_store(tmp_path: Path):
    logger = open_logger(Tracking(enabled=False))
    assert isinstance(logger, UntrackedLogger)
    spool = RunFolder(str(logger.run_id)).spool
    with pytest.raises(SpoolInUse):
        SpoolLock(spool)
    logger.close()
    assert not spool.exists()
    assert not list(tmp_path.rglob("mlflow.db"))


def test_whatever_ends_it_lets_others_have_it():
    logger = open_logger(Tracking(enabled=False), run_id="untracked-1")
    with pytest.raises(KeyError), tracked(logger):
        raise KeyError
    assert open_logger(Tracking(enabled=False), run_id="untracked-1").version == "untracked-1"


def test_it_stands_wherever_the_real_one_does():
    taken = {name for name in vars(MlflowSpoolLogger) if not name.startswith("_")}
    left_out = {"position", "spool_dir", "log_image", "log_pictures", "log_rows", "finalize"}  # nobody needs them
    assert taken - left_out <= vars(UntrackedLogger).keys()


@pytest.mark.slow
def test_a_training_knows_no_mlflow(demo_data: Path, tmp_path: Path):
    (tmp_path / "demo-data").symlink_to(demo_data)
    (tmp_path / "site" / "mlflow").mkdir(parents=True)
    (tmp_path / "site" / "mlflow" / "__init__.py").write_text("raise SystemExit('MLflow was imported')")
    own = [
        "active_tasks=[covidx]",
        "tracking.enabled=false",
        "trainer.logger=CSVLogger(save_dir='curves')",
        "checkpoint.keep=all",
    ]
    train = ["train", str(REPO / "experiments/demo.yaml"), *QUICK, *own]
    site = str(tmp_path / "site")
    said = run(tmp_path, *train, path=site)
    assert "off (tracking.enabled=false): curves and pictures are where CSVLogger wrote them" in said
    assert "PI score" in said
    (curves,) = tmp_path.glob("curves/**/metrics.csv")
    assert {"val/pi_score", "train/loss"} <= set(curves.read_text().splitlines()[0].split(","))

    # resuming, and what takes a run
    (folder,) = tmp_path.glob("mlruns/checkpoints/untracked-*")
    assert sorted(path.name for path in (tmp_path / "mlruns").iterdir() if any(path.iterdir())) == ["checkpoints"]
    (folder / "unfinished").write_text(_fingerprint(own))
    said = run(tmp_path, *train, path=site)
    assert f"Resuming run {folder.name} from step" in said
    image = str(next(tmp_path.glob("demo-data/covidx/train/*")))
    said = run(tmp_path, "predict", folder.name, image, "--segmenter", "none", path=site)
    assert "gives COVID-19 a probability" in said


def _fingerprint(own: list[str]) -> str:
    from covidmt.training.resume import hash_settings
    from experiments.load import SHIPPED, load_experiment

    return hash_settings(load_experiment(SHIPPED / "demo.yaml", [*QUICK, *own]))
