"""Events in requests: MLflow's limits, and what it never takes."""

import json
from collections.abc import Callable

import pytest
from mlflow.tracking import MlflowClient

from covidmt.tracking.delivery import parse_picture
from covidmt.tracking.sender import sync
from covidmt.tracking.spool import Spool
from tests.covidmt.tracking.spool.test_spool import _send_all


def test_batches_keep_to_the_limit_and_the_order(new_spool: Callable[[], Spool], client: MlflowClient) -> None:
    spool = new_spool()
    for step in range(1500):
        spool.append("metrics", points=[["loss", float(step), 1000 + step, step]])
    spool.append("tags", values={"a": "1"})
    spool.append("metrics", points=[["loss", 0.0, 9000, 1500]])
    assert [spool.send(client) for _ in range(5)] == [1000, 500, 1, 1, 0]
    assert len(client.get_metric_history(spool.run_id, "loss")) == 1501


def test_refused_event_is_kept_named_and_tried_once_more(
    new_spool: Callable[[], Spool], client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    spool = new_spool()
    spool.append("metrics", points=[["good", 1.0, 1000, 0]])
    spool.append("metrics", points=[["bad(key)", 1.0, 1000, 0]])
    spool.append("metrics", points=[["good", 2.0, 1001, 1]])
    spool.append("artifact", file="absent/file.txt", path=None)
    assert _send_all(spool, client) == 4
    assert len(client.get_metric_history(spool.run_id, "good")) == 2
    assert spool.rejected is not None
    assert [json.loads(line)["op"] for line in spool.rejected.open()] == ["metrics"]
    assert spool.lost == ["file.txt (in the artifacts)"]
    assert "refuses metrics" in caplog.text
    spool.close()
    (report,) = sync(spool.folder.parent)
    assert report.sent == 2  # the one, and the status of a run that ended without a word
    assert report.problem is not None
    assert "rejected.jsonl" in report.problem


def test_a_picture_is_known_by_its_small_file():
    assert parse_picture("images/gradcam~00+step+3+timestamp+17+0f+compressed.webp") == ("gradcam~00", 3, 17)
    assert parse_picture("images/gradcam~00+step+3+timestamp+17+0f.png") is None
    assert parse_picture("notes/a+b.txt") is None
