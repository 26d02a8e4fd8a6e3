"""The report's figures, as matplotlib draws them without a screen; every one states its intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidmt.comparison.analysis import Couple, couples_with_mean
from covidmt.comparison.comparisons import Comparison
from covidmt.comparison.configurations import ROBUSTNESS, SCORES, Configuration, Mean, main_line
from covidmt.comparison.paper import BASELINES, paper_value
from covidmt.comparison.style import (
    BASE,
    COVIDMT,
    ORIGINAL,
    PAPER,
    RECEIVED,
    VERDICTS,
    WIDTH,
    error_bars,
    styled,
)
from covidmt.pages.style import INK, figure_row, legend_below, nth_colour


@styled
def draw_overview(configurations: Sequence[Configuration]) -> Figure:
    """Draw PI and both OLS of every configuration, a row each."""
    keys = _shared_scores(configurations, any)
    labels = [_wrapped(configuration.label) for configuration in configurations]
    height = 1.1 + 0.34 * sum(label.count("\n") + 1 for label in labels)
    figure, axes = figure_row(len(keys), width=WIDTH, height=height, sharey=True)
    rows = np.arange(len(configurations))[::-1]
    for axis, key in zip(axes, keys, strict=True):
        axis.set_title(_wrapped(SCORES[key].title, 19))
        for row, configuration in zip(rows, configurations, strict=True):
            mean = configuration.scores.get(key)
            if mean is not None:
                colour = _colour(configurations, configuration.network)
                axis.plot(mean.values, [row] * len(mean.values), "o", color=colour, alpha=0.35, ms=4)
                axis.errorbar(mean.value, row, xerr=error_bars(mean), fmt="D", color=colour, ms=6, capsize=3)
        axis.set_xlim(left=0)
        axis.grid(axis="x", alpha=0.25)
        axis.set_ylim(-0.7, len(configurations) - 0.3)
    axes[0].set_yticks(rows, labels)
    return figure


@styled
def draw_task_count(configurations: Sequence[Configuration]) -> Figure | None:
    """Draw PI and OLS against the number of tasks, a line a base network (paper: Fig 8); None: nothing to draw."""
    lines = {c.network: main_line(configurations, c.network) for c in configurations}
    lines = {network: line for network, line in lines.items() if len({len(c.tasks) for c in line}) > 1}
    if not lines:
        return None

    keys = _shared_scores(configurations, any)
    figure, axes = figure_row(len(keys), width=WIDTH, height=3.9)
    for axis, key in zip(axes, keys, strict=True):
        _draw_lines(axis, key, lines, configurations)

        # the paper's points, of each network and of their mean
        own = {network: line for network, line in lines.items() if all(c.of_papers for c in line)}
        for number, network in enumerate(own):
            _draw_stars(axis, key, [network], _shift(number, len(own)), _colour(configurations, network))
        if len(own) > 1:
            _draw_stars(axis, key, list(own), 0, "white")

        axis.set_title(SCORES[key].title)
        axis.set_xlabel("number of tasks")
        axis.set_xticks(sorted({len(c.tasks) for line in lines.values() for c in line}))
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", alpha=0.25)

    short = all(len(label) < 30 for axis in axes for label in axis.get_legend_handles_labels()[1])
    legend_below(figure, 3 if short else 1)
    return figure


def _draw_lines(
    axis: Axes, key: str, lines: Mapping[str, list[Configuration]], configurations: Sequence[Configuration]
) -> None:
    """Draw one score of each network's line, and of its other configurations (controls) as hollow squares."""
    for number, (network, line) in enumerate(lines.items()):
        colour, shift = _colour(configurations, network), _shift(number, len(lines))
        _draw_points(axis, key, line, shift, fmt="o-", color=colour, mfc=colour, label=network)
        for control in configurations:
            if control.network == network and control not in line:
                _draw_points(axis, key, [control], shift, fmt="s", color=colour, mfc="white", label=control.label)


def _draw_points(axis: Axes, key: str, line: Sequence[Configuration], shift: float, **style: Any) -> None:
    measured = [c for c in line if key in c.scores]
    if not measured:
        return
    places = [len(c.tasks) + shift for c in measured]
    means = [c.scores[key] for c in measured]
    errors = np.concatenate([error_bars(mean) for mean in means], axis=1)
    axis.errorbar(places, [mean.value for mean in means], yerr=errors, capsize=3, lw=1.8, elinewidth=1, **style)
    for place, mean in zip(places, means, strict=True):
        axis.plot([place] * len(mean.values), mean.values, ".", color=style["color"], alpha=0.4, ms=5)


