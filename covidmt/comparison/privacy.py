"""What differential privacy costs: scores over epsilon, beside the same network without privacy."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidmt.comparison.configurations import SCORES, Configuration
from covidmt.comparison.style import COVIDMT, error_bars, styled
from covidmt.pages.style import GREY, figure_row

_SHOWN = ("accuracy", "auroc", "pi", "ols_original")


@styled
def draw_trade_off(configurations: Sequence[Configuration], split: str) -> Figure | None:
    """Draw axes a score: mean and Student's 95 % interval over seeds at each epsilon; None where none was spent.

    Args:
        configurations: Those that log no epsilon are drawn as lines, the price's zero.
        split: ``test`` or ``val``, which the scores are of.
    """
    private = [c for c in configurations if mean_epsilon(c, split)]
    private.sort(key=lambda c: mean_epsilon(c, split))
    plain = [c for c in configurations if not mean_epsilon(c, split)]
    keys = [key for key in _SHOWN if any(key in c.scores for c in private)]
    if not keys:
        return None

    figure, axes = figure_row(len(keys), width=3.1 * len(keys), height=3.2)
    for axis, key in zip(axes, keys, strict=True):
        for c in private:
            if key in c.scores:
                _draw_private(axis, mean_epsilon(c, split), c, key)
        for c in plain:
            if key in c.scores:
                _draw_plain(axis, c, key)
        axis.set(title=SCORES[key].title, xlabel="epsilon spent (grey: without privacy)", xscale="log")
        axis.grid(alpha=0.25)
    return figure


def _draw_private(axis: Axes, epsilon: float, configuration: Configuration, key: str) -> None:
    mean = configuration.scores[key]
    bars = None if isnan(mean.low) else error_bars(mean)
    axis.plot([epsilon] * len(mean.values), mean.values, "o", color=COVIDMT, alpha=0.35, ms=4)
    axis.errorbar(epsilon, mean.value, yerr=bars, fmt="D", color=COVIDMT, ms=6, capsize=3)


def _draw_plain(axis: Axes, configuration: Configuration, key: str) -> None:
    mean = configuration.scores[key]
    low, high = (mean.value, mean.value) if isnan(mean.low) else (mean.low, mean.high)
    axis.axhline(mean.value, color=GREY, lw=1.2)
    axis.axhspan(low, high, alpha=0.12, color=GREY)


def mean_epsilon(configuration: Configuration, split: str) -> float:
    """Return the epsilon spent, mean over the seeds; 0 where a run was not private."""
    values = [run.metrics.get(f"{split}/epsilon", 0.0) for run in configuration.runs]
    return fmean(values) if all(values) else 0.0
