"""A report in plain words: its findings, how sure they are, and what a reader must know before quoting them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan

from covidmt.comparison.analysis import Analysis
from covidmt.comparison.comparisons import IMAGES as SEEDS_ON_IMAGES
from covidmt.comparison.comparisons import Comparison
from covidmt.comparison.configurations import ROBUSTNESS, SCORES, Configuration, also_differs
from covidmt.comparison.pair_words import describe_pairs, describe_sources, guessing_share
from covidmt.comparison.trained_runs import TrainedRun
from covidmt.exporting.facts import NO_SHORTCUT, SHORTCUTS
from covidmt.pages.numbers import NBSP, p_value, points, points_interval, relative_change, relative_percent
from experiments.lungs.masks import HEARTS
from metrics.inference.differences import FEW_PATIENTS
from metrics.paired import SIDES

NEARLY_ALL = 0.95  # share of images with one answer, from which a low PI score is little merit
IMAGES = {"ols_original": "originals", "ols_received": "received images"}
MUST_AGREE = {
    "decision": "when the decision is positive",
    "target": "which answer their heat maps explain",
    "mask_source": "where their lung masks are from",
    "mask_heart": "whether their lungs hold the part behind the heart (the convention alone moves OLS)",
    "decoder": "how images are decoded and resized",
    "mlflow.source.git.commit": "the code's version",
    "git.dirty": "whether the code had changes that no commit has",
    "versions": "the libraries' versions",
}


@dataclass(frozen=True)
class Headline:
    """A card on top of the page.

    Attributes:
        title: What was compared.
        verdict: One of :data:`metrics.inference.differences.VERDICTS`.
        statement: The answer in a sentence.
        lines: How much, how sure, and the heat maps off the lungs.
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
        found.append(_headline(f"{base.network}: {len(many.tasks)} tasks against 1", rows, analysis.paired.n_pairs))

    # the lowest PI of all, or the first comparison that there is
    if analysis.against_best:
        best, second = analysis.ranking[:2]
        rows = {row.score: row for row in analysis.against_best if row.first is second}
        title = f"Lowest PI score of {len(analysis.configurations)}: {best.label}; next is {second.label}"
        title += also_differs(best, second, most=5)
        found.append(_headline(title, rows, analysis.paired.n_pairs))
    elif not analysis.couples and analysis.against_base:
        row = analysis.against_base[0]
        rows = {r.score: r for r in analysis.against_base if r.second is row.second}
        also = also_differs(row.second, row.first, most=5)
        title = f"{row.second.label} against {row.first.label}{also}"
        found.append(_headline(title, rows, analysis.paired.n_pairs))
    return found


def _headline(title: str, rows: Mapping[str, Comparison], n_pairs: int) -> Headline:
    """Put the rows of one couple, by score, into words; the number of pairs is that of each training, or 0."""
    pi = rows["pi"]
    better, other = (pi.second, pi.first) if pi.difference <= 0 else (pi.first, pi.second)
    verdict, statement, sure = pi.verdict, _statement(pi, better, other), _how_sure(pi)
    if _runs_with_one_answer(better):
        verdict = "not shown"
        statement = _constant_statement(better, other)
        sure = "How sure: not shown, whatever the figures: a constant answer cannot change."
    elif one_sided := _one_sided(better):
        sure += f" But {one_sided}"
    saliency = [_saliency_words(rows[score], images) for score, images in IMAGES.items() if score in rows]
    return Headline(title, verdict, statement, [_how_much(pi, better, other, n_pairs), sure, *saliency])


def _constant_statement(better: Configuration, other: Configuration) -> str:
    """Say whose trainings give every image the same answer: the more stable configuration's, or those of both."""
    subjects = []
    for each in (better, other):
        same, runs = len(_runs_with_one_answer(each)), len(each.runs)
        if same:
            subjects.append(each.label + (f" in {same} of {runs} trainings" if same < runs else ""))
    both, verb, whose = ("Both ", "give", "their") if len(subjects) > 1 else ("", "gives", "its")
    return f"{both}{' and '.join(subjects)} {verb} every image the same answer: {whose} stability is no merit."


def _statement(pi: Comparison, better: Configuration, other: Configuration) -> str:
    where = " on these very images" if pi.basis == SEEDS_ON_IMAGES else ""
    return {
        "clear": f"{better.label}: fewer answers change than with {other.label}.",
        "likely": f"{better.label}: probably fewer answers change than with {other.label}{where}.",
        "these trainings only": (
            f"The trainings of {better.label} and {other.label} that were compared differ; "
            "whether the configurations do cannot be told from a single seed."
        ),
        "not shown": f"No difference shown between {better.label} and {other.label}.",
        "unknown": f"{better.label} and {other.label}: too few trainings or patients to tell.",
    }[pi.verdict]


