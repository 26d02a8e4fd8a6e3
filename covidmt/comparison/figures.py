"""The report's figures, as matplotlib draws them without a screen; every one states its intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isnan
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidmt.comparison.comparisons import Comparison
from covidmt.comparison.configurations import ROBUSTNESS, SCORES, Configuration, Mean, main_line
from covidmt.comparison.paper import BASELINES, paper_value

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
BASE, COVIDMT, ORIGINAL, RECEIVED, PAPER = "#9AA5B1", "#0072B2", "#56B4E9", "#0072B2", "#B00020"
VERDICTS = {"clear": "#1B7F4B", "likely": "#B7791F", "not shown": "#6B7280", "unknown": "#6B7280"}

# matplotlib's settings with which a report's figures are drawn and saved
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "covidmt",  # the same figure gives the same file
}


def overview(found: Sequence[Configuration]) -> Figure:
    """PI and both OLS of every configuration, a row each."""
    keys = _known(found, any)
    figure, axes = _panels(len(keys), width=10.5, height=1.1 + 0.34 * len(found), sharey=True)
    rows = np.arange(len(found))[::-1]
    for axis, key in zip(axes, keys, strict=True):
        axis.set_title(SCORES[key].title)
        for row, configuration in zip(rows, found, strict=True):
            if (mean := configuration.scores.get(key)) is not None:
                colour = _colour(found, configuration.network)
                axis.plot(mean.values, [row] * len(mean.values), "o", color=colour, alpha=0.35, ms=4)
                axis.errorbar(mean.value, row, xerr=_error(mean), fmt="D", color=colour, ms=6, capsize=3)
        axis.set_xlim(left=0)
        axis.grid(axis="x", alpha=0.25)
        axis.set_ylim(-0.7, len(found) - 0.3)
    axes[0].set_yticks(rows, [configuration.label for configuration in found])
    return figure


def task_count(found: Sequence[Configuration]) -> Figure | None:
    """PI and OLS against the number of tasks, one line per base network (paper: Fig 8); None: nothing to draw."""
    networks = list(dict.fromkeys(c.network for c in found))
    lines = {network: main_line(found, network) for network in networks}
    lines = {network: line for network, line in lines.items() if len({len(c.tasks) for c in line}) > 1}
    if not lines:
        return None
    keys = _known(found, any)
    figure, axes = _panels(len(keys), width=10.5, height=3.9)
    for axis, key in zip(axes, keys, strict=True):
        axis.set_title(SCORES[key].title)
        for number, (network, line) in enumerate(lines.items()):
            colour = _colour(found, network)
            shift = 0.06 * (number - (len(lines) - 1) / 2)
            others = [c for c in found if c.network == network and c not in line and key in c.scores]
            for chosen, style in ((line, "o-"), *(([other], "s") for other in others)):
                drawn = [(len(c.tasks) + shift, c.scores[key]) for c in chosen if key in c.scores]
                if not drawn:
                    continue
                means = [mean.value for _, mean in drawn]
                errors = np.array([_error(mean) for _, mean in drawn])[:, :, 0].T
                axis.errorbar(
                    [x for x, _ in drawn],
                    means,
                    yerr=errors,
                    fmt=style,
                    color=colour,
                    mfc=colour if chosen is line else "white",
                    capsize=3,
                    lw=1.8,
                    elinewidth=1,
                    label=network if chosen is line else chosen[0].label,
                )
                for x, mean in drawn:
                    axis.plot([x] * len(mean.values), mean.values, ".", color=colour, alpha=0.4, ms=5)
            _paper_stars(axis, key, [network], shift, colour)
        if len(lines) > 1:
            _paper_stars(axis, key, list(lines), 0, "white")
        axis.set_xlabel("number of tasks")
        axis.set_xticks(sorted({len(c.tasks) for line in lines.values() for c in line}))
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", alpha=0.25)
    named = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    short = max(map(len, named)) < 30
    figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=3 if short else 1)
    return figure


def _paper_stars(axis: Axes, key: str, networks: list[str], shift: float, fill: str) -> None:
    """The paper's values of 1 and 6 tasks, where its text has them."""
    facts = {count: paper_value(key, networks, count) for count in (1, 6)}
    label = "paper's text" if len(networks) == 1 else f"paper's text, mean of {' and '.join(networks)}"
    for count, fact in facts.items():
        if fact is not None:
            axis.plot(count + shift, fact.value, "*", color=fill, mec=PAPER, ms=12, zorder=3, label=label)


