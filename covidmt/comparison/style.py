"""What the report's figures have beyond the pages' style: the meaning of colours, larger letters, error bars."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

from covidmt.comparison.configurations import Mean
from covidmt.pages.style import AMBER, COLOURS, GREEN, GREY, INK, PALE, RED, page_style

BASE, COVIDMT, ORIGINAL, RECEIVED, PAPER = PALE, COLOURS[0], COLOURS[5], COLOURS[0], RED
VERDICTS = {"clear": GREEN, "likely": AMBER, "these trainings only": INK, "not shown": GREY, "unknown": GREY}
WIDTH = 10.5  # inches

STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.grid": False,  # each figure draws the lines that it needs
    "legend.fontsize": 10,
}

P = ParamSpec("P")
T = TypeVar("T")


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw in the report's style, whatever the user's own is, and leave that as it was."""

    @wraps(draw)
    def drawing(*args: P.args, **kwargs: P.kwargs) -> T:
        with page_style(STYLE):
            return draw(*args, **kwargs)

    return drawing


def error_bars(mean: Mean) -> np.ndarray:
    """Return (2, 1) lengths from the mean to both ends; 0 where there is no interval."""
    return np.nan_to_num([[mean.value - mean.low], [mean.high - mean.value]])
