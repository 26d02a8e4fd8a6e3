"""What differential privacy costs: scores over epsilon, beside the same network without privacy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from matplotlib.figure import Figure

from covidmt.comparison.configurations import SCORES, Configuration, Mean

_SHOWN = ("accuracy", "auroc", "pi", "ols_original")
_PRIVATE, _PLAIN = "#0072B2", "#6B7280"


def trade_off(found: Sequence[Configuration], split: str) -> Figure | None:
    """A panel a score: mean and Student's 95 % interval over seeds at each epsilon; None where none was spent.

    Args:
        found: The configurations; those that log no epsilon are drawn as lines, the price's zero.
        split: ``test`` or ``val``, which the scores are of.
    """
    spent = {id(c): _epsilon(c, split) for c in found}
    private = sorted((c for c in found if spent[id(c)]), key=lambda c: spent[id(c)])
    plain = [c for c in found if not spent[id(c)]]
    keys = [key for key in _SHOWN if any(key in c.scores for c in private)]
    if not private or not keys:
        return None
    figure = Figure((3.1 * len(keys), 3.2), layout="constrained")
    for axis, key in zip(figure.subplots(1, len(keys), squeeze=False)[0], keys, strict=True):
        for c in private:
            if (mean := c.scores.get(key)) is not None:
                x = spent[id(c)]
                axis.plot([x] * len(mean.values), mean.values, "o", color=_PRIVATE, alpha=0.35, ms=4)
                axis.errorbar(x, mean.value, yerr=_bars(mean), fmt="D", color=_PRIVATE, ms=6, capsize=3)
        for c in plain:
            if (mean := c.scores.get(key)) is not None:
                axis.axhline(mean.value, color=_PLAIN, lw=1.2)
                axis.axhspan(*((mean.low, mean.high) if mean.low == mean.low else (mean.value,) * 2), alpha=0.12,
                             color=_PLAIN)  # fmt: skip
        axis.set(title=SCORES[key].title, xlabel="epsilon spent (grey: without privacy)", xscale="log")
        axis.grid(alpha=0.25)
    return figure


def _epsilon(configuration: Configuration, split: str) -> float:
    """Mean over the seeds; 0 where a run was not private."""
    values = [trial.metrics.get(f"{split}/epsilon", 0.0) for trial in configuration.trials]
    return fmean(values) if all(values) else 0.0


def _bars(mean: Mean) -> list[list[float]] | None:
    return None if mean.low != mean.low else [[mean.value - mean.low], [mean.high - mean.value]]
