from pathlib import Path

import mlflow
import pytest

from covidmt.tracking.records import record_findings
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.schema import Tracking


def test_to_the_run_or_to_a_new_one(tmp_path: Path):
    store = Store.of(Tracking(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    store.prepare()
    (tmp_path / "found.json").write_text("{}")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"x")
    files = [tmp_path / name for name in ("found.json", "figures", "absent.csv")]
    words = {"prefix": "probe", "experiment": "covidmt", "run_name": "probe mine"}

    run_id = record_findings(store, None, {"accuracy": 0.5, "auroc": float("nan")}, files, **words)
    client = mlflow.MlflowClient(str(store))
    run = client.get_run(run_id)
    assert run.data.metrics == {"probe/accuracy": 0.5}
    assert run.info.run_name == "probe mine"
    assert run.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id, "probe")] == ["probe/figures", "probe/found.json"]
    assert record_findings(store, run_id, {"accuracy": 0.7}, [], **words) == run_id
    client.delete_run(run_id)
    assert record_findings(store, run_id, {}, [], **words) != run_id


def test_a_page_is_one_click_away_from_the_description(tmp_path: Path):
    store = Store.of(Tracking(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    store.prepare()
    made = store.client.create_run(store.open_experiment("covidmt"), tags={"mlflow.note.content": "**demo**: mine"})
    (tmp_path / "report.html").write_text("<p>page</p>")
    run_id = made.info.run_id
    for _ in range(2):
        words = {"prefix": "evaluation/wacxr-test", "experiment": "covidmt", "run_name": "evaluate demo"}
        assert record_findings(store, run_id, {}, [tmp_path / "report.html"], **words) == run_id
    link, rest = store.client.get_run(run_id).data.tags["mlflow.note.content"].split("\n\n")
    page = f"#/experiments/{made.info.experiment_id}/runs/{run_id}/artifacts/evaluation/wacxr-test/report.html"
    assert link == f"Evaluated: [wacxr-test]({page}?workflowType=machine_learning)"
    assert rest == "**demo**: mine"


def test_what_the_store_does_not_take(tmp_path: Path):
    store = Store.of(Tracking(uri=f"sqlite:///{tmp_path}/mlflow.db"))
    store.prepare()
    with pytest.raises(UserError, match=r"the results are complete in .*, but could not be logged: tracking store .*"):
        record_findings(store, None, {"no?name": 1.0}, [], prefix="probe", experiment="covidmt", run_name="probe")