def _how_much(pi: Comparison, better: Configuration, other: Configuration, n_pairs: int) -> str:
    low, high = sorted(pi.values)
    if not pi.difference:
        return f"How much: on these pairs as many answers change with both, {low:.2f}{NBSP}% on average over seeds."

    # a relative change only where there is one to speak of
    fewer = -relative_change(high, low)
    shown = isfinite(fewer) and pi.verdict in ("clear", "likely", "these trainings only")
    relative = f" ({fewer:.0f}{NBSP}% fewer)" if shown else ""
    few, many = (_changes(value, configuration, n_pairs) for value, configuration in ((low, better), (high, other)))
    words = f"How much: {few} change with {better.label}, {many} with {other.label}; {high - low:.2f} points{relative}."
    return words + _right_words(better, other)


def _changes(value: float, configuration: Configuration, n_pairs: int) -> str:
    """Write ``2 of 141 answers (3 trainings x 47 pairs; 1.42 %)``; without tables of pairs the percentage alone."""
    if not n_pairs:
        return f"{value:.2f}{NBSP}% of the answers"
    trainings = len(configuration.runs)
    answers = trainings * n_pairs
    times = f"{trainings} training{'s' if trainings > 1 else ''} x {n_pairs} pairs"
    return f"{value / 100 * answers:.0f} of {answers} answers ({times}; {value:.2f}{NBSP}%)"


def _right_words(better: Configuration, other: Configuration) -> str:
    """Say how often both are right, which a PI score is to be read beside; empty where labels are unknown."""
    if not all("pairs_original" in c.scores for c in (better, other)):
        return ""
    first, second = (c.scores["pairs_original"].value for c in (better, other))
    words = f" Of the originals {first:.1f}{NBSP}% and {second:.1f}{NBSP}% are answered rightly."

    # beside guessing, where that is right more often
    pairs = next((run.pairs for run in better.runs if run.pairs is not None), None)
    guessed = nan if pairs is None else guessing_share(pairs)
    below = [c.label for c, value in ((better, first), (other, second)) if value < guessed]
    if below:
        words += f" Always giving the more frequent answer would be right on {guessed:.1f}{NBSP}%: "
        words += f"the stability of {' and of '.join(below)} is little merit."
    return words


def _how_sure(row: Comparison) -> str:
    # what cannot be told
    if row.verdict == "unknown" and 0 < row.patients < FEW_PATIENTS:
        return f"How sure: cannot be told. {row.patients} patients are too few to compare on."
    if row.verdict == "unknown":
        return (
            "How sure: cannot be told. There is no table of pairs, and the seeds' scores alone do not tell; run more "
            "seeds, or test on pairs."
        )

    # what can
    words = {
        "clear": "How sure: clear",
        "likely": "How sure: likely, not certain",
        "these trainings only": "How sure: of these trainings alone",
        "not shown": "How sure: not shown, which is no proof that they are equal",
    }[row.verdict]
    interval = f"95{NBSP}% interval of the difference {points_interval(row.low, row.high)} points, over {row.basis}"
    p = f"p{NBSP}{p_value(row.p_adjusted)}" + (
        ", adjusted for the number of comparisons" if row.p != row.p_adjusted else ""
    )
    return f"{words} ({interval}; {p}).{_single_seed_words(row)}"


def _single_seed_words(row: Comparison) -> str:
    single = sum(len(c.runs) == 1 for c in (row.first, row.second))
    if not single:
        return ""
    which = "One of them was" if single == 1 else "Both were"
    return (
        f" {which} trained with a single seed: interval and p say what other patients would change, "
        "and nothing of what another training would."
    )


def _saliency_words(row: Comparison, images: str) -> str:
    first, second = row.values
    return (
        f"Heat maps off the lungs (IOL below eta), {images}: {second:.1f}{NBSP}% of images with {row.second.label}, "
        f"{first:.1f}{NBSP}% with {row.first.label} "
        f"({_size(row)})."
    )


def _size(row: Comparison) -> str:
    """Return a difference with its verdict; its interval in place of a relative change where it is not shown."""
    if row.verdict in ("clear", "likely"):
        return f"{points(row.difference)} points, {relative_percent(row.relative)}; {row.verdict}"
    adjusted = "" if row.p == row.p_adjusted else ", not adjusted for the number of comparisons,"
    ends = points_interval(row.low, row.high)
    interval = f"; the 95{NBSP}% interval{adjusted} is {ends} points" if isfinite(row.low) else ""
    return f"{points(row.difference)} points, {row.verdict}{interval}"


