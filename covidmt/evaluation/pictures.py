"""The pictures of an evaluation: a network's worst pairs, right and wrong answers; the same pairs under several."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidmt.evaluation.plots.tasks import classifications
from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.pages.style import GREY, RED, WIDE, page_style, pixels, short_name
from datamodules.evaluation import EvaluationDataModule
from datamodules.pairs import PairDataset
from datamodules.sampler import Item
from experiments.batch import Pair
from experiments.schema import TaskKind
from explain.heat import heat_map, heat_region
from explain.picture import Side, cells_text, draw_pair, overlay
from metrics.controls import unpack
from metrics.paired import SIDES

WORST, COLUMNS = 6, 4  # pictures of a kind; pairs in the grid
TILE = 256  # pixels of an X-ray in the grid
SAMPLES = 6  # pictures in a row of the right and wrong answers
_LETTERS = 10  # of a picture's name that fit an inch, also capitals
_STYLE = {"axes.grid": False, "font.size": 9}


def worst_flips(run: RunEvaluation) -> list[int]:
    """Return rows of at most :data:`WORST` pairs whose decision changes, the largest change of the logit first."""
    table = run.table[run.table["flip"] == 1]
    change = (table["margin_original"] - table["margin_received"]).abs()
    return change.sort_values(ascending=False, kind="stable").index[:WORST].tolist()


def lowest_iol(run: RunEvaluation) -> list[int]:
    """Return rows of at most :data:`WORST` pairs with the lowest IOL of either side."""
    lowest = run.table[[f"iol_{side}" for side in SIDES]].min(axis=1).dropna()
    return lowest.sort_values(kind="stable").index[:WORST].tolist()


def grid_rows(runs: Sequence[RunEvaluation]) -> list[int]:
    """Return rows of at most :data:`COLUMNS` pairs, as many with the label as without.

    First those whose decision changes in most runs, then those whose logit moves most in the first run.
    """
    table = runs[0].table
    flips = np.sum([run.table["flip"] == 1 for run in runs], axis=0)
    change = (table["margin_original"] - table["margin_received"]).abs().fillna(-1).to_numpy()
    order = np.lexsort((-change, -flips))
    positive = [int(row) for row in order if table["label"].iloc[row] == 1]
    others = [int(row) for row in order if table["label"].iloc[row] != 1]
    half = COLUMNS // 2
    chosen = positive[: COLUMNS - min(half, len(others))] + others[: COLUMNS - min(half, len(positive))]
    return chosen[:COLUMNS]


def pair_picture(run: RunEvaluation, dataset: PairDataset, row: int) -> np.ndarray:
    """Return one pair as in training's overlays, (H, W, 3) uint8; see :func:`explain.picture.draw_pair`."""
    pair, answers = _pair(run, dataset, row), run.answers
    original, received = _sides(run, pair, row)
    return draw_pair(
        original,
        received,
        _lung(run, row),
        label=float(answers.labels[row]),
        caption=answers.ids[row],
        decision=answers.decision,
        settings=run.network.experiment.robustness,
    )


def draw_grid(evaluation: Evaluation, dataset: PairDataset, rows: Sequence[int]) -> np.ndarray:
    """Draw the same pairs under each run (COVIDMT paper, Figs 2 and 9): columns are images, rows X-ray and runs.

    Args:
        evaluation: What was found.
        dataset: The pairs.
        rows: Those that are drawn.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    runs = evaluation.runs
    lines, columns = 1 + len(runs), len(SIDES) * len(rows)
    with page_style({**_STYLE, "axes.titlesize": 9}):
        figure = Figure((1.45 * columns, 1.85 * lines + 0.4), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False)
        for place, row in enumerate(rows):
            pair = _pair(runs[0], dataset, row)
            _draw_column(axes[:, 2 * place : 2 * place + 2], runs, pair, row)

        names = ("X-ray", *(run.name for run in runs))
        for axis, name in zip(axes[:, 0], names, strict=True):
            axis.set_ylabel(textwrap.fill(short_name(name, 40), 20))
        return pixels(figure)


def grid_cells(evaluation: Evaluation) -> str:
    """Return how fine each run's maps are, in words."""
    maps = {run.name: run.answers.maps[run.answers.target]["original"] for run in evaluation.runs}
    texts = {name: cells_text((raw.shape[1], raw.shape[2])) for name, raw in maps.items()}
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{name}: {text}" for name, text in texts.items())


def _draw_column(axes: np.ndarray, runs: Sequence[RunEvaluation], pair: Pair, row: int) -> None:
    """Draw one pair: its X-rays in the first line, then a line for each run."""
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)

    # the X-rays
    for axis, name, image in zip(axes[0], SIDES, (pair.original, pair.received), strict=True):
        axis.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=255)
        axis.set_xlabel(name, color=GREY)
    label = {1.0: "positive", 0.0: "negative"}.get(float(pair.label), "unknown")
    axes[0, 0].set_title(f"{short_name(str(pair.id), 28)}\nlabel: {label}")

    # what each run made of them
    for line, run in zip(axes[1:], runs, strict=True):
        for axis, side in zip(line, _sides(run, pair, row), strict=True):
            _draw_tile(axis, run, side, _lung(run, row))


