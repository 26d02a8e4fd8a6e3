"""What an evaluation found, in plain sentences that say how sure they are, by simple rules: :data:`RULES`.

The second condition on an OLS is for scores near 0 or 100 %: the fewer the images that differ, the less a bootstrap of
the difference to the control knows of its spread. A score of exactly 0 or 100 % is so in every resample; it has no such
interval at all, and its own one, Wilson's, decides alone.
"""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import NamedTuple

import numpy as np
import pandas as pd

from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.evaluation.scores import ResampledScore
from covidmt.pages.numbers import interval, number, signed_number
from datamodules.checks.shortcuts import giveaways
from metrics.bootstrap import Estimate
from metrics.intervals import wilson
from metrics.paired import SIDES, mcnemar, out_of_lungs

FEW = 20  # patients below which a bootstrap's interval is not to be trusted
COARSE = 200  # pairs below which a reader is told what a single one is worth
RULES = (
    "Two scores are said to differ only where the 95 % interval of their difference on the same images leaves out zero "
    "and, for shares of images, McNemar's exact test agrees (p < 0.05); an OLS differs from that of other patients' "
    "maps only where these also lie outside its own interval, which decides alone where all images score alike; an "
    "AUROC is above chance only where its whole interval is (Wilson's over the rarer class where all resamples agree). "
    f"With fewer than {FEW} patients nothing is said to differ. That two scores cannot be told apart does not make "
    "them equal."
)
COMPARED = {
    "pi/score": "PI score, %",
    "ols/original/score": "OLS of originals, %",
    "ols/received/score": "OLS as received, %",
    "decision/original/auroc": "AUROC on originals",
}


class Finding(NamedTuple):
    """A card at the top of the report.

    Attributes:
        title: A question.
        sentences: Its answer.
    """

    title: str
    sentences: list[str]


def describe_findings(evaluation: Evaluation) -> list[Finding]:
    """Return the report's opening, of the first network; :func:`beside_others` compares it."""
    cards = [
        Finding("Does the answer survive the channel?", _instability(evaluation)),
        Finding("Does the network look at the lungs?", _saliency(evaluation)),
        Finding("Is the answer right?", _decision(evaluation)),
        Finding("Could it be right for a wrong reason?", _shortcuts(evaluation)),
    ]
    return [card for card in cards if card.sentences]


def class_sentences(class_by_source: dict[str, dict[str, int]]) -> list[str]:
    """Return which class the origin of the images gives away.

    Args:
        class_by_source: Class -> origin -> number of images.

    Example:
        >>> for sentence in class_sentences({"normal": {"RSNA": 10}, "COVID-19": {"RSNA": 2, "Cohen": 9}}):
        ...     print(sentence)
        normal is given away by source: 100% of its images are RSNA, but 18% of the others. ...
        COVID-19 is given away by source: 82% of its images are Cohen, but 0% of the others. ...
    """
    counts = pd.DataFrame.from_dict(class_by_source, orient="index").fillna(0).astype(int)
    return giveaways("source", counts)


def _instability(evaluation: Evaluation) -> list[str]:
    first, pairs = evaluation.first, evaluation.pairs
    pi, noise = first.scores["pi/score"], first.scores["pi/noise"]
    if not pi.n:
        return ["Cannot be told: the network gave no probabilities."]

    # how many decisions change, in which direction
    lost, gained = (_count(first.scores[f"pi/{name}"]) for name in ("positive_to_negative", "negative_to_positive"))
    directions = f": {lost} lose the positive decision, {gained} gain it" if lost + gained else ""
    verb = "changes" if _count(pi) == 1 else "change"
    sentences = [f"{_count_of(pi, 'decision')} {verb} on the way ({_percent(pi)}){directions}."]
    p = first.table["p_original"].dropna().to_numpy()
    positive = p >= np.float32(first.answers.decision.threshold)
    if positive.all() or not positive.any():
        answer = "positive" if positive.all() else "negative"
        sentences.append(f"But the network calls every original {answer}: then a low PI is no merit.")

    # what that is worth
    if noise.n:
        verdict = _verdict(pi.minus(noise), pairs.patients, first.flips(), first.flips("p_noise"))
        words = _words(verdict, "the channel does more than that", "the channel does less than that")
        sentences.append(f"White noise of the same strength changes {_percent(noise, brief=True)}; {words}.")
    seeds = [run for run in evaluation.others if run.other_seed]
    if seeds:
        sentences.append(_noise_floor(first, seeds, pairs.patients))
    if pairs.n < COARSE:
        sentences.append(f"With {pairs.n} pairs a single one is worth {100 / pairs.n:.1f} points: PI is coarse here.")
    return sentences


