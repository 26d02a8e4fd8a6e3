"""The report of a made-up Hide-and-Seek: shares and intervals known by hand, the paper's figures beside them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from covidmt.comparison.configurations import group_configurations
from covidmt.comparison.hide_and_seek import hide_and_seek_rows
from covidmt.comparison.report import report_runs
from covidmt.comparison.trained_runs import collect_runs
from metrics.intervals import wilson
from tests.helpers.sweeps import Store

CLASSES = ["normal", "pneumonia", "COVID-19"]


def scores(matrix: list[list[int]]) -> dict[str, float]:
    """What a test logs of these confusions, rows the true classes."""
    total = sum(map(sum, matrix))
    logged = {
        f"test/covidx/confusion/{a}/{b}": n
        for a, row in zip(CLASSES, matrix, strict=True)
        for b, n in zip(CLASSES, row, strict=True)
    }
    logged["test/covidx/accuracy"] = sum(matrix[i][i] for i in range(3)) / total
    return {"test/pi_score": 1.0} | logged


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("project"))
    parent = store.sweep("hidden")
    seen = {
        "original": [[[10, 0, 0], [0, 10, 0], [0, 0, 10]], [[9, 1, 0], [1, 9, 0], [1, 0, 9]]],
        "lungs_removed": [[[6, 4, 0], [0, 10, 0], [0, 2, 8]], [[8, 2, 0], [0, 10, 0], [0, 4, 6]]],
    }
    for view, matrices in seen.items():
        for seed, matrix in enumerate(matrices):
            store.trial(
                parent=parent, sweep="hidden", seed=seed, metrics=scores(matrix), overrides={"data.view": view},
                params={} if view == "original" else {"view": view},
            )  # fmt: skip
    return store


def test_shares_intervals_and_changes_by_hand(store: Store):
    rows = hide_and_seek_rows(group_configurations(collect_runs(["hidden"], store)), "test")
    assert [(row.network, row.view, row.seeds, row.images) for row in rows] == [
        ("ResNet-50", "original", 2, 30),
        ("ResNet-50", "lungs_removed", 2, 30),
    ]
    original, removed = rows
    assert original.change is None
    # accuracy 24/30 and 24/30 against 30/30 and 27/30
    assert removed.scores["accuracy"].value == pytest.approx(80)
    low, high = wilson(24, 30)
    assert (removed.scores["accuracy"].low, removed.scores["accuracy"].high) == pytest.approx((100 * low, 100 * high))
    assert removed.change is not None
    assert removed.change[0] == pytest.approx(-15)  # -20 and -10 points
    assert removed.change[1:] == pytest.approx((-15 - 63.53, -15 + 63.53), abs=0.01)  # t(1) = 12.706, s / sqrt(2) = 5
    assert removed.scores["sensitivity/normal"].value == pytest.approx(70)
    assert removed.scores["ppv/pneumonia"].value == pytest.approx(100 * (10 / 16 + 10 / 16) / 2)
    paper = removed.paper["resnet50"]
    assert paper["accuracy"].value == pytest.approx(92.7)
    assert paper["sensitivity/COVID-19"].value == pytest.approx(93)
    assert paper["accuracy"].low == pytest.approx(100 * wilson(0.927 * 300, 300)[0])


def test_the_report_has_the_tables(store: Store, tmp_path: Path):
    page = report_runs(["hidden"], tmp_path, store).read_text()
    assert "ROI Hide-and-Seek" in page
    assert "paper, resnet50" in page
    assert "ResNet-50, 1 task, view lungs_removed" in page
    written = pd.read_csv(tmp_path / "hide_and_seek.csv").set_index(["view", "of", "score"])["value"]
    assert written["lungs_removed", "ours", "accuracy"] == pytest.approx(80)
    assert written["original", "paper, resnet50", "accuracy"] == pytest.approx(93.3)
    assert (tmp_path / "hide_and_seek.png").stat().st_size > 5000


def test_twins_that_learn_the_disease_and_the_source_have_their_own_classes(store: Store, tmp_path: Path):
    """One network learns three classes, its twin two, each on two representations."""
    parent = store.sweep("twins")
    sources = {
        "test/pi_score": 1.0, "test/origin/accuracy": 0.9, "test/origin/confusion/cohen/cohen": 9,
        "test/origin/confusion/cohen/nih": 1, "test/origin/confusion/nih/cohen": 1, "test/origin/confusion/nih/nih": 9,
    }  # fmt: skip
    for view in ("original", "lungs_removed"):
        own = {"data.view": view}
        disease = scores([[10, 0, 0], [0, 10, 0], [0, 0, 10]])
        store.trial(parent=parent, sweep="twins", metrics=disease, overrides=own)
        origin = own | {"active_tasks": ["origin"], "tasks.origin": {"source": "covidx", "labels": ["cohen", "nih"]}}
        store.trial(parent=parent, sweep="twins", metrics=sources, overrides=origin, params={"tasks": "origin"})
    rows = hide_and_seek_rows(group_configurations(collect_runs(["twins"], store)), "test")
    assert [row.network for row in rows] == ["ResNet-50, task covidx"] * 2 + ["ResNet-50, task origin"] * 2
    assert [row.scores["accuracy"].value for row in rows] == pytest.approx([100, 100, 90, 90])
    page = report_runs(["twins"], tmp_path, store).read_text()
    assert "sensitivity cohen" in page
    assert "sensitivity pneumonia" in page


def test_a_sweep_of_one_representation_has_none(store: Store):
    parent = store.sweep("whole")
    store.trial(parent=parent, sweep="whole", metrics=scores([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    assert hide_and_seek_rows(group_configurations(collect_runs(["whole"], store)), "test") == []
