"""Plots of prediction instability: by channel, over JPEG quality, over the threshold, pair by pair."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np

from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.evaluation.scores import mean_score
from covidmt.pages.style import (
    COLOURS,
    GREY,
    SMALL,
    Plot,
    draw_band,
    draw_dot,
    is_drawable,
    legend_below,
    name_rows,
    new_figure,
    nth_colour,
    offset,
    run_legend,
)
from experiments.schema import DecisionRule
from metrics.intervals import Estimate

_MANY = 500  # points from which on a scatter is stored as pixels
_QUALITY = re.compile(r"channel/jpeg:(\d+)")
_CONTROLS = {
    "pi/noise": "control: white noise, equal RMS",
    "pi/inside": "control: inside the lungs only",
    "pi/outside": "control: outside the lungs only",
}


def channel_runs(evaluation: Evaluation) -> tuple[tuple[RunEvaluation, ...], str]:
    """Return the runs with the scores of those originals that went through all channels: one axis, one population.

    PI, its controls and the noise floor are computed anew where only some of the originals were drawn for the channels.

    Returns:
        The runs, and a sentence on which originals these are.
    """
    first = evaluation.first
    n, rows, bootstrap = len(first.table), first.answers.channel_rows, first.scores["pi/score"].bootstrap
    called = f"Called {evaluation.settings.decision}."
    if len(rows) in (0, n):
        return evaluation.runs, f"All {n} originals. {called}"
    drawn = np.isin(np.arange(n), rows)

    runs = []
    for run in evaluation.runs:
        events = {key: run.flips(key.removeprefix("pi/")) for key in _CONTROLS} | {"pi/score": run.flips()}
        if run is not first:
            events["disagreement"] = first.disagreements(run)
        scores = {key: mean_score(np.where(drawn, values, nan), bootstrap) for key, values in events.items()}
        runs.append(replace(run, scores=run.scores | scores))
    return tuple(runs), f"All on the {len(rows)} of {n} originals that were drawn for the channels. {called}"


def draw_by_channel(runs: Sequence[RunEvaluation], channel: str, which: str) -> Plot:
    """Draw PI of the pairs, of every channel and of the controls, a row each.

    Args:
        runs: Of :func:`channel_runs`.
        channel: That of the pairs.
        which: The sentence on which originals these are.
    """
    # the rows
    scores = runs[0].scores
    channels = [key for key in scores if key.startswith("channel/") and not _QUALITY.fullmatch(key)]
    rows = {"pi/score": f"the pairs ({channel})"} | {key: key.removeprefix("channel/") for key in channels}
    rows |= {key: text for key, text in _CONTROLS.items() if is_drawable(runs[0].estimate(key))}

    # a dot for each run
    figure, axis = new_figure((SMALL[0], 1.3 + 0.24 * len(rows) * max(1.5, 0.45 * len(runs))))
    for index, run in enumerate(runs):
        for row, key in enumerate(rows):
            colour = GREY if len(runs) == 1 and key in _CONTROLS else nth_colour(index)
            draw_dot(axis, run.estimate(key), row + offset(index, len(runs)), colour)
    _draw_noise_floor(runs, axis.axvline, axis.axvspan)
    name_rows(axis, list(rows.values()), "PI score, %: decisions that change")
    run_legend(figure, [run.name for run in runs])
    return Plot(
        figure,
        "PI by channel",
        f"{which} Dots: share of decisions that change; bars: 95 % interval. White noise of equal RMS, for comparison."
        + _floor_words(runs),
    )


def draw_over_quality(runs: Sequence[RunEvaluation], which: str) -> Plot | None:
    """Draw PI over the quality of simulated JPEG; None where none was simulated.

    Args:
        runs: Of :func:`channel_runs`.
        which: The sentence on which originals these are.
    """
    matches = filter(None, map(_QUALITY.fullmatch, runs[0].scores))
    keys = {int(match[1]): match[0] for match in sorted(matches, key=lambda match: int(match[1]))}
    if not keys:
        return None

    figure, axis = new_figure()
    for index, run in enumerate(runs):
        points = [run.estimate(key) for key in keys.values()]
        draw_band(axis, list(keys), points, index, band=len(runs) <= 2 or index == 0)
    _draw_noise_floor(runs, axis.axhline, axis.axhspan)
    axis.invert_xaxis()
    axis.set(xlabel="JPEG quality (stronger compression to the right)", ylabel="PI score, %")
    axis.set_ylim(bottom=0)
    run_legend(figure, [run.name for run in runs])
    return Plot(
        figure,
        "PI over JPEG quality",
        f"{which} They are compressed more and more; band: 95 % interval." + _floor_words(runs),
    )


def draw_probabilities(evaluation: Evaluation) -> Plot:
    """Draw each pair's probability after the channel over that before."""
    table, label, threshold = evaluation.first.table, evaluation.settings.label, evaluation.settings.threshold
    figure, axis = new_figure((SMALL[0], 4.4))

    # where the decision changes, if the probability alone says it
    by_threshold = evaluation.first.answers.decision.rule is DecisionRule.threshold
    for x, y in (((0, threshold), (threshold, 1)), ((threshold, 1), (0, threshold))) if by_threshold else ():
        axis.fill_between(x, *y, color=COLOURS[1], alpha=0.08, lw=0)
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)

    # the pairs
    kinds = {
        "label positive": (table["label"] == 1, "o", COLOURS[0]),
        "label negative": (table["label"] == 0, "^", COLOURS[2]),
        "label unknown": (table["label"].isna(), "s", GREY),
    }
    for name, (mask, marker, colour) in kinds.items():
        before, after = table["p_original"][mask], table["p_received"][mask]
        if len(before):
            many = len(before) > _MANY
            axis.plot(before, after, marker, color=colour, ms=5, alpha=0.6, mew=0, label=name, rasterized=many)
    changed = table[table["flip"] == 1]
    label_of_rings, before, after = f"decision changes: {len(changed)}", changed["p_original"], changed["p_received"]
    axis.plot(before, after, "o", mfc="none", mec=COLOURS[1], mew=1.6, ms=10, label=label_of_rings)

    axis.set(xlabel=f"p({label}), original", ylabel=f"p({label}), received", aspect="equal")
    axis.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))  # room for whole rings at 0 and 1
    legend_below(figure, 2)
    return Plot(
        figure,
        "Probability before and after the channel",
        "Each mark is a pair; on the diagonal nothing changed. "
        + ("In the shaded fields the decision changes: " if by_threshold else "Rings: the decision changes: ")
        + f"{evaluation.settings.decision}.",
    )