def _runs_with_one_answer(configuration: Configuration) -> list[TrainedRun]:
    """Return its runs that give every image the same answer."""
    keys = [f"pairs/positive/{side}" for side in SIDES]
    return [
        run
        for run in configuration.runs
        if any(all(run.metrics.get(f"{split}/{key}") in (0.0, 1.0) for key in keys) for split in ("test", "val"))
    ]


def _one_sided(configuration: Configuration) -> str:
    """Say that a training gives nearly all images the same answer; empty where none does."""
    keys = [f"{split}/pairs/positive/{side}" for split in ("test", "val") for side in SIDES]
    shares = [run.metrics[key] for run in configuration.runs for key in keys if key in run.metrics]
    most = max((max(share, 1 - share) for share in shares), default=0.0)
    if most < NEARLY_ALL:
        return ""
    return (
        f"a training of {configuration.label} gives {100 * most:.1f}{NBSP}% of the images the same answer: with so few "
        "of the other kind a low PI score is little merit."
    )


def _few_maps(configuration: Configuration) -> list[str]:
    """Say where the OLS of a training is of few of its images: the others have no heat map, or no lungs."""
    texts = []
    for score, images in IMAGES.items():
        side = score.removeprefix("ols_")
        counts = [_scored_images(run.metrics, side) for run in configuration.runs]
        scored, of = min((each for each in counts if each is not None), default=(0, 0))
        if 2 * scored < of:
            texts.append(
                f"{configuration.label}: in a training only {scored} of {of} {images} have a heat map and lungs; "
                "its OLS is of these alone."
            )
    return texts


def _scored_images(metrics: Mapping[str, float], side: str) -> tuple[int, int] | None:
    """Return how many images an OLS is of, and of how many; None where it was not logged."""
    for split in ("test", "val"):
        counts = [metrics.get(f"{split}/ols/{side}/{name}") for name in ("n", "no_region", "no_lung")]
        known = [int(count) for count in counts if count is not None]
        if len(known) == len(counts):
            return known[0], sum(known)
    return None


def reference_words(analysis: Analysis) -> str:
    """Return what the others are compared with: base networks alone, or the first of a network's configurations."""
    firsts = [f"{each.label} (the first of several configurations of one network)" for each in analysis.references]
    return " or ".join(["the base network alone"] * bool(analysis.single or not firsts) + firsts)


def reservations(analysis: Analysis) -> list[str]:
    """Return what a reader must know before believing the figures."""
    texts = list(analysis.collected.notes)
    if analysis.collected.split == "val":
        texts.append(
            f"No trial was tested: the figures are of {describe_pairs(analysis.collected)} at each run's best epoch; "
            "the models were selected on the same images."
        )
    for configuration in analysis.configurations:
        texts += _reservations_of(configuration)

    # what must be alike in all runs
    for tag, what in MUST_AGREE.items():
        values = Counter(run.tags[tag] for run in analysis.collected.counted if tag in run.tags)
        if len(values) > 1:
            counts = "; ".join(f"{value}: {count}" for value, count in values.most_common())
            texts.append(f"The trainings differ in {what} ({tag}; {counts}): a difference may come from that alone.")

    # what gives the classes away
    texts += describe_sources(analysis.collected)
    told = {line for run in analysis.collected.counted for line in run.tags.get(SHORTCUTS, NO_SHORTCUT).splitlines()}
    texts += [f"Of the training images: {line}" for line in sorted(told - {NO_SHORTCUT})]

    # what every OLS is of
    conventions = {run.tags["mask_heart"] for run in analysis.collected.counted if "mask_heart" in run.tags}
    if len(conventions) == 1:
        (heart,) = conventions
        texts.append(
            f"OLS is measured with {HEARTS.get(heart, heart)} (data.masks.heart={heart}). Under the other convention "
            "it can be several times as high or low, and it depends on who drew the lungs and on how coarse the maps "
            "are: covidmt evaluate says all three of a run."
        )

    # what is missing
    if analysis.paired.left_out:
        texts.append(f"{analysis.paired.left_out} pairs are not in all trainings; comparisons leave them out.")
    if analysis.paired.n_pairs > 1 and analysis.paired.n_pairs == analysis.paired.n_patients:
        texts.append(
            "Every pair counts as another patient, also where the data set does not say whose it is: if some are of "
            "the same patient, intervals are too narrow and p-values too small."
        )
    single = [c.label for c in analysis.configurations if len(c.runs) == 1]
    if single:
        texts.append(
            f"Trained with a single seed, so that the figures are of that one training and say nothing of another: "
            f"{'; '.join(single)}."
        )
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
    elif one_sided := _one_sided(configuration):
        texts.append(one_sided[0].upper() + one_sided[1:])
    texts += _few_maps(configuration)
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
        texts.append(f"{label}: a training has no table of pairs, so it is compared by its seeds' scores alone.")
    return texts
