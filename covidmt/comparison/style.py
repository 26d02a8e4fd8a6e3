"""How the report's figures look: colours, the style that they are drawn in, a row of axes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidmt.comparison.configurations import Mean

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
BASE, COVIDMT, ORIGINAL, RECEIVED, PAPER = "#9AA5B1", "#0072B2", "#56B4E9", "#0072B2", "#B00020"
INK, GREY = "#111827", "#6B7280"
VERDICTS = {"clear": "#1B7F4B", "likely": "#B7791F", "not shown": GREY, "unknown": GREY}

STYLE: Any = {
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

P = ParamSpec("P")
T = TypeVar("T")


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw in the report's style, whatever the user's own is, and leave that as it was."""

    @wraps(draw)
    def drawing(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawing


def figure_row(count: int, *, height: float, width: float = 10.5, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many axes side by side; inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False, sharey=sharey)[0])


def error_bars(mean: Mean) -> np.ndarray:
    """Return (2, 1) lengths from the mean to both ends; 0 where a single seed has no interval."""
    return np.nan_to_num([[mean.value - mean.low], [mean.high - mean.value]])