def _draw_stars(axis: Axes, key: str, networks: list[str], shift: float, fill: str) -> None:
    """Draw the paper's values of 1 and 6 tasks, where its text has them."""
    label = "paper's text" if len(networks) == 1 else f"paper's text, mean of {' and '.join(networks)}"
    for count in (1, 6):
        fact = paper_value(key, networks, count)
        if fact is not None:
            axis.plot(count + shift, fact.value, "*", color=fill, mec=PAPER, ms=12, zorder=3, label=label)


def _shift(number: int, count: int) -> float:
    """Return how far the lines stand apart, so that their points do not hide each other."""
    return 0.06 * (number - (count - 1) / 2)


@styled
def draw_base_and_covidmt(couples: list[Couple]) -> Figure:
    """Draw base network alone against most tasks: PI (paper: Fig 6) and OLS (Fig 7), with the paper's text's values."""
    keys = _shared_scores([c for couple in couples for c in couple], all)
    groups = {couple[0].network: [couple] for couple in couples}
    averaged = couples_with_mean(couples)
    if averaged:
        groups["mean"] = averaged
    counts = " or ".join(str(count) for count in sorted({len(many.tasks) for _, many in couples}))
    papers = " (COVIDMT)" if all(many.of_papers for _, many in couples) else ""

    figure, axes = figure_row(len(keys), width=WIDTH, height=3.9)
    for axis, key in zip(axes, keys, strict=True):
        axis.set_title(SCORES[key].title)
        for side, colour in enumerate((BASE, COVIDMT)):
            label = ("1 task (base network)", f"{counts} tasks{papers}")[side]
            for x, members in enumerate(groups.values()):
                _draw_group(axis, key, members, side, x + 0.4 * (side - 0.5), colour, label if x == 0 else None)
        axis.set_xticks(range(len(groups)), list(groups))
        axis.margins(y=0.12)
        axis.set_ylim(bottom=0)

    # the red lines have an entry where there is one
    handles, _ = axes[0].get_legend_handles_labels()
    if any(line.get_color() == PAPER for axis in axes for line in axis.lines):
        handles += axes[0].plot([], [], color=PAPER, lw=2, label="paper, where its text gives a value")
    legend_below(figure, 3, handles)
    return figure


def _draw_group(
    axis: Axes, key: str, couples: Sequence[Couple], side: int, place: float, colour: str, label: str | None
) -> None:
    """Draw the bar of one couple's side, or of the mean over several couples, with the paper's value."""
    means = [couple[side].scores[key] for couple in couples]
    value = fmean(mean.value for mean in means)
    top = _draw_bar(axis, place, value, means[0] if len(means) == 1 else None, colour, 0.38, label)
    own = all(c.of_papers for couple in couples for c in couple)
    fact = paper_value(key, [base.network for base, _ in couples], len(couples[0][side].tasks))
    if own and fact is not None:
        axis.plot([place - 0.19, place + 0.19], [fact.value] * 2, color=PAPER, lw=2)
        _write(axis, place + 0.19, fact.value, f"{fact.value:g}", (1, 0), color=PAPER, fontsize=8, va="center")
        top = max(top, fact.value)
    _write(axis, place, top, f"{value:.{SCORES[key].digits}f}", (0, 3), ha="center", fontsize=8.5)


@styled
def draw_baselines(configurations: Sequence[Configuration]) -> Figure:
    """Draw the single-task base networks: PI (paper: Table 2) and OLS on both sides (Fig 4)."""
    keys = _shared_scores(configurations, all)
    parts = [part for part in ([key for key in keys if key == "pi"], [key for key in keys if key != "pi"]) if part]
    names = [c.label.removesuffix(", 1 task") for c in configurations]
    figure, axes = figure_row(len(parts), width=WIDTH, height=3.9)
    for axis, part in zip(axes, parts, strict=True):
        axis.set_title("OLS score, %" if len(part) > 1 else SCORES[part[0]].title)
        for number, key in enumerate(part):
            _draw_baseline_bars(axis, key, number, len(part), configurations)
        axis.set_xticks(range(len(names)), names)
        if len(names) > 3:
            axis.tick_params(axis="x", rotation=20)
        axis.margins(y=0.12)
        axis.set_ylim(bottom=0)
        if axis.get_legend_handles_labels()[1]:
            below = (0.5, -0.14 if len(names) <= 3 else -0.24)
            axis.legend(loc="upper center", bbox_to_anchor=below, ncols=2, fontsize=9)
    return figure


