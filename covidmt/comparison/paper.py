"""The COVIDMT paper's own figures, as far as its text gives them; what it only draws is not guessed."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from covidmt.tracking.identity import TASKS

BASES = ["ResNet-50", "ResNeXt-50"]
BASELINES = [*BASES, "Xception", "VGG-19", "COVID-Net"]  # of Table 2 and Fig 4
_SOURCES = {  # the paper's tasks, and the kind of data set that each learns from
    "covidx": "covidx", "rsna_boxes": "rsna",
    "infiltration": "nih", "effusion": "nih", "atelectasis": "nih", "nodule": "nih",
}  # fmt: skip
_QUANTITY = {
    "pi": ("pi_score", "WaCXR"),
    "ols_original": ("ols_score", "original"),
    "ols_received": ("ols_score", "received"),
}


class Fact(NamedTuple):
    """A figure of the paper, percent, and where it stands."""

    value: float
    source: str


def paper_value(score: str, networks: list[str], n_tasks: int, statistic: str = "mean") -> Fact | None:
    """Return the paper's figure; None: not in its text.

    Args:
        score: ``pi``, ``ols_original`` or ``ols_received``.
        networks: Base networks, of several the ``statistic``.
        n_tasks: 1 for a base network alone, 6 for COVIDMT.
        statistic: ``mean`` or ``worst``.

    Example:
        >>> from covidmt.comparison.paper import BASES, paper_value
        >>> paper_value("pi", BASES, 6)
        Fact(value=4.2, source='text beside Fig 6')
        >>> paper_value("pi", ["ResNet-50"], 6) is None
        True
    """
    for row in _facts():
        quantity = (row["quantity"], row["images"])
        subject = (set(row["networks"].split(" + ")), row["n_tasks"], row["statistic"])
        if quantity == _QUANTITY.get(score) and subject == (set(networks), str(n_tasks), statistic):
            return Fact(float(row["value_percent"]), row["source"])
    return None


def is_of_papers(settings: Mapping[str, str], split: str) -> bool:
    """Return whether runs are of the paper's data and tasks, so that its figures may stand beside theirs.

    Args:
        settings: Of a configuration (:func:`covidmt.tracking.identity.identity`).
        split: Which the scores are of: the paper tests on WaCXR.

    Example:
        >>> is_of_papers({"robustness.label": "tuberculosis"}, "test")
        False
    """

    def kind(source: str | None) -> str | None:
        return settings.get(f"data.sources.{source}.kind")

    tasks = settings.get(TASKS, "").split(", ")
    return (
        split == "test"
        and kind(_first_name(settings.get("data.pairs.test", ""))) == "wacxr"
        and settings.get("robustness.label") == "COVID-19"
        and all(kind(settings.get(f"tasks.{task}.source")) == _SOURCES.get(task, "") for task in tasks)
    )


def _first_name(text: str) -> str:
    """Return a name, or the first of a list of names as :func:`.identity` writes it."""
    names = json.loads(text) if text.startswith("[") else [text]
    return str(names[0]) if names else ""


@cache
def _facts() -> list[dict[str, str]]:
    with open(Path(__file__).parents[1] / "reference" / "covidmt.csv", newline="") as file:
        return list(csv.DictReader(file))
