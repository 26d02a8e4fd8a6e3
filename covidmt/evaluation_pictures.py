"""The pictures of an evaluation: the worst pairs of a network, and the same pairs under several."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from callbacks.pair_picture import Side, draw, overlay
from covidmt.collect import SIDES
from covidmt.evaluation_plots import GREY, STYLE, short
from covidmt.evaluation_result import Evaluated
from datamodules.pairs import PairDataset
from experiments.batch import Pair
from metrics.controls import unpack
from metrics.saliency import heat_map, heat_region

WORST, COLUMNS = 6, 4  # pictures of a kind; pairs in the panel
TILE = 256  # pixels of an X-ray in the panel


def worst_flips(subject: Evaluated) -> list[int]:
    """Rows of at most :data:`WORST` pairs whose decision changes, the largest change of the logit first."""
    table = subject.table[subject.table["flip"] == 1]
    change = (table["margin_original"] - table["margin_received"]).abs()
    return change.sort_values(ascending=False, kind="stable").index[:WORST].tolist()


def lowest_iol(subject: Evaluated) -> list[int]:
    """Rows of at most :data:`WORST` pairs with the lowest IOL of either side."""
    lowest = subject.table[[f"iol_{side}" for side in SIDES]].min(axis=1).dropna()
    return lowest.sort_values(kind="stable").index[:WORST].tolist()


def panel_rows(subjects: Sequence[Evaluated]) -> list[int]:
    """Rows of at most :data:`COLUMNS` pairs, as many with the label as without.

    First those whose decision changes in most runs, then those whose logit moves most in the first run.
    """
    table = subjects[0].table
    flips = np.sum([subject.table["flip"] == 1 for subject in subjects], axis=0)
    change = (table["margin_original"] - table["margin_received"]).abs().fillna(-1).to_numpy()
    order = np.lexsort((-change, -flips))
    positive = [int(row) for row in order if table["label"].iloc[row] == 1]
    others = [int(row) for row in order if table["label"].iloc[row] != 1]
    half = COLUMNS // 2
    chosen = positive[: COLUMNS - min(half, len(others))] + others[: COLUMNS - min(half, len(positive))]
    return chosen[:COLUMNS]


def pair_picture(subject: Evaluated, dataset: PairDataset, row: int) -> np.ndarray:
    """One pair as in training's overlays, (H, W, 3) uint8; see :func:`callbacks.pair_picture.draw`."""
    pair, answers = _pair(subject, dataset, row), subject.answers
    lung, *sides = _sides(subject, pair, row)
    return draw(
        *sides,
        lung,
        label=float(answers.labels[row]),
        caption=answers.ids[row],
        decision=answers.decision,
        settings=subject.experiment.robustness,
    )


def draw_panel(subjects: Sequence[Evaluated], dataset: PairDataset, rows: Sequence[int]) -> np.ndarray:
    """The same pairs under each run (COVIDMT paper, Figs 2 and 9): columns are images, rows the X-ray and the runs.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    lines, columns = 1 + len(subjects), len(SIDES) * len(rows)
    with matplotlib.rc_context({**STYLE, "axes.grid": False, "font.size": 8, "axes.titlesize": 8}):
        figure = Figure((1.45 * columns, 1.72 * lines + 0.4), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False)
        for place, row in enumerate(rows):
            pair = _pair(subjects[0], dataset, row)
            for line, subject in enumerate((None, *subjects)):
                lung, *sides = _sides(subject or subjects[0], pair, row)
                for axis, side in zip(axes[line, 2 * place :], sides, strict=False):
                    _tile(axis, side, lung, subject)
            for axis, side in zip(axes[0, 2 * place :], SIDES, strict=False):
                axis.set_xlabel(side, color=GREY)
            label = {1.0: "positive", 0.0: "negative"}.get(float(pair.label), "unknown")
            axes[0, 2 * place].set_title(f"{short(str(pair.id), 28)}\nlabel: {label}")
        for axis, name in zip(axes[:, 0], ("X-ray", *(subject.name for subject in subjects)), strict=True):
            axis.set_ylabel(textwrap.fill(short(name, 40), 20))
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(130)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _tile(axis: Axes, side: Side, lung: np.ndarray, subject: Evaluated | None) -> None:
    """The X-ray, or what a network made of it."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    if subject is None:
        axis.imshow(side.image, cmap="gray", vmin=0, vmax=255)
        return
    axis.imshow(overlay(side.image, side.heat, side.region, lung, (TILE, TILE)))
    settings = subject.experiment.robustness
    out = "" if np.isnan(side.iol) else f", IOL {side.iol:.2f}"
    answer = f"{'positive' if side.probability >= settings.threshold else 'negative'}, p {side.probability:.2f}"
    axis.set_xlabel(("no prediction" if np.isnan(side.probability) else answer) + out, fontsize=7.5)
    if side.iol < settings.eta:
        axis.xaxis.label.set_color("#b00020")


def _pair(subject: Evaluated, dataset: PairDataset, row: int) -> Pair:
    return dataset[dataset.ids.index(subject.answers.ids[row])]


def _sides(subject: Evaluated, pair: Pair, row: int) -> tuple[np.ndarray, Side, Side]:
    """Lungs, original, received as this network saw them; the images may be of another network's size."""
    answers, settings, table = subject.answers, subject.experiment.robustness, subject.table
    lung = unpack(answers.lungs[row : row + 1], answers.size)[0].numpy()
    sides = []
    for side, image in zip(SIDES, (pair.original, pair.received), strict=True):
        heat = heat_map(torch.from_numpy(answers.maps[side][row : row + 1]), (answers.size, answers.size))
        region = heat_region(heat, settings.region_threshold)[0].numpy()
        numbers = (float(table[f"{name}_{side}"].iloc[row]) for name in ("p", "iol"))
        sides.append(Side(image[0].numpy(), heat[0].numpy(), region, *numbers))
    return lung, sides[0], sides[1]
