"""What the report's figures show: bars and points at the means, the paper's values beside them."""

import pytest

from covidmt.comparison.analysis import Analysis, analyse
from covidmt.comparison.figures import (
    draw_base_and_covidmt,
    draw_baselines,
    draw_differences,
    draw_overview,
    draw_task_count,
)
from covidmt.comparison.style import COVIDMT, PAPER
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import Store, scores


@pytest.fixture(scope="module")
def analysis(store: Store) -> Analysis:
    """Both base networks with one and six tasks, two seeds each."""
    parent = store.sweep("drawn")
    for backbone in ("resnet50", "resnext50_32x4d"):
        for n_tasks, pi in ((1, 8), (6, 4)):
            for seed in (0, 1):
                store.trial(
                    parent=parent, sweep="drawn", backbone=backbone, n_tasks=n_tasks, seed=seed,
                    metrics=scores(pi + seed, 10 * pi),
                )  # fmt: skip
    return analyse(collect_runs(["drawn"], store))


def test_the_overview_has_a_row_a_configuration(analysis: Analysis):
    axes = draw_overview(analysis.configurations).axes
    titles = [axis.get_title(loc="left") for axis in axes]
    assert titles == ["PI score, %", "OLS score,\noriginal, %", "OLS score,\nreceived, %"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == [c.label for c in analysis.configurations]


def test_bars_stand_for_means_and_red_lines_for_the_paper(analysis: Analysis):
    pi = draw_base_and_covidmt(analysis.couples).axes[0]
    heights = [bar.get_height() for bar in pi.patches if bar.get_facecolor()[:3] != (1, 1, 1)]
    assert heights == [8.5, 8.5, 8.5, 4.5, 4.5, 4.5]  # base networks and their mean, then six tasks
    red = {float(line.get_ydata()[0]) for line in pi.lines if line.get_color() == PAPER and len(line.get_ydata())}
    assert red == {7.0, 4.2}  # of the mean alone has the paper's text values
    assert any(bar.get_facecolor() == pytest.approx((0, 0x72 / 255, 0xB2 / 255, 1)) for bar in pi.patches), COVIDMT


def test_the_task_count_has_a_line_a_network_and_nothing_without_several_counts(analysis: Analysis):
    figure = draw_task_count(analysis.configurations)
    assert figure is not None
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert {"ResNet-50", "ResNeXt-50"} <= set(labels)
    assert draw_task_count([c for c in analysis.configurations if len(c.tasks) == 1]) is None


def test_baselines_and_differences_are_drawn(analysis: Analysis):
    baselines = draw_baselines(analysis.single)
    assert [bar.get_height() for bar in baselines.axes[0].patches] == [8.5, 8.5]
    differences = draw_differences(analysis.against_base)
    dots = [
        float(line.get_xdata()[0])
        for line in differences.axes[0].lines
        if line.get_marker() == "o" and len(line.get_xdata())
    ]
    assert dots == [-4, -4]