def alike(couples: Sequence[tuple[Configuration, Configuration]]) -> list[list[tuple[Configuration, Configuration]]]:
    """The couples whose mean can be shown, as a list of one: several, all of the same numbers of tasks; else none."""
    counts = {(len(base.tasks), len(many.tasks)) for base, many in couples}
    return [list(couples)] if len(couples) > 1 and len(counts) == 1 else []


def base_and_covidmt(couples: Sequence[tuple[Configuration, Configuration]]) -> Figure:
    """Base network alone against most tasks: PI (paper: Fig 6) and OLS (Fig 7), with the paper's values of its text."""
    keys = _known([c for couple in couples for c in couple], all)
    figure, axes = _panels(len(keys), width=10.5, height=3.9)
    groups = [(couple[0].network, [couple]) for couple in couples] + [("mean", mean) for mean in alike(couples)]
    counts = " or ".join(str(count) for count in sorted({len(many.tasks) for _, many in couples}))
    for axis, key in zip(axes, keys, strict=True):
        axis.set_title(SCORES[key].title)
        for side, colour in enumerate((BASE, COVIDMT)):
            for x, (_, members) in enumerate(groups):
                means = [couple[side].scores[key] for couple in members]
                place = x + 0.4 * (side - 0.5)
                mean = means[0] if len(means) == 1 else None
                value = mean.value if mean else fmean(m.value for m in means)
                label = ("1 task (base network)", f"{counts} tasks (COVIDMT)")[side] if x == 0 else None
                fact = paper_value(key, [base.network for base, _ in members], len(members[0][side].tasks))
                top = _bar(axis, place, value, mean, colour, 0.38, label)
                _number(axis, place, max(top, fact.value if fact else 0), f"{value:.{SCORES[key].digits}f}")
                if fact:
                    _paper(axis, place, fact.value, 0.19)
        axis.set_xticks(range(len(groups)), [name for name, _ in groups])
        axis.margins(y=0.12)
        axis.set_ylim(bottom=0)
    _legend(figure, axes)
    return figure


def baselines(found: Sequence[Configuration]) -> Figure:
    """The single-task base networks: PI (paper: Table 2) and OLS on both sides (Fig 4)."""
    keys = _known(found, all)
    parts = [[key for key in keys if key == "pi"], [key for key in keys if key != "pi"]]
    parts = [part for part in parts if part]
    figure, axes = _panels(len(parts), width=10.5, height=3.9)
    for axis, part in zip(axes, parts, strict=True):
        axis.set_title("OLS score, %" if len(part) > 1 else SCORES[part[0]].title)
        for number, key in enumerate(part):
            width = 0.8 / len(part)
            colour = {"pi": BASE, "ols_original": ORIGINAL, "ols_received": RECEIVED}[key]
            label = {"pi": None, "ols_original": "original", "ols_received": "received"}[key]
            for x, configuration in enumerate(found):
                mean = configuration.scores[key]
                place = x + width * (number - (len(part) - 1) / 2)
                top = _bar(axis, place, mean.value, mean, colour, width, label if x == 0 else None)
                _number(axis, place, top, f"{mean.value:.{SCORES[key].digits}f}")
            statistic = "worst" if key == "pi" else "mean"
            if fact := paper_value(key, BASELINES, 1, statistic):
                text = f"paper, {'worst' if key == 'pi' else 'mean, ' + str(label)}: {fact.value:g}"
                axis.axhline(fact.value, color=PAPER, lw=1.2, ls=":" if number else "--", label=text)
        axis.set_xticks(range(len(found)), [c.label.removesuffix(", 1 task") for c in found])
        if len(found) > 3:
            axis.tick_params(axis="x", rotation=20)
        axis.margins(y=0.12)
        axis.set_ylim(bottom=0)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14 if len(found) <= 3 else -0.24), ncols=2, fontsize=9)
    return figure


