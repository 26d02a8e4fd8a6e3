"""How figures look: the palette, matplotlib's style, the marks that several figures have, and legends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from math import isfinite, nan
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metrics.intervals import Estimate
from metrics.paired import SIDES

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SIDE_COLOURS = dict(zip(SIDES, COLOURS, strict=False))
INK, GREY, PALE = "#111827", "#6b7280", "#9AA5B1"
RED, GREEN, AMBER = "#B00020", "#1B7F4B", "#B7791F"
LINES = ("-", "--", ":")
SMALL, WIDE = (5.4, 3.6), 10.8  # inches: half and full width of a page
COMPARED = 4  # runs in plots that would be crowded with more
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "covidmt",  # the same figure gives the same file
}


class Plot(NamedTuple):
    """A figure with what a reader needs.

    Attributes:
        figure: The figure.
        title: What it shows.
        caption: How to read it.
        wide: It takes the page's whole width.
    """

    figure: Figure
    title: str
    caption: str
    wide: bool = False


def page_style(changes: Mapping[Any, object] | None = None) -> AbstractContextManager[None]:
    """Return a context in which figures are drawn and saved in the pages' style.

    Args:
        changes: Settings of matplotlib (``rcParams``) that differ from the pages' style.

    Example:
        >>> before = matplotlib.rcParams["axes.grid"]
        >>> with page_style({"font.size": 12}):
        ...     matplotlib.rcParams["axes.grid"], matplotlib.rcParams["font.size"]
        (True, 12.0)
        >>> matplotlib.rcParams["axes.grid"] == before
        True
    """
    return matplotlib.rc_context({**_STYLE, **(changes or {})})


def new_figure(size: tuple[float, float] = SMALL) -> tuple[Figure, Axes]:
    """Return a figure of a size in inches, and its only axes."""
    figure = Figure(size, layout="constrained")
    return figure, figure.subplots()


def figure_row(count: int, *, width: float, height: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches, and its axes, which stand side by side."""
    figure = Figure((width, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False, sharey=sharey)[0])


def nth_colour(index: int) -> str:
    """Return the colour of the index-th run or network; after the last one they begin anew."""
    return COLOURS[index % len(COLOURS)]


def nth_line(index: int) -> str:
    """Return the line of the index-th run: it changes where the colours begin anew."""
    return LINES[index // len(COLOURS) % len(LINES)]


def is_drawable(score: Estimate | None) -> bool:
    """Return whether there is a value to draw."""
    return score is not None and isfinite(score.value)


def offset(index: int, count: int) -> float:
    """Return where in a row of height 1 the index-th of several marks stands, from its middle.

    Example:
        >>> [round(offset(index, 3), 1) for index in range(3)]
        [-0.2, 0.0, 0.2]
    """
    return 0.6 * ((index + 0.5) / count - 0.5)


def draw_dot(axis: Axes, score: Estimate | None, y: float, colour: str) -> None:
    """Draw a score as a dot with its interval as a bar, at height y; nothing where it is undefined."""
    if score is not None and is_drawable(score):
        axis.plot([score.low, score.high], [y, y], color=colour, lw=1.8, solid_capstyle="butt")
        axis.plot(score.value, y, "o", color=colour, ms=5.5)


def name_rows(axis: Axes, names: Sequence[str], xlabel: str, *, flip: bool = True) -> None:
    """Name the rows of a plot of dots, the first on top.

    Args:
        axis: Whose rows 0, 1, ... are named.
        names: Their names.
        xlabel: What the dots measure; its scale begins at 0 or below.
        flip: Put the first row on top; axes that share their rows flip once.
    """
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel(xlabel)
    axis.grid(visible=False, axis="y")
    if flip:
        axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(left=min(0, axis.get_xlim()[0]))


def draw_band(
    axis: Axes,
    x: Sequence[float],
    points: Sequence[Estimate | None],
    index: int,
    *,
    band: bool = True,
    label: str | None = None,
) -> None:
    """Draw the index-th run's scores as a line, with their intervals as a band.

    Args:
        axis: Where.
        x: A place for each score.
        points: The scores; there is a gap where one is missing.
        index: Of the run, which sets colour and line.
        band: Draw the intervals: the bands of many lines would hide each other.
        label: Of the line, for a legend.
    """
    known = [point or Estimate(nan, nan, nan) for point in points]
    axis.plot(x, [point.value for point in known], nth_line(index), marker=".", color=nth_colour(index), label=label)
    if band:
        low, high = [point.low for point in known], [point.high for point in known]
        axis.fill_between(x, low, high, color=nth_colour(index), alpha=0.15, lw=0)


def legend_below(figure: Figure, columns: int, handles: Iterable[Artist] | None = None) -> None:
    """Put a legend below a figure's axes.

    Args:
        figure: The figure.
        columns: Columns of the legend.
        handles: What stands in it, by its label; None: everything in the axes that has one, each label once.
    """
    if handles is None:
        labelled = [zip(*axis.get_legend_handles_labels(), strict=True) for axis in figure.axes]
        handles = {label: handle for pairs in labelled for handle, label in pairs}.values()
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)


def run_legend(figure: Figure, names: Sequence[str]) -> None:
    """Name the runs below a figure that shows more than one."""
    if len(names) < 2:
        return
    axis = figure.axes[0]
    handles = [
        axis.plot([], [], nth_line(index), marker="o", ms=5, color=nth_colour(index), label=short_name(name))[0]
        for index, name in enumerate(names)
    ]
    legend_below(figure, 2 if figure.get_figwidth() < WIDE else 4, handles)


def side_legend(figure: Figure) -> None:
    """Name the colours of originals and received images below a figure."""
    axis = figure.axes[0]
    handles = [axis.plot([], [], "o-", ms=5, color=ink, label=side)[0] for side, ink in SIDE_COLOURS.items()]
    legend_below(figure, 2, handles)


def short_name(name: str, length: int = 34) -> str:
    """Return a name that is too long without its middle.

    Example:
        >>> short_name("covidmt_resnet50_all_tasks", 10)
        'covid…asks'
    """
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-(length // 2 - 1) :]}"


def pixels(figure: Figure) -> np.ndarray:
    """Return the figure as (height, width, 3) uint8 RGB."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(130)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
