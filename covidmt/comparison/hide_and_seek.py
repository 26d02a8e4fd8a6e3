"""ROI Hide-and-Seek (paper 001, Tables 3 to 7): accuracy, sensitivity, PPV of every representation beside theirs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covidmt.comparison.configurations import Configuration
from experiments.schema import View
from metrics.intervals import t_interval, wilson

SOURCE = "paper 001 (Sadre et al., Scientific Reports 2021), Tables 3 to 7"
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


@dataclass
class Row:
    """One network on one representation, in training and test alike.

    Attributes:
        network: Its name.
        view: The representation.
        seeds: Number of trainings.
        images: Of the test set: one training's.
        scores: ``accuracy``, ``sensitivity/<label>``, ``ppv/<label>``.
        paper: The paper's, a dictionary each of its networks that stand for this one.
        change: Accuracy minus that on the original of the same seeds, points: mean and Student's 95 % interval.
    """

    network: str
    view: str
    seeds: int
    images: float
    scores: dict[str, Share]
    paper: dict[str, dict[str, Share]]
    change: tuple[float, float, float] | None


def hide_and_seek(found: Sequence[Configuration], split: str) -> list[Row]:
    """The rows by network, in the paper's order of representations; empty where the representation does not vary.

    Args:
        found: The configurations.
        split: ``test`` or ``val``.
    """
    rows = []
    for c in found:
        matrices = [m for trial in c.trials if (m := _confusions(trial.metrics, split, c.tasks[0])) is not None]
        if len(matrices) == len(c.trials):
            rows.append((c, matrices))
    if len({_view(c) for c, _ in rows}) < 2:
        return []
    originals = {(c.network, _others(c)): c for c, _ in rows if _view(c) == "original"}
    made = [_row(c, matrices, originals.get((c.network, _others(c))), split) for c, matrices in rows]
    return sorted(made, key=lambda row: (row.network.casefold(), VIEWS.index(row.view)))


def _view(configuration: Configuration) -> str:
    settings = dict(configuration.variant)
    return settings.get("data.view", settings.get("view", "original"))


def _others(configuration: Configuration) -> frozenset[tuple[str, str]]:
    return frozenset(item for item in configuration.variant if item[0] not in ("view", "data.view"))


def _confusions(metrics: dict[str, float], split: str, task: str) -> pd.DataFrame | None:
    """Numbers of images, a row a label, a column an answer; None: not logged."""
    prefix = f"{split}/{task}/confusion/"
    cells = {tuple(key.removeprefix(prefix).split("/")): n for key, n in metrics.items() if key.startswith(prefix)}
    labels = list(dict.fromkeys(label for label, _ in cells))
    order = [label for label in _CLASSES if label in labels] + [label for label in labels if label not in _CLASSES]
    if not cells or any(len(cell) != 2 for cell in cells):  # a label with a slash cannot be told
        return None
    return pd.DataFrame([[cells[a, b] for b in order] for a in order], index=order, columns=order)


def _row(c: Configuration, matrices: Sequence[pd.DataFrame], original: Configuration | None, split: str) -> Row:
    shares: dict[str, list[tuple[float, float]]] = {}  # score -> hits and images of each training
    for matrix in matrices:
        hits = np.diag(matrix)
        parts = {"accuracy": (hits.sum(), matrix.to_numpy().sum())}
        for name, totals in {"sensitivity": matrix.sum(axis=1), "ppv": matrix.sum(axis=0)}.items():
            parts |= {f"{name}/{label}": (hit, totals[label]) for label, hit in zip(matrix.index, hits, strict=True)}
        for key, part in parts.items():
            shares.setdefault(key, []).append(part)
    change = None
    if original is not None and original is not c:
        key = f"{split}/{c.tasks[0]}/accuracy"
        base = {trial.seed: trial.metrics[key] for trial in original.trials}
        each = [100 * (trial.metrics[key] - base[trial.seed]) for trial in c.trials if trial.seed in base]
        change = (fmean(each), *t_interval(each)) if each else None
    return Row(
        network=c.network,
        view=_view(c),
        seeds=len(c.trials),
        images=fmean(float(matrix.to_numpy().sum()) for matrix in matrices),
        scores={key: _share(parts) for key, parts in shares.items()},
        paper={name: _paper(name, _view(c)) for name in _NETWORKS.get(c.network, [])},
        change=change,
    )


def _share(parts: Sequence[tuple[float, float]]) -> Share:
    known = [(hits, images) for hits, images in parts if images]
    if not known:
        return Share(nan)
    value, images = fmean(hits / images for hits, images in known), fmean(images for _, images in known)
    low, high = wilson(value * images, images)
    return Share(100 * value, 100 * low, 100 * high)


def _paper(network: str, view: str) -> dict[str, Share]:
    """The paper's figures; its PPV without an interval, for the numbers of answers are not given."""
    row = next(row for row in _facts() if (row["architecture"], row["representation"]) == (network, view))
    scores = {"accuracy": _of(float(row["accuracy"]), PAPER_IMAGES)}
    for label, name in _CLASSES.items():
        scores[f"sensitivity/{label}"] = _of(float(row[f"sensitivity_{name}"]), PAPER_CLASS)
        scores[f"ppv/{label}"] = Share(100 * float(row[f"ppv_{name}"]))
    return scores


def _of(share: float, images: int) -> Share:
    low, high = wilson(share * images, images)
    return Share(100 * share, 100 * low, 100 * high)


@cache
def _facts() -> list[dict[str, str]]:
    with open(Path(__file__).parents[1] / "reference" / "hide_and_seek.csv", newline="") as file:
        return list(csv.DictReader(file))


def table(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All figures, a row each, ours and the paper's; percent."""
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


def figure(rows: Sequence[Row]) -> Figure:
    """Accuracy by representation, a panel a network: ours with its interval, the paper's in red."""
    networks = list(dict.fromkeys(row.network for row in rows))
    drawn = Figure(figsize=(max(7.0, 3.4 * len(networks)), 3.9), layout="constrained")
    for axis, network in zip(drawn.subplots(1, len(networks), squeeze=False, sharey=True)[0], networks, strict=True):
        axis.set_title(network)
        for row in (row for row in rows if row.network == network):
            place, share = VIEWS.index(row.view), row.scores["accuracy"]
            error = np.array([[share.value - share.low], [share.high - share.value]])
            axis.bar(place, share.value, 0.7, color="#9AA5B1" if row.view == "original" else "#0072B2")
            axis.errorbar(place, share.value, yerr=error, color="#111827", capsize=3, lw=1)
            axis.annotate(f"{share.value:.0f}", (place, 2), ha="center", color="white", fontsize=9)
            for paper in row.paper.values():
                axis.plot([place - 0.35, place + 0.35], [paper["accuracy"].value] * 2, color="#B00020", lw=2)
        axis.set_xticks(range(len(VIEWS)), [view.replace("_", " ") for view in VIEWS], rotation=30, ha="right")
        axis.set_ylim(0, 100)
        axis.grid(axis="y", alpha=0.25)
    drawn.axes[0].set_ylabel("accuracy, %")
    return drawn


def text(share: Share | None) -> str:
    """``91.3 [87.5, 94.0]``; a dash where there is none."""
    if share is None or isnan(share.value):
        return "–"
    return f"{share.value:.1f}" + ("" if isnan(share.low) else f" [{share.low:.1f}, {share.high:.1f}]")