def differences(table: Sequence[Comparison]) -> Figure:
    """Every comparison's difference with its interval: left of zero is better."""
    keys = list(dict.fromkeys(row.score for row in table))
    couples = list(dict.fromkeys((row.second.label, row.first.label) for row in table))
    figure, axes = _panels(len(keys), width=10.5, height=1.3 + 0.42 * len(couples), sharey=True)
    rows = {couple: len(couples) - 1 - number for number, couple in enumerate(couples)}
    for axis, key in zip(axes, keys, strict=True):
        axis.set_title(SCORES[key].title.removesuffix(", %"))
        axis.axvline(0, color="#374151", lw=1)
        for row in (row for row in table if row.score == key):
            y, colour = rows[row.second.label, row.first.label], VERDICTS[row.verdict]
            if not isnan(row.low):
                axis.plot([row.low, row.high], [y, y], color=colour, lw=2.5, solid_capstyle="butt")
            axis.plot(row.difference, y, "o", color=colour, ms=7)
        left, right = ("more stable", "less stable") if key == "pi" else ("inside the lungs", "outside")
        axis.set_xlabel(f"difference, points\n← {left}       {right} →")
        axis.grid(axis="x", alpha=0.25)
        axis.set_ylim(-0.7, len(couples) - 0.3)
    axes[0].set_yticks(list(rows.values()), [f"{second}\nagainst {first}" for second, first in couples], fontsize=8.5)
    for verdict in (verdict for verdict in VERDICTS if any(row.verdict == verdict for row in table)):
        axes[-1].plot([], [], "o-", lw=2.5, color=VERDICTS[verdict], label=verdict)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _panels(number: int, *, width: float, height: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, number, squeeze=False, sharey=sharey)[0])


def _known(found: Sequence[Configuration], quantifier: Callable[[Iterable[bool]], bool]) -> list[str]:
    """The robustness scores that ``any`` or ``all`` of them have."""
    return [key for key in ROBUSTNESS if quantifier(key in c.scores for c in found)]


def _colour(found: Sequence[Configuration], network: str) -> str:
    return COLOURS[list(dict.fromkeys(c.network for c in found)).index(network) % len(COLOURS)]


def _error(mean: Mean) -> np.ndarray:
    """(2, 1) lengths to both ends; 0 where a single seed has no interval."""
    return np.nan_to_num([[mean.value - mean.low], [mean.high - mean.value]])


def _bar(axis: Axes, x: float, value: float, mean: Mean | None, colour: str, width: float, label: str | None) -> float:
    """Draws a bar with interval and seeds; returns the height of all that."""
    axis.bar(x, value, width * 0.95, color=colour, label=label)
    if mean is None:
        return value
    axis.errorbar(x, value, yerr=_error(mean), color="#111827", capsize=3, lw=1)
    axis.plot([x] * len(mean.values), mean.values, ".", color="#111827", ms=4, alpha=0.6)
    return max(value, *mean.values, np.nan_to_num(mean.high))


def _number(axis: Axes, x: float, y: float, text: str) -> None:
    axis.annotate(text, (x, y), (0, 3), textcoords="offset points", ha="center", fontsize=8.5)


def _paper(axis: Axes, x: float, value: float, half: float) -> None:
    axis.plot([x - half, x + half], [value, value], color=PAPER, lw=2)
    axis.annotate(
        f"{value:g}", (x + half, value), (1, 0), textcoords="offset points", color=PAPER, fontsize=8, va="center"
    )


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].plot([], [], color=PAPER, lw=2)
    if any(line.get_color() == PAPER for axis in axes for line in axis.lines):
        handles, labels = [*handles, axes[0].lines[-1]], [*labels, "paper, where its text gives a value"]
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
