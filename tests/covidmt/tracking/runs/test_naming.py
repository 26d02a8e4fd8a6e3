"""Runs by the names that people have for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidmt.tracking.runs.naming import NoSuchRun, find_run
from covidmt.tracking.store import Store
from experiments.errors import UserError


class Runs:
    """A sweep "depth" submitted twice, the second time with two trials; two runs of one name; a newest run."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(f"sqlite:///{folder}/runs.db")
        self.store.prepare()
        self.old = self._make("depth", 1, {"covidmt.kind": "sweep", "sweep": "depth"})
        self.sweep = self._make("depth", 2, {"covidmt.kind": "sweep", "sweep": "depth"})
        tags = {"mlflow.parentRunId": self.sweep, "sweep": "depth"}
        self.first = self._make("resnet18, seed 0", 3, tags | {"trial": "003", "trial_label": "resnet18"})
        self.second = self._make("resnet18, seed 1", 4, tags | {"trial": "a1b2", "trial_label": "resnet18"})
        self.same = [self._make("demo", 5, {}), self._make("demo", 6, {})]
        self.newest = self._make('it\'s "quoted" 50%', 8, {})
        self.later_sweep = self._make("later", 9, {"covidmt.kind": "sweep", "sweep": "later"})

    def _make(self, name: str, start: int, tags: dict[str, str]) -> str:
        return self.store.client.create_run("0", run_name=name, start_time=start, tags=tags).info.run_id

    def find(self, reference: str) -> str:
        return find_run(reference, self.store).info.run_id


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


def test_ids_and_their_beginnings(runs: Runs):
    for run_id in (runs.old, runs.first, runs.newest):
        assert runs.find(run_id) == run_id
        assert runs.find(run_id[:12]) == run_id


def test_names(runs: Runs):
    assert runs.find("resnet18, seed 1") == runs.second
    assert runs.find('it\'s "quoted" 50%') == runs.newest


def test_last_is_the_newest_run_that_is_no_sweep(runs: Runs):
    assert runs.find("last") == runs.newest


@pytest.mark.parametrize("trial", ["resnet18, seed 0", "003", "3"])
def test_a_trial_of_the_newest_sweep_of_a_name(runs: Runs, trial: str):
    assert runs.find(f"depth/{trial}") == runs.first


def test_several_are_named(runs: Runs):
    listed = ".*".join(run[:8] for run in reversed(runs.same))
    with pytest.raises(UserError, match=rf"demo: 2 runs are called so: {listed}.*give the beginning"):
        runs.find("demo")
    with pytest.raises(UserError, match="depth/resnet18: 2 runs are called so"):
        runs.find("depth/resnet18")


@pytest.mark.parametrize("reference", ["dem", "0" * 32, "0000", "depth/7", "nothing/3", "", "%", "'; --"])
def test_what_is_not_there(runs: Runs, reference: str):
    with pytest.raises(NoSuchRun, match=r"not in sqlite:///.*`covidmt runs` lists"):
        runs.find(reference)


def test_a_near_name_is_proposed(runs: Runs):
    with pytest.raises(NoSuchRun, match="did you mean 'demo'"):
        runs.find("demos")


def test_without_a_store_nothing_is_made(tmp_path: Path):
    with pytest.raises(UserError, match="last: there is no tracking store sqlite"):
        find_run("last", Store(f"sqlite:///{tmp_path}/runs.db"))
    assert not list(tmp_path.iterdir())


def test_an_empty_store(tmp_path: Path):
    store = Store(f"sqlite:///{tmp_path}/runs.db")
    store.prepare()
    with pytest.raises(UserError, match="last: there is no run in"):
        find_run("last", store)
