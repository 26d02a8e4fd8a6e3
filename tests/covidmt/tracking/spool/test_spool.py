import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from covidmt.tracking.spool import Spool
from covidmt.tracking.spool.place import SpoolInUse
from covidmt.tracking.store import Store


def _send_all(spool: Spool, client: MlflowClient) -> int:
    return sum(iter(lambda: spool.send(client), 0))


def _history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, int, str]]:
    return sorted((m.step, m.timestamp, repr(m.value)) for m in client.get_metric_history(run_id, key))


def _rewind(spool: Spool, to: int = 0) -> Spool:
    """The store took everything, the process died before it wrote down more than ``to``."""
    spool._lock.release()
    (spool.folder / "sent").write_text(str(to))
    return Spool(spool.folder)


def test_every_kind_of_event_sent_twice_counts_once(new_spool: Callable[[], Spool], client: MlflowClient) -> None:
    spool = new_spool()
    name = spool.add_file("note.txt", lambda path: path.write_text("hello"))
    path = spool.folder / "files" / name
    dataset = {
        "name": "nih",
        "digest": "0" * 32,
        "source_type": "local",
        "source": "{}",
        "schema": None,
        "profile": None,
    }
    spool.append("status", status="RUNNING", time=1)
    spool.append("metrics", points=[["loss", 0.1, 1000, 0], ["nan", float("nan"), 1000, 0]])
    spool.append("metrics", points=[["loss", 0.1, 1001, 1], ["inf", float("-inf"), 1001, 0]])
    spool.append("params", values={"lr": "0.1"})
    spool.append("tags", values={"sweep": "a"})
    spool.append("artifact", file=name, path="notes")
    spool.append("inputs", datasets=[{"dataset": dataset, "tags": {"mlflow.data.context": "train"}}])
    spool.append("metrics", points=[["loss", 0.3, 1002, 2]])
    spool.append("status", status="FINISHED", time=2000)
    for _ in range(2):
        assert _send_all(spool, client) == 9
        assert spool.pending == 0
        path.parent.mkdir(exist_ok=True)
        path.write_text("hello")
        spool = _rewind(spool)
    run = client.get_run(spool.run_id)
    assert _history(client, spool.run_id, "loss") == [(0, 1000, "0.1"), (1, 1001, "0.1"), (2, 1002, "0.3")]
    assert _history(client, spool.run_id, "nan") == [(0, 1000, "nan")]
    assert _history(client, spool.run_id, "inf") == [(0, 1001, repr(-sys.float_info.max))]
    assert run.data.params == {"lr": "0.1"}
    assert run.data.tags["sweep"] == "a"
    assert [file.path for file in client.list_artifacts(spool.run_id, "notes")] == ["notes/note.txt"]
    assert run.inputs is not None
    (dataset_input,) = run.inputs.dataset_inputs
    assert dataset_input.tags[0].value == "train"
    assert (run.info.status, run.info.end_time) == ("FINISHED", 2000)


@settings(max_examples=8, deadline=None)
@given(
    events=st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.floats(width=32, allow_infinity=False)), min_size=1, max_size=4),
        max_size=8,
    ),
    deaths=st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1)), max_size=3),
)
def test_nothing_is_lost_or_doubled_whenever_the_process_dies(
    store: Store, tmp_path_factory: pytest.TempPathFactory, events: list[list], deaths: list[tuple[int, float]]
) -> None:
    client = store.client
    run_id = client.create_run(store.open_experiment("property")).info.run_id
    spool = Spool(tmp_path_factory.mktemp("spool") / run_id, store)
    expected: dict[str, list] = {"a": [], "b": []}
    ends = [0]
    for index, points in enumerate(events):
        spool.append(
            "metrics", points=[[key, value, 1000 + index, number] for number, (key, value) in enumerate(points)]
        )
        ends.append(spool._events.size)
        for number, (key, value) in enumerate(points):
            expected[key].append((number, 1000 + index, repr(value + 0.0)))  # sqlite knows no -0.0
        for _ in [death for death in deaths if death[0] == index]:
            _send_all(spool, client)
            spool._lock.release()
            back_to = ends[int(next(share for at, share in deaths if at == index) * (len(ends) - 1))]
            (spool.folder / "sent").write_text(str(back_to))
            with (spool.folder / "events.jsonl").open("ab") as file:
                file.write(b'{"op": "metrics", "points": [["a", 7')  # a line half written
            spool = Spool(spool.folder)
    _send_all(spool, client)
    for key, points in expected.items():
        assert _history(client, run_id, key) == sorted(points)
    spool.close()
    assert not spool.folder.exists()


def test_full_disk_leaves_no_half_line(new_spool: Callable[[], Spool], client: MlflowClient) -> None:
    import resource

    spool = new_spool()
    spool.append("metrics", points=[["loss", 1.0, 1000, 0]])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (spool.pending + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="space"):
            spool.append("metrics", points=[["loss", 2.0, 1001, 1]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    spool.append("metrics", points=[["loss", 3.0, 1002, 2]])
    _send_all(spool, client)
    assert [m.value for m in client.get_metric_history(spool.run_id, "loss")] == [1.0, 3.0]


def test_spool_of_another_machine_waits_for_signs_of_life(new_spool: Callable[[], Spool]) -> None:
    spool = new_spool()
    spool._lock.release()  # as seen where the file system does not pass locks on
    lock = spool.folder / "lock"
    lock.write_text("another-machine")
    with pytest.raises(SpoolInUse):
        Spool(spool.folder)
    for file in (lock, spool.folder / "events.jsonl"):
        os.utime(file, (1, 1))
    Spool(spool.folder).close()
    assert not spool.folder.exists()


def test_a_signal_that_leaves_from_the_middle_of_an_event(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "run", Store("sqlite:///nowhere.db"))

    def leave(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, leave)
    try:
        for turn in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (10 + turn))
                while True:
                    spool.append("metrics", points=[["a", 1.0, 0, 0]])
            except InterruptedError:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    spool.append("status", status="SCHEDULED", time=0)  # what a preempted run writes next
    content = (tmp_path / "run" / "events.jsonl").read_bytes()
    assert len([json.loads(line) for line in content.splitlines()]) > 300
    assert spool.pending == len(content)
