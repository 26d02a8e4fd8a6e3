"""Plots of PI: what is drawn of whom."""

from dataclasses import replace

import numpy as np
import pytest

from covidmt.evaluation.plots.instability import (
    channel_runs,
    draw_by_channel,
    draw_over_quality,
    draw_over_threshold,
    draw_probabilities,
)
from datamodules.evaluation import EvaluationDataModule
from tests.helpers.evaluation import CHANNELS, N, evaluation_of, make_answers


def test_one_axis_shows_one_population(data: EvaluationDataModule):
    """Of eight flips among 24 originals, two are among the twelve drawn for the channels; the other run's none."""
    said = make_answers(data, 8)
    positives = np.flatnonzero(said.labels == 1)
    rows = np.array([*positives[[0, 1, 8, 9]], *np.flatnonzero(said.labels == 0)[:8]])
    said = replace(said, channel_rows=rows, channel_logits=dict.fromkeys(CHANNELS, said.logits["received"][rows]))
    evaluation = evaluation_of(data, said, make_answers(data, 0, 1))
    (first, second), which = channel_runs(evaluation)
    assert evaluation.first.scores["pi/score"].estimate.value == pytest.approx(100 * 8 / 24)
    assert first.scores["pi/score"].estimate.value == pytest.approx(100 * 2 / 12)
    assert first.scores["channel/camera"].estimate.value == pytest.approx(100 * 2 / 12)
    assert second.scores["pi/score"].estimate.value == second.scores["disagreement"].estimate.value == 0
    assert "12 of 24 originals" in which
    everybody = replace(evaluation.first, answers=replace(said, channel_rows=np.arange(N)))
    evaluation = replace(evaluation, runs=(everybody, *evaluation.others))
    runs, which = channel_runs(evaluation)
    assert runs is evaluation.runs
    assert which == "All 24 originals. Called COVID-19 where its probability is at least 0.5."


def test_rows_and_qualities(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 8), make_answers(data, 0, 1))
    runs, which = channel_runs(evaluation)
    plot = draw_by_channel(runs, "camera", which)
    rows = [label.get_text() for label in plot.figure.axes[0].get_yticklabels()]
    assert rows[:2] == ["the pairs (camera)", "camera"]
    assert [row.partition(":")[0] for row in rows[2:]] == ["control"] * 3
    assert "how often one other training of the same experiment (another seed) decides" in plot.caption
    assert "White noise of equal RMS, for comparison." in plot.caption
    quality = draw_over_quality(runs, which)
    assert quality is not None
    lines = quality.figure.axes[0].lines
    assert list(lines[0].get_xdata()) == [10, 70]
    assert list(lines[0].get_ydata()) == pytest.approx([100 * 4 / 12] * 2)  # every second pair
    assert draw_over_quality(evaluation_of(data, replace(make_answers(data, 0), channel_logits={})).runs, "") is None


def test_every_pair_and_every_threshold(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 3))
    axis = draw_probabilities(evaluation).figure.axes[0]
    drawn = {line.get_label(): len(line.get_xdata()) for line in axis.lines if not line.get_label().startswith("_")}
    assert drawn == {"label positive": 12, "label negative": 12, "decision changes: 3": 3}
    curve = draw_over_threshold(evaluation).figure.axes[0].lines[0]
    assert dict(zip(curve.get_xdata(), curve.get_ydata(), strict=True))[0.5] == pytest.approx(12.5)