def _noise_floor(first: RunEvaluation, seeds: list[RunEvaluation], patients: int) -> str:
    """Say how PI stands to the disagreement with other seeds of the same experiment."""
    pi, shares = first.scores["pi/score"], [run.scores["disagreement"] for run in seeds]
    verdicts = [
        _verdict(pi.minus(share), patients, first.flips(), first.disagreements(run))
        for run, share in zip(seeds, shares, strict=True)
    ]
    if len(seeds) == 1:
        words = _words(verdicts[0], "PI lies above this noise floor", "PI lies below this noise floor")
        return f"Another seed decides {_percent(shares[0], brief=True)} of the same originals differently; {words}."
    low, high = min(share.estimate.value for share in shares), max(share.estimate.value for share in shares)
    return (
        f"{len(seeds)} other seeds decide {low:.1f} to {high:.1f} % of the same originals differently; PI lies above "
        f"this noise floor for {verdicts.count(1)} of them, below for {verdicts.count(-1)}; else they cannot be told "
        "apart."
    )


def _saliency(evaluation: Evaluation) -> list[str]:
    scores, pairs = evaluation.first.scores, evaluation.pairs
    counted = {side: scores[f"ols/{side}/score"].n for side in SIDES}
    if not any(counted.values()):
        return ["Cannot be told: no image has both lungs and a heat map."]

    # how many maps lie outside
    places = {"original": "On originals", "received": "As received"}
    sides = [side for side in SIDES if counted[side]]
    sentences = []
    for side in sides:
        score = scores[f"ols/{side}/score"]
        lie = "lies" if _count(score) == 1 else "lie"
        outside = f"{_count_of(score, 'heat map')} {lie} mostly outside the lungs ({_percent(score)})"
        sentences.append(f"{places[side]}, {outside}.")

    # what that is worth
    controls = {side: scores[f"ols/{side}/shuffled"] for side in sides if _is_defined(scores[f"ols/{side}/shuffled"])}
    words = {
        side: _beside_shuffled(
            scores[f"ols/{side}/score"].estimate,
            control.estimate,
            scores[f"ols/{side}/score_minus_shuffled"].estimate,
            pairs.patients,
        )
        for side, control in controls.items()
    }
    shares = {side: _percent(control, brief=True) for side, control in controls.items()}
    if len(set(words.values())) == 1:
        (same,) = set(words.values())
        sentences.append(f"With other patients' maps: {' and '.join(shares.values())}; {same}.")
    else:
        sentences += [f"{places[side]}, with other patients' maps: {shares[side]}; {words[side]}." for side in words]
    disc = scores["ols/original/centre_disc"]
    if _is_defined(disc):
        share = _percent(disc, brief=True)
        sentences.append(f"A disc in the middle of the image, which never looks at it, would score {share}.")

    n = counted["original"]
    if n < pairs.n:
        sentences.append(f"{n} of {pairs.n} originals count; the others have no lung mask or an empty heat map.")
    return sentences


def _beside_shuffled(score: Estimate, control: Estimate, difference: Estimate, patients: int) -> str:
    """Say how an OLS stands to that of other patients' maps, the control."""
    verdict = 0
    if not score.low <= control.value <= score.high:
        value = difference.value
        alike = Estimate(value, value, value)  # all images score alike
        verdict = _verdict(difference if isfinite(difference.low) else alike, patients)
    return {
        -1: "more than with its own, so the maps follow the individual image's lungs",
        0: "that cannot be told from its own, so the score may say no more than where maps lie on average",
        1: "less than with its own, so the maps avoid the individual image's lungs",
    }[verdict]


def _decision(evaluation: Evaluation) -> list[str]:
    first, scores = evaluation.first, evaluation.first.scores
    if "decision/original/accuracy" not in scores:
        return ["Cannot be told: the pairs have no labels."]

    # at all thresholds
    sentences = []
    original, received = (scores.get(f"decision/{side}/auroc") for side in SIDES)
    if original is not None and received is not None and _is_defined(original) and _is_defined(received):
        chance = "" if _is_above_chance(original) else " That is not shown to be better than chance."
        sentences.append(f"AUROC {_share(original)} on originals, {_share(received)} as received.{chance}")

    # at the one that is used
    labels = first.table.dropna(subset=["label", "p_original"])["label"]
    n, positive = len(labels), int(labels.sum())
    rates = []
    if positive:
        right = round(scores["decision/original/sensitivity"].estimate.value * positive)
        rates.append(f"{right} of {positive} labelled positives are found")
    if n > positive:
        right = round(scores["decision/original/specificity"].estimate.value * (n - positive))
        rates.append(f"{right} of {n - positive} labelled negatives are left alone")
    threshold = evaluation.settings.threshold
    sentences.append(f"At the threshold of {threshold:g}, on originals, {' and '.join(rates)}.")
    share, most = _share(scores["decision/original/accuracy"]), max(positive, n - positive) / n
    sentences.append(f"Accuracy {share}; always giving the more frequent answer would reach {most:.2f}.")
    return sentences


