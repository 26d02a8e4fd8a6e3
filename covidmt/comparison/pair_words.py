"""What the pairs of a report are, in words that come from its runs: data set, split, channel, label."""

from __future__ import annotations

from covidmt.comparison.trained_runs import TrainedRuns

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
