"""A report in plain words: its findings, how sure they are, and what a reader must know before quoting them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from covidmt.comparison.analysis import Analysis
from covidmt.comparison.comparisons import Comparison
from covidmt.comparison.configurations import ROBUSTNESS, SCORES, Configuration
from covidmt.comparison.trained_runs import TrainedRun
from covidmt.pages.numbers import NBSP, p_value, points, points_interval, relative_percent
from metrics.paired import SIDES

IMAGES = {"ols_original": "originals", "ols_received": "received images"}
MUST_AGREE = {
    "mask_source": "where their lung masks are from",
    "decoder": "how images are decoded and resized",
    "mlflow.source.git.commit": "the code's version",
}


@dataclass(frozen=True)
class Headline:
    """A card on top of the page.

    Attributes:
        title: What was compared.
        verdict: ``clear``, ``likely``, ``not shown`` or ``unknown``.
        statement: The answer in a sentence.
        lines: How much, how sure, and the reasons outside the lungs.
    """

    title: str
    verdict: str
    statement: str
    lines: list[str]


def headlines(analysis: Analysis) -> list[Headline]:
    """Return one finding a base network with and without more tasks, and one over all."""
    found = []
    for base, many in analysis.couples:
        rows = {row.score: row for row in analysis.against_base if (row.first, row.second) == (base, many)}
        found.append(_headline(f"{base.network}: {len(many.tasks)} tasks against 1", rows))

    # the most stable of all, or the first comparison that there is
    if analysis.against_best:
        best, second = analysis.ranking[:2]
        rows = {row.score: row for row in analysis.against_best if row.first is second}
        title = f"The most stable of {len(analysis.configurations)}: {best.label}; next is {second.label}"
        found.append(_headline(title, rows))
    elif not analysis.couples and analysis.against_base:
        row = analysis.against_base[0]
        rows = {r.score: r for r in analysis.against_base if r.second is row.second}
        found.append(_headline(f"{row.second.label} against {row.first.label}", rows))
    return found


def _headline(title: str, rows: Mapping[str, Comparison]) -> Headline:
    """Put the rows of one couple, by score, into words."""
    pi = rows["pi"]
    better, other = (pi.second, pi.first) if pi.difference <= 0 else (pi.first, pi.second)
    verdict, statement = pi.verdict, _statement(pi.verdict, better, other)
    if _runs_with_one_answer(better):
        verdict = "not shown"
        statement = f"{better.label} gives every image the same answer in some trainings: its stability is no merit."
    saliency = [_saliency_words(rows[score], images) for score, images in IMAGES.items() if score in rows]
    return Headline(title, verdict, statement, [_how_much(pi, better, other), _how_sure(pi), *saliency])


def _statement(verdict: str, better: Configuration, other: Configuration) -> str:
    return {
        "clear": f"{better.label}: more stable than {other.label}.",
        "likely": f"{better.label}: probably more stable than {other.label}.",
        "not shown": f"No difference shown between {better.label} and {other.label}.",
        "unknown": f"{better.label} and {other.label}: too few trainings to tell.",
    }[verdict]


def _how_much(pi: Comparison, better: Configuration, other: Configuration) -> str:
    low, high = sorted(pi.values)
    if not pi.difference:
        return f"How much: {low:.2f}{NBSP}% of the answers change on the way through the channel, the same with both."
    return (
        f"How much: on the way through the channel {low:.2f}{NBSP}% of the answers change with {better.label}, "
        f"{high:.2f}{NBSP}% with {other.label}; {high - low:.2f} points fewer "
        f"({100 * (high - low) / high:.0f}{NBSP}% fewer)."
    )


def _how_sure(row: Comparison) -> str:
    if row.verdict == "unknown":
        return (
            "How sure: cannot be told. There are too few trainings and no table of pairs; run more seeds, or test on "
            "pairs."
        )
    words = {
        "clear": "How sure: clear. Interval and test agree",
        "likely": "How sure: likely, not certain. Interval and test do not agree",
        "not shown": "How sure: not shown. Chance could make this difference, which is no proof that they are equal",
    }[row.verdict]
    interval = f"95{NBSP}% interval of the difference {points_interval(row.low, row.high)} points, over {row.basis}"
    test = f"{'McNemar on the same pairs' if row.discordant else 'Welch over seeds'}: p {p_value(row.p_adjusted)}"
    once = ""
    single = sum(len(c.runs) == 1 for c in (row.first, row.second))
    if single:
        which = "One of them was" if single == 1 else "Both were"
        once = f" {which} trained with a single seed: another training could change this."
    return f"{words} ({interval}; {test}).{once}"


def _saliency_words(row: Comparison, images: str) -> str:
    first, second = row.values
    return (
        f"Reasons outside the lungs, {images}: {second:.1f}{NBSP}% of images with {row.second.label}, "
        f"{first:.1f}{NBSP}% with {row.first.label} "
        f"({points(row.difference)} points, {relative_percent(row.relative)}; {row.verdict})."
    )


def _runs_with_one_answer(configuration: Configuration) -> list[TrainedRun]:
    """Return its runs that give every image the same answer."""
    keys = [f"pairs/positive/{side}" for side in SIDES]
    return [
        run
        for run in configuration.runs
        if any(all(run.metrics.get(f"{split}/{key}") in (0.0, 1.0) for key in keys) for split in ("test", "val"))
    ]


def reservations(analysis: Analysis) -> list[str]:
    """Return what a reader must know before believing the figures."""
    texts = list(analysis.collected.notes)
    if analysis.collected.split == "val":
        texts.append(
            "No trial was tested on WaCXR: the figures are of the validation pairs (simulated channel) at each run's "
            "best epoch; the models were selected on the same images."
        )
    for configuration in analysis.configurations:
        texts += _reservations_of(configuration)

    # what must be alike in all runs
    for tag, what in MUST_AGREE.items():
        values = Counter(run.tags[tag] for run in analysis.collected.counted if tag in run.tags)
        if len(values) > 1:
            counts = "; ".join(f"{value}: {count}" for value, count in values.most_common())
            texts.append(f"The trainings differ in {what} ({tag}; {counts}): a difference may come from that alone.")

    # what is missing
    if analysis.paired.left_out:
        texts.append(f"{analysis.paired.left_out} pairs are not in all trainings; comparisons leave them out.")
    single = [c.label for c in analysis.configurations if len(c.runs) == 1]
    if single:
        texts.append(f"A single seed, hence no interval over seeds: {'; '.join(single)}.")
    runs = analysis.collected.runs
    open_runs = [run for run in runs if run.left_out]
    if open_runs:
        texts.append(f"{len(open_runs)} of {len(runs)} trials are not counted; they are listed below.")
    return texts


def _reservations_of(configuration: Configuration) -> list[str]:
    label, runs = configuration.label, configuration.runs
    texts = []

    # what its figures do not show
    same = _runs_with_one_answer(configuration)
    if same:
        texts.append(
            f"{label}: {len(same)} of {len(runs)} trainings give every image the same answer; "
            "a PI score of 0 is no merit there."
        )
    lacking = [SCORES[key].title.removesuffix(", %") for key in ROBUSTNESS if key not in configuration.scores]
    if lacking:
        texts.append(
            f"{label}: no mean of {' and '.join(lacking)}, for not all of its trainings have one "
            "(heat maps that are zero everywhere and images without lungs give none)."
        )

    # how its trainings differ
    batches = {run.tags.get("global_batch", "") for run in runs}
    if len(batches) > 1:
        texts.append(f"{label}: its trainings have different global batches ({', '.join(sorted(batches))}).")
    if any(run.pairs is None for run in runs):
        texts.append(f"{label}: a training has no table of pairs, so it takes no part in tests on the same pairs.")
    return texts
