"""What the pairs of a report are, in words that come from its runs: data set, split, channel, label."""

from __future__ import annotations

from math import nan

import pandas as pd

from covidmt.comparison.trained_runs import TrainedRuns
from datamodules.checks.shortcuts import find_giveaways, giveaway_of_pairs

AS_RECEIVED = "wacxr"  # the kind of source that brings what a phone received


def describe_pairs(collected: TrainedRuns) -> str:
    """Return what the scores are measured on: ``the test pairs of wacxr (as received)``.

    Of runs that were measured on several sets all are named.
    """
    texts = []
    for run in collected.counted:
        source = run.settings.get(f"data.pairs.{collected.split}")
        kind = run.settings.get(f"data.sources.{source}.kind")
        channel = run.settings.get("data.pairs.channel", run.params.get("channel"))
        if source is None:
            texts.append(f"{channel}" if channel else "")
        elif collected.split == "test" and kind == AS_RECEIVED:
            texts.append(f"{source}, as received")
        else:
            texts.append(f"{source}, simulated channel {channel}")
    names = " and ".join(dict.fromkeys(text for text in texts if text))
    split = "test" if collected.split == "test" else "validation"
    return f"the {split} pairs" + (f" ({names})" if names else "")


def decision_labels(collected: TrainedRuns) -> str:
    """Return the labels that the decisions are about, ``COVID-19``; of several, all."""
    labels = [run.settings.get("robustness.label", "") for run in collected.counted]
    return " or ".join(dict.fromkeys(label for label in labels if label)) or "positive"


def describe_sources(collected: TrainedRuns) -> list[str]:
    """Say where the origin of the pairs' patients gives the label away, and how often a constant answer is right.

    The origin is what stands before a patient's number: ``cohen`` of ``cohen:48``. A sentence a decision's label.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for run in collected.counted:
        if run.pairs is not None:
            tables.setdefault(run.settings.get("robustness.label") or "positive", []).append(run.pairs)
    return list(filter(None, [_describe_origins(label, pd.concat(own)) for label, own in tables.items()]))


def guessing_share(pairs: pd.DataFrame) -> float:
    """Return the percentage of pairs that the more frequent answer is right on; NaN where they are not of two classes.

    Example:
        >>> guessing_share(pd.DataFrame({"label": [1.0, 0.0, 0.0, 0.0, float("nan")]}))
        75.0
    """
    labels = pairs["label"].dropna()
    positive = float(labels.mean())
    return 100 * max(positive, 1 - positive) if labels.nunique() > 1 else nan


def _describe_origins(label: str, pairs: pd.DataFrame) -> str:
    """Write the sentence of one label; empty where the pairs are not known to be of two classes."""
    pairs = pairs[~pairs.index.duplicated()].dropna(subset=["label"])
    if pairs["label"].nunique() < 2:
        return ""
    positive = pairs["label"] == 1
    origins = pairs["patient"].str.partition(":")[0]
    counts = pd.crosstab(positive.map({True: label, False: f"not {label}"}), origins)

    told = giveaway_of_pairs(find_giveaways(counts), label)
    told = told or f"There are {len(pairs)} pairs of which it is known whether they are labelled {label}."
    often = guessing_share(pairs)
    return f"{told} Always giving the more frequent answer would be right on {often:.1f}\N{NO-BREAK SPACE}% of them."
