"""Rows beside the paper's figures."""

from pathlib import Path

import pandas as pd

from covidmt.comparison.analysis import analyse
from covidmt.comparison.report import report_runs
from covidmt.comparison.tables import beside_paper
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import Store, scores


def test_the_baselines_alone_stand_beside_the_paper_in_a_table(store: Store, tmp_path: Path):
    parent = store.sweep("alone")
    for backbone, pi in (("resnet50", 4), ("resnext50_32x4d", 6), ("vgg19_bn", 11)):
        store.trial(parent=parent, sweep="alone", backbone=backbone, metrics=scores(pi, 60 + pi))
    report_runs(["alone"], tmp_path, store)
    rows = pd.read_csv(tmp_path / "paper.csv").set_index(["score", "networks", "n_tasks"])
    assert not rows.index.duplicated().any()
    assert rows.loc[("ols_original", "ResNeXt-50", 1), ["ours", "paper"]].tolist() == [66, "67.11"]
    assert rows.loc[("pi", "VGG-19", 1), ["ours", "paper"]].tolist() == [11, "not in text"]
    assert rows.loc[("pi", "mean of 3 of the paper's five", 1), "ours"] == 7
    assert rows.loc[("pi", "worst of 3 of the paper's five", 1), ["ours", "paper"]].tolist() == [11, "10"]


def test_couples_of_different_task_counts_have_no_mean(store: Store):
    runs = [
        store.trial(backbone=backbone, n_tasks=n, metrics=scores(9 - n))
        for backbone, most in (("resnet50", 6), ("resnext50_32x4d", 3))
        for n in (1, most)
    ]
    rows = beside_paper(analyse(collect_runs(runs, store)))
    assert {(row.networks, *row.tasks) for row in rows} == {("ResNet-50", 1, 6), ("ResNeXt-50", 1, 3)}
