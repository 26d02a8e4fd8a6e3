"""Other runs beside the first one, on the same patients: what differs, and what such a difference is worth."""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import NamedTuple

from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.pages.numbers import interval, number, share, signed_number
from metrics.inference.differences import PairedDifference
from metrics.paired import SIDES

COMPARED = {
    "pi/score": "PI score, %",
    "ols/original/score": "OLS of originals, %",
    "ols/received/score": "OLS as received, %",
    "decision/original/auroc": "AUROC on originals",
    "shortcut/lungs_removed/auroc": "AUROC, lungs blacked out (higher is no merit)",
}
_COUNTED = {
    "pi/score": "answers change",
    "ols/original/score": "heat maps lie out of the lungs",
    "ols/received/score": "heat maps lie out of the lungs",
}
_BLIND = {"lungs_removed": "with the lungs blacked out", "border_only": "by nothing but the image's border"}
_PLACES = {"original": "on originals", "received": "as received"}


class Beside(NamedTuple):
    """A score of another run, and whether the first run's differs.

    Attributes:
        value: The other run's.
        difference: First minus other, with interval.
        shown: By the rules, a difference is shown.
        reason: Why that is not judged; empty where it is.
        few: How few patients disagree, where that alone keeps a difference from being shown; else empty.
    """

    value: str
    difference: str
    shown: bool
    reason: str = ""
    few: str = ""


def beside_others(evaluation: Evaluation) -> list[dict[str, Beside]]:
    """Return for each other run: score of :data:`COMPARED` -> its value beside the first run's."""
    return [
        {
            key: _beside(evaluation.first, other, key)
            for key in COMPARED
            if key in other.differences and isfinite(other.differences[key].value)
        }
        for other in evaluation.others
    ]


def beside_sentences(evaluation: Evaluation) -> list[str]:
    """Return what a difference that is shown is worth: one of OLS beside its control, one without the lungs."""
    first, sentences = evaluation.first, []
    for other in evaluation.others:
        about = f"Beside {other.name}: " if len(evaluation.others) > 1 else ""
        said = [text for side in SIDES for text in _of_other_maps(first, other, side)]
        said += [text for variant in _BLIND for text in _without_lungs(first, other, variant)]
        sentences += [about + text for text in said]
    return sentences


def is_shown(difference: PairedDifference) -> bool:
    """Return whether a difference is shown by :data:`~covidmt.evaluation.findings.RULES`."""
    return difference.verdict not in ("not shown", "unknown")


def bold_words(evaluation: Evaluation) -> str:
    """Say what a bold difference is worth, beside how many are bold and how many would be by chance alone."""
    differences = [
        each for other in evaluation.others for each in other.differences.values() if each.verdict != "unknown"
    ]
    if not differences:
        return "no difference is judged here, see its reason"
    n, shown = len(differences), sum(map(is_shown, differences))
    are = "is" if shown == 1 else "are"
    return (
        f"bold: these two trainings differ (the 95 % interval leaves out zero); on the page {shown} of {n} judged "
        f"differences {are} bold. Were both trainings equal on all patients like these, about {round(0.05 * n)} or "
        "fewer would be on average; as many rows measure the same, a single chance difference can make many more bold "
        "at once. Two seeds of one configuration need not be equal either. Bold on a control (grey), and on an OLS "
        "whose control differs as much, is no merit of either"
    )


def _beside(first: RunEvaluation, other: RunEvaluation, key: str) -> Beside:
    score, difference = other.scores[key], other.differences[key]
    text = partial(signed_number, whole=score.whole)
    few, mine = difference.few, first.scores[key]
    if few and key in _COUNTED and mine.n == score.n:
        counts = [round(each.estimate.value * each.n / 100) for each in (mine, score)]
        few = f"{counts[0]} against {counts[1]} of {score.n} {_COUNTED[key]}; {few}"
    return Beside(
        number(score.estimate.value, score.whole),
        text(difference.value) + interval(difference.low, difference.high, text, " to "),
        is_shown(difference),
        difference.reason,
        few,
    )


def _of_other_maps(first: RunEvaluation, other: RunEvaluation, side: str) -> list[str]:
    """Say how a difference of OLS that is shown stands to that of other patients' maps."""
    keys = [f"ols/{side}/{name}" for name in ("score", "shuffled", "score_minus_shuffled")]
    if not all(key in other.differences for key in keys):
        return []
    score, control, beyond = (other.differences[key] for key in keys)
    if not is_shown(score) or not isfinite(control.value):
        return []
    what, ends = f"The difference in OLS {_PLACES[side]}", signed_number(control.value, 100)
    if is_shown(beyond):
        return [
            f"{what} is not that with other patients' maps ({ends}): these two trainings differ also in how their maps "
            "go with the image's own lungs; that either decides by them is not shown."
        ]
    if not is_shown(control) or control.value * score.value < 0:
        return [
            f"{what} is not shown to be more than that with other patients' maps ({ends}): whether it is one of "
            "following the patient's lungs is not told."
        ]

    # which of the two follows lungs is a question of its own
    follow = [run.name for run in (first, other) if run.scores[keys[2]].estimate.high < 0]
    lungs = "that either follows the patient's lungs more is not shown, nor ruled out"
    if follow:
        lungs = (
            f"that {' and '.join(follow)} follows the patient's lungs more closely is not shown by it, nor ruled out"
        )
    return [
        f"{what} is about as large with other patients' maps ({ends}): {lungs}. It can come from the regions' usual "
        "place, from their size or shape, or from which answer is explained, which is not told apart."
    ]


def _without_lungs(first: RunEvaluation, other: RunEvaluation, variant: str) -> list[str]:
    """Say which of two networks tells the labels better where the lungs cannot be seen, if that is shown."""
    key = f"shortcut/{variant}/auroc"
    difference = other.differences.get(key)
    if difference is None or not is_shown(difference):
        return []
    better, worse = (first, other) if difference.value > 0 else (other, first)
    values = [share(run.scores[key].estimate.value) for run in (better, worse)]
    return [
        f"{better.name} tells the labels better {_BLIND[variant]} than {worse.name} (AUROC {values[0]} against "
        f"{values[1]}): no merit, for what the masks call lung is hidden there; its outline, and lung that "
        "they miss, are not."
    ]
