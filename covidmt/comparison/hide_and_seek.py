"""ROI Hide-and-Seek (paper 001, Tables 3 to 7): accuracy, sensitivity, PPV of every representation beside theirs."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covidmt.comparison.configurations import Configuration
from covidmt.comparison.style import BASE, COVIDMT, PAPER, styled
from covidmt.pages.numbers import DASH, estimate
from covidmt.pages.style import INK, figure_row
from covidmt.tracking.identity import CONTENT
from experiments.schema import View
from metrics.intervals import t_interval, wilson

# Its test set: 300 images, 100 of each class; its best epoch was chosen on them.
PAPER_IMAGES, PAPER_CLASS = 300, 100
VIEWS = [view.value for view in View]
_NETWORKS = {
    "AlexNet": ["alexnet"],
    "VGG-11": ["vgg11"],
    "ResNet-50": ["resnet50"],
    "COVID-Net": ["covidnet_cxr3_a", "covidnet_cxr4_a"],
}
_CLASSES = {"normal": "normal", "pneumonia": "pneumonia", "COVID-19": "covid"}


@dataclass(frozen=True)
class Share:
    """A share of images, percent.

    Attributes:
        value: Mean over seeds; of the paper its single training.
        low: Wilson's 95 % interval at that share of the images of one test set; NaN where their number is not known.
        high: Its upper end.
    """

    value: float
    low: float = nan
    high: float = nan


class AccuracyChange(NamedTuple):
    """Accuracy minus that on the original of the same seeds, points: mean and Student's 95 % interval (or NaN)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RepresentationRow:
    """One network on one representation, in training and test alike.

    Attributes:
        network: Its name; with its first task, where these differ.
        view: The representation.
        seeds: Number of trainings.
        images: Of the test set: one training's.
        scores: ``accuracy``, ``sensitivity/<label>``, ``ppv/<label>``.
        paper: The paper's, a dictionary each of its networks that stand for this one.
        change: Against the original; None: this is the original, or there is none.
    """

    network: str
    view: str
    seeds: int
    images: float
    scores: dict[str, Share]
    paper: dict[str, dict[str, Share]]
    change: AccuracyChange | None


def hide_and_seek_rows(configurations: Sequence[Configuration], split: str) -> list[RepresentationRow]:
    """Return the rows by network, in the paper's order of representations; empty where only one is there.

    Args:
        configurations: Those whose runs all logged their confusions take part.
        split: ``test`` or ``val``.
    """
    matrices = {id(c): [_confusions(run.metrics, split, c.tasks[0]) for run in c.runs] for c in configurations}
    measured = [c for c in configurations if all(matrix is not None for matrix in matrices[id(c)])]
    if len({_view(c) for c in measured}) < 2:
        return []

    several = len({c.tasks[0] for c in measured}) > 1
    originals = {(c.network, _other_settings(c)): c for c in measured if _view(c) == "original"}
    rows = []
    for c in measured:
        own = [matrix for matrix in matrices[id(c)] if matrix is not None]
        change = _change(c, originals.get((c.network, _other_settings(c))), split)
        rows.append(
            RepresentationRow(
                network=f"{c.network}, task {c.tasks[0]}" if several else c.network,
                view=_view(c),
                seeds=len(c.runs),
                images=fmean(float(matrix.to_numpy().sum()) for matrix in own),
                scores=_scores(own),
                paper={name: _paper_scores(name, _view(c)) for name in _papers_networks(c)},
                change=change,
            )
        )
    return sorted(rows, key=lambda row: (row.network.casefold(), VIEWS.index(row.view)))


def _papers_networks(configuration: Configuration) -> list[str]:
    """Return the paper's networks that stand for this one; none where data or classes are not the paper's."""
    task = configuration.tasks[0]
    settings = configuration.settings
    kind = settings.get(f"data.sources.{settings.get(f'tasks.{task}.source')}.kind")
    classes = set(json.loads(settings.get(f"tasks.{task}.labels", "[]")))
    return _NETWORKS.get(configuration.network, []) if kind == "covidx" and classes == _CLASSES.keys() else []


def _view(configuration: Configuration) -> str:
    return configuration.settings.get("data.view", "original")


def _other_settings(configuration: Configuration) -> frozenset[tuple[str, str]]:
    """All but the view, and the content of the data: a view leaves out the images in which no lung is found."""
    settings = configuration.settings.items()
    return frozenset((key, value) for key, value in settings if key != "data.view" and not key.endswith(CONTENT))


def _confusions(metrics: Mapping[str, float], split: str, task: str) -> pd.DataFrame | None:
    """Return the numbers of images, a row a label, a column an answer; None: not logged."""
    prefix = f"{split}/{task}/confusion/"
    cells = {tuple(key.removeprefix(prefix).split("/")): n for key, n in metrics.items() if key.startswith(prefix)}
    if not cells or any(len(cell) != 2 for cell in cells):  # a label with a slash cannot be told
        return None
    labels = list(dict.fromkeys(label for label, _ in cells))
    order = [label for label in _CLASSES if label in labels] + [label for label in labels if label not in _CLASSES]
    return pd.DataFrame([[cells[a, b] for b in order] for a in order], index=order, columns=order)