def draw_over_threshold(evaluation: Evaluation) -> Plot:
    """Draw PI over the threshold of the decision."""
    runs = evaluation.runs
    figure, axis = new_figure()
    for index, run in enumerate(runs):
        curve = run.curves["pi_over_decision_threshold"]
        draw_band(axis, curve.x, curve.lines["received"], index, band=len(runs) <= 2 or index == 0)
    by_threshold = evaluation.first.answers.decision.rule is DecisionRule.threshold
    if by_threshold:
        axis.axvline(evaluation.settings.threshold, color=GREY, ls="--", lw=1)
    axis.set(xlabel="decision threshold", ylabel="PI score, %", xlim=(0, 1))
    axis.set_ylim(bottom=0)
    run_legend(figure, [run.name for run in runs])
    used = "Dashed: the one used." if by_threshold else f"None was used: {evaluation.settings.decision}."
    caption = f"Does PI depend on the choice of one threshold? {used} Band: 95 % interval."
    return Plot(figure, "PI over the decision threshold", caption)


def _noise_floors(runs: Sequence[RunEvaluation]) -> list[Estimate]:
    """Return the disagreement of each other seed of the first run's experiment."""
    return [run.scores["disagreement"].estimate for run in runs if run.other_seed]


def _draw_noise_floor(runs: Sequence[RunEvaluation], line: Callable[..., Any], span: Callable[..., Any]) -> None:
    for floor in filter(is_drawable, _noise_floors(runs)):
        line(floor.value, color="black", ls="--", lw=1)
        span(floor.low, floor.high, color="black", alpha=0.05, lw=0)


def _floor_words(runs: Sequence[RunEvaluation]) -> str:
    if not _noise_floors(runs):
        return ""
    which = "one other training" if len(_noise_floors(runs)) == 1 else "each other training"
    return (
        f" Dashed: how often {which} of the same experiment (another seed) decides the same originals differently; "
        "grey: its 95 % interval over patients, for these trainings."
    )
