"""What an evaluation found, in plain sentences that say how sure they are, by simple rules: :data:`RULES`.

The second condition on an OLS is for scores near 0 or 100 %: the fewer the images that differ, the less a bootstrap of
the difference to the control knows of its spread. A score of exactly 0 or 100 % is so in every resample; it has no such
interval at all, and its own one, Wilson's, decides alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covidmt.evaluation.decisions import decides, differ, flips
from covidmt.evaluation.result import Evaluated
from covidmt.evaluation.table import interval, number
from datamodules.checks.shortcuts import giveaways
from metrics.bootstrap import Estimate
from metrics.intervals import wilson
from metrics.paired import SIDES, mcnemar

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


def findings(subjects: Sequence[Evaluated], result: dict[str, Any]) -> list[Finding]:
    """The report's opening, of the first network; :func:`beside` compares it."""
    cards = [
        Finding("Does the answer survive the channel?", _instability(subjects, result)),
        Finding("Does the network look at the lungs?", _saliency(subjects[0], result)),
        Finding("Is the answer right?", _decision(subjects[0], result)),
        Finding("Could it be right for a wrong reason?", _shortcuts(result)),
    ]
    return [card for card in cards if card.sentences]


def class_sentences(result: dict[str, Any]) -> list[str]:
    """Which class the origin of the images gives away."""
    counts = pd.DataFrame.from_dict(result["class_by_source"], orient="index").fillna(0).astype(int)
    return giveaways("source", counts)


def _instability(subjects: Sequence[Evaluated], result: dict[str, Any]) -> list[str]:
    first, scores, pairs = subjects[0], result["runs"][0]["scores"], result["pairs"]
    pi = scores["pi/score"]
    if not pi["n"]:
        return ["Cannot be told: the network gave no probabilities."]
    lost, gained = (_count(scores[f"pi/{name}"]) for name in ("positive_to_negative", "negative_to_positive"))
    directions = f": {lost} lose the positive decision, {gained} gain it" if lost + gained else ""
    said = [f"{_of(pi, 'decision')} {_changes(_count(pi))} on the way ({_percent(pi)}){directions}."]
    decided = decides(first)
    decided = decided[~np.isnan(decided)]
    if np.ptp(decided) == 0:
        answer = "positive" if decided[0] else "negative"
        said.append(f"But the network calls every original {answer}: then a low PI is no merit.")
    if scores["pi/noise"]["n"]:
        verdict = _verdict(_difference(first, "pi/score", "pi/noise"), pairs, flips(first), flips(first, "p_noise"))
        words = _words(verdict, "the channel does more than that", "the channel does less than that")
        said.append(f"White noise of the same strength changes {_percent(scores['pi/noise'], brief=True)}; {words}.")
    seeds = [(other, run) for other, run in zip(subjects[1:], result["runs"][1:], strict=True) if run["other_seed"]]
    if seeds:
        said.append(_noise_floor(first, seeds, pairs))
    if pairs["n"] < COARSE:
        said.append(f"With {pairs['n']} pairs a single one is worth {100 / pairs['n']:.1f} points: PI is coarse here.")
    return said


def _noise_floor(first: Evaluated, seeds: list[tuple[Evaluated, dict[str, Any]]], pairs: dict[str, Any]) -> str:
    """How PI stands to the disagreement with other seeds of the same experiment."""
    verdicts = []
    for other, _ in seeds:
        estimate = first.scores["pi/score"].minus(other.scores["disagreement"])
        verdicts.append(_verdict(estimate, pairs, flips(first), differ(decides(first), decides(other))))
    shares = [run["scores"]["disagreement"] for _, run in seeds]
    if len(seeds) == 1:
        words = _words(verdicts[0], "PI lies above this noise floor", "PI lies below this noise floor")
        return f"Another seed decides {_percent(shares[0], brief=True)} of the same originals differently; {words}."
    low, high = min(share["value"] for share in shares), max(share["value"] for share in shares)
    above, below = verdicts.count(1), verdicts.count(-1)
    return (
        f"{len(seeds)} other seeds decide {low:.1f} to {high:.1f} % of the same originals differently; PI lies above "
        f"this noise floor for {above} of them, below for {below}; else they cannot be told apart."
    )