def _scores(matrices: Sequence[pd.DataFrame]) -> dict[str, Share]:
    """Return accuracy, sensitivity and PPV over the trainings' confusions."""
    parts: dict[str, list[tuple[float, float]]] = defaultdict(list)  # score -> hits and images of each training
    for matrix in matrices:
        hits = np.diag(matrix)
        parts["accuracy"].append((hits.sum(), matrix.to_numpy().sum()))
        for name, totals in {"sensitivity": matrix.sum(axis=1), "ppv": matrix.sum(axis=0)}.items():
            for label, hit in zip(matrix.index, hits, strict=True):
                parts[f"{name}/{label}"].append((hit, totals[label]))
    return {key: _mean_share(part) for key, part in parts.items()}


def _mean_share(parts: Sequence[tuple[float, float]]) -> Share:
    defined = [(hits, images) for hits, images in parts if images]
    if not defined:
        return Share(nan)
    share = fmean(hits / images for hits, images in defined)
    return _share_of(share, fmean(images for _, images in defined))


def _share_of(share: float, images: float) -> Share:
    low, high = wilson(share * images, images)
    return Share(100 * share, 100 * low, 100 * high)


def _change(c: Configuration, original: Configuration | None, split: str) -> AccuracyChange | None:
    if original is None or original is c:
        return None
    key = f"{split}/{c.tasks[0]}/accuracy"
    base = {run.seed: run.metrics[key] for run in original.runs}
    changes = [100 * (run.metrics[key] - base[run.seed]) for run in c.runs if run.seed in base]
    return AccuracyChange(fmean(changes), *t_interval(changes)) if changes else None


def _paper_scores(network: str, view: str) -> dict[str, Share]:
    """Return the paper's figures; its PPV without an interval, for the numbers of answers are not given."""
    row = next(row for row in _paper_table() if (row["architecture"], row["representation"]) == (network, view))
    scores = {"accuracy": _share_of(float(row["accuracy"]), PAPER_IMAGES)}
    for label, name in _CLASSES.items():
        scores[f"sensitivity/{label}"] = _share_of(float(row[f"sensitivity_{name}"]), PAPER_CLASS)
        scores[f"ppv/{label}"] = Share(100 * float(row[f"ppv_{name}"]))
    return scores


@cache
def _paper_table() -> list[dict[str, str]]:
    with open(Path(__file__).parents[1] / "reference" / "hide_and_seek.csv", newline="") as file:
        return list(csv.DictReader(file))


def hide_and_seek_table(rows: Sequence[RepresentationRow]) -> list[dict[str, object]]:
    """Return all figures, a row each, ours and the paper's; percent."""
    return [
        {
            "network": row.network, "view": row.view, "score": key, "of": name, "images": images, "seeds": seeds,
            "value": share.value, "low": share.low, "high": share.high,
        }
        for row in rows
        for name, images, seeds, scores in (
            ("ours", row.images, row.seeds, row.scores),
            *((f"paper, {name}", PAPER_IMAGES, 1, scores) for name, scores in row.paper.items()),
        )
        for key, share in scores.items()
    ]  # fmt: skip


@styled
def draw_hide_and_seek(rows: Sequence[RepresentationRow]) -> Figure:
    """Draw accuracy by representation, axes a network: ours with its interval, the paper's in red."""
    networks = list(dict.fromkeys(row.network for row in rows))
    figure, axes = figure_row(len(networks), width=max(7.0, 3.4 * len(networks)), height=3.9, sharey=True)
    for axis, network in zip(axes, networks, strict=True):
        axis.set_title(network)
        for row in (row for row in rows if row.network == network):
            place, share = VIEWS.index(row.view), row.scores["accuracy"]
            error = np.array([[share.value - share.low], [share.high - share.value]])
            axis.bar(place, share.value, 0.7, color=BASE if row.view == "original" else COVIDMT)
            axis.errorbar(place, share.value, yerr=error, color=INK, capsize=3, lw=1)
            axis.annotate(f"{share.value:.0f}", (place, 2), ha="center", color="white", fontsize=9)
            for paper in row.paper.values():
                axis.plot([place - 0.35, place + 0.35], [paper["accuracy"].value] * 2, color=PAPER, lw=2)
        axis.set_xticks(range(len(VIEWS)), [view.replace("_", " ") for view in VIEWS], rotation=30, ha="right")
        axis.set_ylim(0, 100)
        axis.grid(axis="y", alpha=0.25)
    axes[0].set_ylabel("accuracy, %")
    return figure


def share_text(share: Share | None) -> str:
    """Write ``91.3 [87.5, 94.0]``; a dash where there is none.

    Example:
        >>> from covidmt.comparison.hide_and_seek import Share, share_text
        >>> share_text(Share(91.3, 87.5, 94.0)), share_text(None)
        ('91.3 [87.5, 94.0]', '–')
    """
    return DASH if share is None else estimate(share.value, share.low, share.high, 1)


def change_text(change: AccuracyChange | None) -> str:
    """Write a change in points with its interval; a dash where there is none."""
    if change is None:
        return DASH
    interval = "" if isnan(change.low) else f" [{change.low:+.1f}, {change.high:+.1f}]"
    return f"{change.value:+.1f}{interval}"
