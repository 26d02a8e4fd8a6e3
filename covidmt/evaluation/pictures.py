"""The pictures of an evaluation: a network's worst pairs, right and wrong answers; the same pairs under several."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from covidmt.evaluation.plots import GREY, STYLE, WIDE, classifications, short
from covidmt.evaluation.result import Evaluated
from datamodules.evaluation import EvaluationDataModule
from datamodules.pairs import PairDataset
from datamodules.sampler import Item
from experiments.batch import Pair
from experiments.schema import TaskKind
from explain.heat import heat_map, heat_region
from explain.picture import Side, draw_pair, overlay
from metrics.controls import unpack
from metrics.paired import SIDES

WORST, COLUMNS = 6, 4  # pictures of a kind; pairs in the panel
TILE = 256  # pixels of an X-ray in the panel
SAMPLES = 6  # pictures in a row of the right and wrong answers


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
    """One pair as in training's overlays, (H, W, 3) uint8; see :func:`explain.picture.draw_pair`."""
    pair, answers = _pair(subject, dataset, row), subject.answers
    lung, *sides = _sides(subject, pair, row)
    return draw_pair(
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
        return pixels(figure)


def draw_samples(subject: Evaluated, data: EvaluationDataModule) -> Figure | None:
    """Images of every cell of the deciding task's confusion matrix, with name, answer and its probability.

    Args:
        subject: The network.
        data: Its data.

    Returns:
        Rows: labels; columns: answers. None: the task is not here, or its labels do not exclude each other.
    """
    classified = classifications(subject)
    if classified is None:
        return None
    rows, truth, said = classified
    task = subject.experiment.tasks[subject.experiment.robustness.task]
    logits = torch.from_numpy(subject.answers.tasks[task.name].logits)
    p = (logits.softmax(dim=1) if task.kind is TaskKind.multiclass else logits.sigmoid()).numpy()
    place = next(i for i, group in enumerate(data.groups) if task.name in group.targets)
    paths, drawn = data.groups[place].images, data.groups[place].rows(data.split)
    rng, n = np.random.default_rng(data.experiment.data.split_seed), len(task.labels)
    each = max(1, SAMPLES // n)
    with matplotlib.rc_context({**STYLE, "axes.grid": False, "font.size": 8, "axes.titlesize": 7}):
        figure = Figure((WIDE, n * (WIDE / (n * each) + 0.5)), layout="constrained")
        axes = figure.subplots(n, n * each, squeeze=False)
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for label, answer in np.ndindex(n, n):
            cell, tiles = rows[(truth == label) & (said == answer)], axes[label, answer * each :]
            for axis, row in zip(tiles, rng.permutation(cell)[:each], strict=False):
                item = Item(place, int(drawn[row]))
                axis.imshow(data.dataset[item].image, cmap="gray", vmin=0, vmax=255)
                axis.set_title(short(Path(os.fsdecode(paths[item.row])).name, 24))
                axis.set_xlabel(f"{task.labels[answer]}, p {p[row, answer]:.2f}")
                axis.xaxis.label.set_color("black" if answer == label else "#b00020")
            if not len(cell):
                tiles[0].text(0.5, 0.5, f"none called\n{task.labels[answer]}", ha="center", va="center", color=GREY)
        for axis, label in zip(axes[:, 0], task.labels, strict=True):
            axis.set_ylabel(f"label: {label}", fontsize=9)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """The figure as (height, width, 3) uint8 RGB."""
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