def _saliency(first: Evaluated, result: dict[str, Any]) -> list[str]:
    scores, pairs = result["runs"][0]["scores"], result["pairs"]
    if not any(scores[f"ols/{side}/score"]["n"] for side in SIDES):
        return ["Cannot be told: no image has both lungs and a heat map."]
    said, words = [], []
    for side, where in zip(SIDES, ("On originals", "As received"), strict=True):
        score, control = scores[f"ols/{side}/score"], scores[f"ols/{side}/shuffled"]
        if score["n"]:
            lie = "lies" if _count(score) == 1 else "lie"
            said.append(f"{where}, {_of(score, 'heat map')} {lie} mostly outside the lungs ({_percent(score)}).")
            words.append((where, control, _shuffled(score, control, scores[f"ols/{side}/score_minus_shuffled"], pairs)))
    words = [each for each in words if _known(each[1])]
    if len({text for _, _, text in words}) == 1:
        controls = " and ".join(_percent(control, brief=True) for _, control, _ in words)
        said.append(f"With other patients' maps: {controls}; {words[0][2]}.")
    else:
        said += [f"{where}, with other patients' maps: {_percent(c, brief=True)}; {text}." for where, c, text in words]
    disc = scores["ols/original/centre_disc"]
    if _known(disc):
        said.append(
            f"A disc in the middle of the image, which never looks at it, would score {_percent(disc, brief=True)}."
        )
    counted = scores["ols/original/score"]["n"]
    if counted < pairs["n"]:
        said.append(f"{counted} of {pairs['n']} originals count; the others have no lung mask or an empty heat map.")
    return said


def _shuffled(score: dict, control: dict, difference: dict, pairs: dict[str, Any]) -> str:
    verdict, value = 0, difference["value"]
    if not score["low"] <= control["value"] <= score["high"]:
        alone = Estimate(value, value, value)  # all images score alike
        verdict = _verdict(_estimate(difference) if isfinite(difference["low"]) else alone, pairs)
    return {
        -1: "more than with its own, so the maps follow the individual image's lungs",
        0: "that cannot be told from its own, so the score may say no more than where maps lie on average",
        1: "less than with its own, so the maps avoid the individual image's lungs",
    }[verdict]


def _decision(first: Evaluated, result: dict[str, Any]) -> list[str]:
    scores, settings = result["runs"][0]["scores"], result["settings"]
    if "decision/original/accuracy" not in scores:
        return ["Cannot be told: the pairs have no labels."]
    said = []
    auroc = [scores.get(f"decision/{side}/auroc") for side in SIDES]
    if all(map(_known, auroc)):
        chance = "" if _above_chance(auroc[0]) else " That is not shown to be better than chance."
        said.append(f"AUROC {_share(auroc[0])} on originals, {_share(auroc[1])} as received.{chance}")
    labels = first.table.dropna(subset=["label", "p_original"])["label"]
    n, positive = len(labels), int(labels.sum())
    rates = [
        f"{round(scores[f'decision/original/{name}']['value'] * of)} of {of} {what}"
        for name, of, what in (("sensitivity", positive, "labelled positives are found"),
                               ("specificity", n - positive, "labelled negatives are left alone"))
        if of
    ]  # fmt: skip
    said.append(f"At the threshold of {settings['threshold']:g}, on originals, {' and '.join(rates)}.")
    accuracy = scores["decision/original/accuracy"]
    most = max(positive, n - positive) / n
    said.append(f"Accuracy {_share(accuracy)}; always giving the more frequent answer would reach {most:.2f}.")
    return said