def _draw_tile(axis: Axes, run: RunEvaluation, side: Side, lung: np.ndarray) -> None:
    """Draw one image under one run: heat map, outlines, IOL, which is red under eta, and, below, the answer."""
    settings = run.network.experiment.robustness
    axis.imshow(overlay(side.image, side.heat, side.region, lung, (TILE, TILE)))
    answer = "no prediction"
    if not np.isnan(side.probability):
        answer = f"{'positive' if side.positive else 'negative'}, p {side.probability:.2f}"
    axis.set_xlabel(answer, fontsize=9)
    if not np.isnan(side.iol):
        colour = RED if side.iol < settings.eta else "black"
        text = f"IOL {side.iol:.2f}"
        back = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        axis.text(0.03, 0.03, text, transform=axis.transAxes, fontsize=9, color=colour, bbox=back)


def draw_samples(run: RunEvaluation, data: EvaluationDataModule) -> Figure | None:
    """Draw images of every cell of the deciding task's confusion matrix, with name, answer and its probability.

    Args:
        run: The network.
        data: Its data.

    Returns:
        Rows: labels; columns: answers. None: the task is not here, or its labels do not exclude each other.
    """
    task = run.network.experiment.tasks[run.network.experiment.robustness.task]
    classified = classifications(run.answers, task.name)
    if classified is None:
        return None
    logits = torch.from_numpy(run.answers.tasks[task.name].logits)
    p = (logits.softmax(dim=1) if task.kind is TaskKind.multiclass else logits.sigmoid()).numpy()
    rng, n = np.random.default_rng(data.experiment.data.split_seed), len(task.labels)
    each = max(1, SAMPLES // n)
    letters = int(_LETTERS * WIDE / (n * each))

    with page_style({**_STYLE, "axes.titlesize": 8.5}):
        figure = Figure((WIDE, n * (WIDE / (n * each) + 0.5)), layout="constrained")
        axes = figure.subplots(n, n * each, squeeze=False)
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)

        # drawn by chance within a cell
        for label, answer in np.ndindex(n, n):
            cell = classified.rows[(classified.truth == label) & (classified.answer == answer)]
            tiles = axes[label, answer * each :]
            for axis, row in zip(tiles, rng.permutation(cell)[:each], strict=False):
                _draw_sample(axis, data, task.name, int(row), letters)
                axis.set_xlabel(f"{short_name(task.labels[answer], letters - 8)}, p {p[row, answer]:.2f}")
                axis.xaxis.label.set_color("black" if answer == label else RED)
            if not len(cell):
                none = f"none called\n{short_name(task.labels[answer], letters)}"
                tiles[0].text(0.5, 0.5, none, ha="center", va="center", color=GREY)
        for axis, label in zip(axes[:, 0], task.labels, strict=True):
            axis.set_ylabel(f"label: {short_name(label, letters)}", fontsize=9)
    return figure


def _draw_sample(axis: Axes, data: EvaluationDataModule, task: str, row: int, letters: int) -> None:
    """Draw the row-th image of a task's split, with so much of its name as fits."""
    index = next(i for i, group in enumerate(data.groups) if task in group.targets)
    group = data.groups[index]
    item = Item(index, int(group.rows(data.split)[row]))
    axis.imshow(data.dataset[item].image, cmap="gray", vmin=0, vmax=255)
    axis.set_title(short_name(Path(os.fsdecode(group.images[item.row])).name, letters))


def _pair(run: RunEvaluation, dataset: PairDataset, row: int) -> Pair:
    return dataset[dataset.ids.index(run.answers.ids[row])]


def _lung(run: RunEvaluation, row: int) -> np.ndarray:
    return unpack(run.answers.lungs[row : row + 1], run.answers.size)[0].numpy()


def _sides(run: RunEvaluation, pair: Pair, row: int) -> tuple[Side, Side]:
    """Return original and received as this network saw them; the images may be of another network's size."""
    return _side(run, "original", pair.original, row), _side(run, "received", pair.received, row)


def _side(run: RunEvaluation, name: str, image: torch.Tensor, row: int) -> Side:
    answers = run.answers
    raw = torch.from_numpy(answers.maps[answers.target][name][row : row + 1])
    heat = heat_map(raw, (answers.size, answers.size))
    region = heat_region(heat, run.network.experiment.robustness.region_threshold)
    return Side(
        image=image[0].numpy(),
        heat=heat[0].numpy(),
        region=region[0].numpy(),
        probability=float(run.table[f"p_{name}"].iloc[row]),
        positive=run.table[f"positive_{name}"].iloc[row] == 1,
        iol=float(run.table[f"iol_{name}"].iloc[row]),
        cells=(raw.shape[1], raw.shape[2]),
    )
