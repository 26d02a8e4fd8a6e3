from pathlib import Path

import pytest

from covidmt.tracking.checkpoints import FoundCheckpoint, find_checkpoint
from covidmt.tracking.folders import RunFolder
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.load import load_experiment

RUN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_path_is_taken_as_it_is_and_tells_its_run(tmp_path):
    own = tmp_path / "mlruns/checkpoints" / RUN / "best.ckpt"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"weights")
    other = tmp_path / "other.ckpt"
    other.write_bytes(b"weights")
    store = Store(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    assert find_checkpoint(str(own)) == (own, RUN, store)
    assert find_checkpoint(str(other)) == (other, None, store)
    assert find_checkpoint(RUN) == (own, RUN, store)  # no store is asked


def test_a_run_that_has_not_ended_is_named_once(tmp_path, caplog):
    run = RunFolder("fedcba9876543210fedcba9876543210")
    run.begin("settings")
    run.best.write_bytes(b"weights")
    for _ in range(2):
        assert find_checkpoint(run.run_id).path == run.best
    assert caplog.messages == [f"run {run.run_id} has not ended: its network is that of the best epoch so far"]
    caplog.clear()
    run.finish()
    find_checkpoint(run.run_id)
    assert not caplog.messages


def test_a_runs_checkpoint_is_downloaded_once(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/elsewhere/runs.db")
    store.prepare()
    client = store.client
    run_id = client.create_run("0").info.run_id
    with pytest.raises(UserError, match=r"no checkpoints/best\.ckpt .*has not ended"):
        find_checkpoint(run_id, store)
    (tmp_path / "lungs.ckpt").write_bytes(b"lungs")
    client.log_artifact(run_id, "lungs.ckpt", "checkpoints")
    with pytest.raises(UserError, match=r"it has checkpoints/lungs\.ckpt"):
        find_checkpoint(run_id, store)
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    client.log_artifact(run_id, "best.ckpt", "checkpoints")
    found = find_checkpoint(run_id, store)
    assert found == (tmp_path / "mlruns/checkpoints" / run_id / "best.ckpt", run_id, store)
    assert [file.read_bytes() for file in found.path.parent.iterdir()] == [b"weights"]
    client.delete_run(run_id)
    (tmp_path / "elsewhere/runs.db").unlink()
    assert find_checkpoint(run_id, store) == found


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=r"absent\.ckpt: neither a checkpoint file nor a run;"):
        find_checkpoint("absent.ckpt")
    with pytest.raises(UserError, match="start in the folder"):
        find_checkpoint(RUN)
    assert not (tmp_path / "mlruns").exists()
    store = Store(f"sqlite:///{tmp_path}/runs.db")
    store.prepare()
    with pytest.raises(UserError, match=f"run {RUN}: not in sqlite:///.*copy the id"):
        find_checkpoint(RUN, store)
    with pytest.raises(UserError, match="does not answer"):
        find_checkpoint(RUN, Store("http://127.0.0.1:9"))


def test_a_network_of_drawings_is_called_so(demo_data: Path, tmp_path: Path) -> None:
    found = FoundCheckpoint(Path("best.ckpt"), None, Store(f"sqlite:///{tmp_path}/mlflow.db"))
    demo = load_experiment("experiments/demo.yaml", [f"data.root={demo_data}"])
    assert found.title_of(demo) == "demo (best.ckpt), trained on made-up films"