def _shortcuts(result: dict[str, Any]) -> list[str]:
    scores, said = result["runs"][0]["scores"], []
    for name, what, so in (
        ("lungs_removed", "With the lungs blacked out", "what is not lung"),
        (
            "border_only",
            "With nothing but the image's border, without lungs",
            "what stands there, as markers or letters",
        ),
    ):
        score = scores.get(f"shortcut/{name}/auroc")
        if _known(score):
            shown = _above_chance(score) and result["pairs"]["patients"] >= FEW
            words = (
                f"above chance, so {so}, or the outline of the lungs, gives the label away"
                if shown
                else "not shown to be above chance (0.5)"
            )
            said.append(f"{what} the AUROC is {_share(score)}: {words}.")
        elif score is not None:
            said.append(f"{what}: cannot be told, for only one class has images that this can be done to.")
    return said + class_sentences(result)


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


def beside(subjects: Sequence[Evaluated], result: dict[str, Any]) -> list[dict[str, Beside]]:
    """For each other run: score of :data:`COMPARED` -> its value beside the first run's."""
    first, found = subjects[0], []
    for other, run in zip(subjects[1:], result["runs"][1:], strict=True):
        events = {"pi/score": (flips(first), flips(other))}
        events |= {f"ols/{side}/score": (_out(first, side), _out(other, side)) for side in SIDES}
        row = {}
        for key in COMPARED:
            score, difference = run["scores"].get(key), run["difference"].get(key)
            if score and difference and isfinite(difference["value"]):
                whole = score["whole"]
                text = partial(signed, whole=whole)
                shown = _verdict(_estimate(difference), result["pairs"], *events.get(key, ())) != 0
                row[key] = Beside(
                    number(score["value"], whole), text(difference["value"]) + interval(difference, text, " to "), shown
                )
        found.append(row)
    return found


def signed(value: float | None, whole: float | None) -> str:
    """A difference with its sign."""
    if value is None or not isfinite(value):
        return number(value, whole)
    text = number(value, whole).replace("-", "−")
    return text if value < 0 else f"+{text}"


def _verdict(difference: Estimate, pairs: dict[str, Any], *events: np.ndarray) -> int:
    """+1, -1: the first is shown to be more, less; 0: they cannot be told apart. See the top of this file."""
    if pairs["patients"] < FEW or not isfinite(difference.low) or difference.low <= 0 <= difference.high:
        return 0
    if events and mcnemar(*(event[None] for event in events)).p >= 0.05:
        return 0
    return 1 if difference.value > 0 else -1


def _words(verdict: int, more: str, less: str) -> str:
    return {1: more, -1: less, 0: "the two cannot be told apart on these pairs"}[verdict]


def _estimate(score: dict[str, Any]) -> Estimate:
    return Estimate(*(score[name] for name in Estimate._fields))


def _difference(first: Evaluated, one: str, other: str) -> Estimate:
    return first.scores[one].minus(first.scores[other])


def _out(subject: Evaluated, side: str) -> np.ndarray:
    """(N,) 1 where the map is out of the lungs, NaN where that is not defined."""
    values = subject.table[f"iol_{side}"]
    return np.where(values.notna(), values < np.float32(subject.experiment.robustness.eta), nan)


def _above_chance(auroc: dict[str, Any]) -> bool:
    """Wilson's interval stands in where all resamples agree, as where all positives are above all negatives."""
    low = auroc["low"] if isfinite(auroc["low"]) else wilson(round(auroc["value"] * auroc["n"]), auroc["n"])[0]
    return low > 0.5


def _known(score: dict[str, Any] | None) -> bool:
    return score is not None and isfinite(score["value"])


def _count(score: dict[str, Any]) -> int:
    """Images of a percentage."""
    return round(score["value"] * score["n"] / 100)


def _of(score: dict[str, Any], what: str) -> str:
    return f"{_count(score)} of {score['n']} {what}{'s' if score['n'] != 1 else ''}"


def _changes(count: int) -> str:
    return "changes" if count == 1 else "change"


def _percent(score: dict[str, Any], *, brief: bool = False) -> str:
    ends = interval(score, "{:.1f}".format, " to ")
    return f"{score['value']:.1f} %" + (ends if brief or not ends else f", 95 % interval {ends[2:-1]}")


def _share(score: dict[str, Any]) -> str:
    return f"{score['value']:.2f}" + interval(score, "{:.2f}".format, " to ")