def _shortcuts(evaluation: Evaluation) -> list[str]:
    variants = {
        "lungs_removed": ("With the lungs blacked out", "what is not lung"),
        "border_only": (
            "With nothing but the image's border, without lungs",
            "what stands there, as markers or letters",
        ),
    }

    sentences = []
    for name, (change, cause) in variants.items():
        score = evaluation.first.scores.get(f"shortcut/{name}/auroc")
        if score is None:
            continue
        if not _is_defined(score):
            sentences.append(f"{change}: cannot be told, for only one class has images that this can be done to.")
            continue
        words = "not shown to be above chance (0.5)"
        if _is_above_chance(score) and evaluation.pairs.patients >= FEW:
            words = f"above chance, so {cause}, or the outline of the lungs, gives the label away"
        sentences.append(f"{change} the AUROC is {_share(score)}: {words}.")
    return sentences + class_sentences(evaluation.class_by_source)


class Beside(NamedTuple):
    """A score of another run, and whether the first run's differs.

    Attributes:
        value: The other run's.
        difference: First minus other, with interval.
        shown: By the rules, a difference is shown.
    """

    value: str
    difference: str
    shown: bool


def beside_others(evaluation: Evaluation) -> list[dict[str, Beside]]:
    """Return for each other run: score of :data:`COMPARED` -> its value beside the first run's."""
    return [
        {
            key: _beside(evaluation.first, other, key, evaluation.pairs.patients)
            for key in COMPARED
            if key in other.differences and isfinite(other.differences[key].value)
        }
        for other in evaluation.others
    ]


def _beside(first: RunEvaluation, other: RunEvaluation, key: str, patients: int) -> Beside:
    events = []
    if key == "pi/score":
        events = [first.flips(), other.flips()]
    elif key.startswith("ols/"):
        column, eta = f"iol_{key.split('/')[1]}", first.network.experiment.robustness.eta
        events = [out_of_lungs(run.table[column].to_numpy(), eta) for run in (first, other)]
    score, difference = other.scores[key], other.differences[key]
    text = partial(signed_number, whole=score.whole)
    return Beside(
        number(score.estimate.value, score.whole),
        text(difference.value) + interval(difference.low, difference.high, text, " to "),
        _verdict(difference, patients, *events) != 0,
    )


def _verdict(difference: Estimate, patients: int, *events: np.ndarray) -> int:
    """Return +1, -1: the first is shown to be more, less; 0: they cannot be told apart. See :data:`RULES`."""
    if patients < FEW or not isfinite(difference.low) or difference.low <= 0 <= difference.high:
        return 0
    if events and mcnemar(*(event[None] for event in events)).p >= 0.05:
        return 0
    return 1 if difference.value > 0 else -1


def _words(verdict: int, more: str, less: str) -> str:
    return {1: more, -1: less, 0: "the two cannot be told apart on these pairs"}[verdict]


def _is_above_chance(auroc: ResampledScore) -> bool:
    """Wilson's interval stands in where all resamples agree, as where all positives are above all negatives."""
    value, low, _ = auroc.estimate
    if not isfinite(low):
        low = wilson(round(value * auroc.n), auroc.n)[0]
    return low > 0.5


def _is_defined(score: ResampledScore) -> bool:
    return isfinite(score.estimate.value)


def _count(score: ResampledScore) -> int:
    """Return the images of a percentage."""
    return round(score.estimate.value * score.n / 100)


def _count_of(score: ResampledScore, what: str) -> str:
    return f"{_count(score)} of {score.n} {what}{'s' if score.n != 1 else ''}"


def _percent(score: ResampledScore, *, brief: bool = False) -> str:
    value, low, high = score.estimate
    ends = interval(low, high, "{:.1f}".format, " to ")
    return f"{value:.1f} %" + (ends if brief or not ends else f", 95 % interval {ends[2:-1]}")


def _share(score: ResampledScore) -> str:
    value, low, high = score.estimate
    return f"{value:.2f}" + interval(low, high, join=" to ")
