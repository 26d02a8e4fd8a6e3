"""Plots of OLS: controls, curves and histograms as numbers."""

import numpy as np
import pytest

from covidmt.evaluation.plots.saliency import (
    draw_controls,
    draw_histogram,
    draw_over_eta,
    draw_over_region_threshold,
)
from covidmt.pages.style import SIDE_COLOURS
from datamodules.evaluation import EvaluationDataModule
from tests.helpers.evaluation import N, evaluation_of, make_answers


def test_every_side_beside_its_controls(data: EvaluationDataModule):
    plot = draw_controls(evaluation_of(data, make_answers(data, 0), make_answers(data, 1, 1)))
    assert plot is not None
    assert plot.wide
    assert len(plot.figure.axes) == 2
    dots = [line for line in plot.figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert {line.get_color() for line in dots} == set(SIDE_COLOURS.values())
    assert len(dots) == 8  # the network and three controls, two sides


def test_all_images_are_in_the_histogram(data: EvaluationDataModule):
    plot = draw_histogram(evaluation_of(data, make_answers(data, 0)))
    assert plot is not None
    (axis,) = plot.figure.axes
    heights = [patch.get_height() for patch in axis.patches]
    assert sum(heights) == 2 * N


@pytest.mark.parametrize("draw", [draw_over_eta, draw_over_region_threshold])
def test_curves_of_one_run_and_of_several(data: EvaluationDataModule, draw):
    one = draw(evaluation_of(data, make_answers(data, 0)))
    assert [line.get_label() for line in one.figure.axes[0].lines[:2]] == ["original", "received"]
    several = draw(evaluation_of(data, make_answers(data, 0), make_answers(data, 1, 1)))
    assert [axis.get_title(loc="left") or axis.get_title() for axis in several.figure.axes] == ["original", "received"]
    assert several.wide
    np.testing.assert_array_equal(one.figure.axes[0].lines[0].get_ydata()[0], 0)  # every map is inside


def test_without_lungs_there_is_nothing_to_draw(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 0, lungs=False))
    assert draw_controls(evaluation) is None
    assert draw_histogram(evaluation) is None
    assert draw_over_eta(evaluation) is None