def _draw_baseline_bars(axis: Axes, key: str, number: int, count: int, configurations: Sequence[Configuration]) -> None:
    """Draw one score's bars, the ``number``-th of ``count`` beside each other, and the paper's line."""
    colour = {"pi": BASE, "ols_original": ORIGINAL, "ols_received": RECEIVED}[key]
    side = {"pi": None, "ols_original": "original", "ols_received": "received"}[key]
    width = 0.8 / count
    for x, configuration in enumerate(configurations):
        mean = configuration.scores[key]
        place = x + width * (number - (count - 1) / 2)
        top = _draw_bar(axis, place, mean.value, mean, colour, width, side if x == 0 else None)
        _write(axis, place, top, f"{mean.value:.{SCORES[key].digits}f}", (0, 3), ha="center", fontsize=8.5)

    fact = paper_value(key, BASELINES, 1, "worst" if key == "pi" else "mean")
    if fact is not None and all(c.of_papers for c in configurations):
        text = f"paper, {'worst' if key == 'pi' else f'mean, {side}'}: {fact.value:g}"
        axis.axhline(fact.value, color=PAPER, lw=1.2, ls=":" if number else "--", label=text)


@styled
def draw_differences(table: Sequence[Comparison]) -> Figure:
    """Draw every comparison's difference with its interval: left of zero is better."""
    keys = list(dict.fromkeys(row.score for row in table))
    couples = list(dict.fromkeys((row.second.label, row.first.label) for row in table))
    rows = {couple: len(couples) - 1 - number for number, couple in enumerate(couples)}
    labels = [f"{_wrapped(second)}\nagainst {_wrapped(first)}" for second, first in couples]
    height = 1.4 + 0.21 * sum(label.count("\n") + 1 for label in labels)
    figure, axes = figure_row(len(keys), width=WIDTH, height=height, sharey=True)
    for axis, key in zip(axes, keys, strict=True):
        axis.set_title(_wrapped(SCORES[key].title.removesuffix(", %"), 18))
        axis.axvline(0, color=INK, lw=1)
        for row in (row for row in table if row.score == key):
            y, colour = rows[row.second.label, row.first.label], VERDICTS[row.verdict]
            if not isnan(row.low):
                axis.plot([row.low, row.high], [y, y], color=colour, lw=2.5, solid_capstyle="butt")
            axis.plot(row.difference, y, "o", color=colour, ms=7)
        axis.set_xlabel(f"difference, points\n← fewer {'answers change' if key == 'pi' else 'maps out'}")
        axis.grid(axis="x", alpha=0.25)
        axis.set_ylim(-0.7, len(couples) - 0.3)
    axes[0].set_yticks(list(rows.values()), labels, fontsize=8.5)

    # the verdicts that there are
    for verdict in (verdict for verdict in VERDICTS if any(row.verdict == verdict for row in table)):
        axes[-1].plot([], [], "o-", lw=2.5, color=VERDICTS[verdict], label=verdict)
    legend_below(figure, 4)
    return figure


def _wrapped(text: str, width: int = 40) -> str:
    """Return a text in lines, so that a figure has room beside it; long names without blanks are not broken."""
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def _shared_scores(configurations: Sequence[Configuration], quantifier: Callable[[Iterable[bool]], bool]) -> list[str]:
    """Return the robustness scores that ``any`` or ``all`` of them have."""
    return [key for key in ROBUSTNESS if quantifier(key in c.scores for c in configurations)]


def _colour(configurations: Sequence[Configuration], network: str) -> str:
    return nth_colour(list(dict.fromkeys(c.network for c in configurations)).index(network))


def _draw_bar(
    axis: Axes, x: float, value: float, mean: Mean | None, colour: str, width: float, label: str | None
) -> float:
    """Draw a bar with interval and seeds; return the height of all that."""
    axis.bar(x, value, width * 0.95, color=colour, label=label)
    if mean is None:
        return value
    axis.errorbar(x, value, yerr=error_bars(mean), color=INK, capsize=3, lw=1)
    axis.plot([x] * len(mean.values), mean.values, ".", color=INK, ms=4, alpha=0.6)
    return max(value, *mean.values, np.nan_to_num(mean.high))


def _write(axis: Axes, x: float, y: float, text: str, offset: tuple[float, float], **style: Any) -> None:
    axis.annotate(text, (x, y), offset, textcoords="offset points", **style)
