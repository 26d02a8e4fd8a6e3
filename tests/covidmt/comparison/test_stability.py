"""Every task's PI and LI in a report: rows, table and figure."""

from pathlib import Path

import pandas as pd
import pytest

from covidmt.comparison.analysis import Analysis, analyse
from covidmt.comparison.report import report_runs
from covidmt.comparison.stability import draw_stability, stability_rows, stability_table
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import Store, scores


@pytest.fixture(scope="module")
def analysis(store: Store) -> Analysis:
    """One task and six, two seeds each; LI is of the second task, and was measured on validation pairs alone."""
    parent = store.sweep("stability")
    for n_tasks, pi in ((1, 8), (6, 4)):
        for seed in (0, 1):
            metrics = scores(pi, 40) | {"test/pi/covidx": pi + seed, "val/pi/covidx": 99}
            if n_tasks > 1:
                metrics |= {"val/li/rsna_boxes/0.5": 20.0, "val/pi/nodule": 10.0 * seed}
            store.trial(parent=parent, sweep="stability", n_tasks=n_tasks, seed=seed, metrics=metrics)
    return analyse(collect_runs(["stability"], store))


def test_a_row_a_task_that_all_seeds_have(analysis: Analysis):
    rows = stability_rows(analysis.configurations)
    found = [(len(row.configuration.tasks), row.task, row.score, row.split, row.mean.value) for row in rows]
    assert found == [
        (1, "covidx", "pi", "test", 8.5),
        (6, "covidx", "pi", "test", 4.5),
        (6, "rsna_boxes", "li", "val", 20.0),
        (6, "nodule", "pi", "val", 5.0),
    ]
    assert stability_table(rows)[2]["score"] == "LI at IoU 0.5, %"
    assert 0 <= rows[-1].mean.low < rows[-1].mean.high <= 100


def test_a_line_a_task(analysis: Analysis):
    figure = draw_stability(analysis.configurations)
    assert figure is not None
    pi, li = figure.axes
    assert pi.get_legend_handles_labels()[1] == ["covidx", "nodule"]
    assert li.get_legend_handles_labels()[1] == ["rsna_boxes"]


def test_nothing_to_draw_without_them(store: Store):
    parent = store.sweep("older")
    store.trial(parent=parent, sweep="older", metrics=scores(4, 40))
    assert draw_stability(analyse(collect_runs(["older"], store)).configurations) is None


def test_nothing_to_draw_over_one_number_of_tasks(store: Store):
    parent = store.sweep("alone")
    for lr in (1e-3, 1e-4):
        metrics = scores(4, 40) | {"test/pi/covidx": 4.0}
        store.trial(parent=parent, sweep="alone", metrics=metrics, overrides={"optimizer.lr": lr})
    configurations = analyse(collect_runs(["alone"], store)).configurations
    assert len(stability_rows(configurations)) == 2
    assert draw_stability(configurations) is None


def test_the_report_shows_them(store: Store, analysis: Analysis, tmp_path: Path):
    page = report_runs(["stability"], tmp_path, store).read_text()
    assert "Every task&#39;s stability" in page or "Every task's stability" in page
    assert (tmp_path / "stability.png").is_file()
    assert pd.read_csv(tmp_path / "stability.csv")["mean"].tolist() == [8.5, 4.5, 20.0, 5.0]
