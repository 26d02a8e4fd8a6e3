"""What an evaluation found, in plain sentences that say how sure they are, by simple rules: :data:`RULES`."""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

import numpy as np

from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.evaluation.scores import ResampledScore
from covidmt.evaluation.sentences.beside import is_shown
from covidmt.evaluation.sentences.left_out import left_out_sentences
from covidmt.evaluation.sentences.origins import mix_sentences, source_sentences
from covidmt.pages.numbers import interval, share
from experiments.lungs.masks import OTHER_HEART
from experiments.schema import Target
from explain.picture import cells_text
from metrics.inference.differences import FEW_PATIENTS, PairedDifference
from metrics.intervals import Estimate
from metrics.paired import SIDES, out_of_lungs

COARSE = 200  # pairs below which a reader is told what a single one is worth
RULES = (
    "Two scores are said to differ only where the 95 % interval of their difference on the same patients leaves out "
    "zero; for a share of images an exact test on the patients on whom both disagree must find it too, so that fewer "
    "than six of them never suffice. `covidmt report` also adjusts for the number of comparisons. Where all images "
    "score alike, an OLS differs "
    "from that of other patients' maps only where the two intervals are apart; an AUROC is "
    "above chance only where its whole interval is. "
    f"With fewer than {FEW_PATIENTS} patients, and where there is no interval, that is not "
    "judged. That two scores cannot be told apart does not make them equal. "
    "Each network is one training: what differs, differs between these trainings, and another seed of "
    "either may answer otherwise."
)


class Finding(NamedTuple):
    """A card at the top of the report.

    Attributes:
        title: A question.
        sentences: Its answer.
    """

    title: str
    sentences: list[str]


def constant_sentences(evaluation: Evaluation) -> list[str]:
    """Say that the first network decides all originals alike; nothing where it does not."""
    positive = evaluation.first.table["positive_original"].dropna().to_numpy() == 1
    if not len(positive) or (positive.any() and not positive.all()):
        return []
    answer = "positive" if positive.any() else "negative"
    return [f"The network calls every original {answer}: then a low PI is no merit."]


def describe_findings(evaluation: Evaluation) -> list[Finding]:
    """Return the report's opening, of the first network; ``sentences.beside`` compares it with others."""
    cards = [
        Finding("Does the answer survive the channel?", _instability(evaluation)),
        Finding("Does the heat map lie on the lungs?", _saliency(evaluation)),
        Finding("Is the answer right?", _decision(evaluation)),
        Finding("Could it be right for a wrong reason?", _shortcuts(evaluation) + source_sentences(evaluation)),
        Finding("Can it be told who was trained on?", _membership(evaluation)),
    ]
    return [card for card in cards if card.sentences]


def _instability(evaluation: Evaluation) -> list[str]:
    first, pairs = evaluation.first, evaluation.pairs
    pi, noise = first.scores["pi/score"], first.scores["pi/noise"]
    if not pi.n:
        return ["Cannot be told: the network gave no probabilities."]

    # how many decisions change, in which direction
    lost, gained = (_count(first.scores[f"pi/{name}"]) for name in ("positive_to_negative", "negative_to_positive"))
    loses, gains = "loses" if lost == 1 else "lose", "gains" if gained == 1 else "gain"
    directions = f": {lost} {loses} the positive decision, {gained} {gains} it" if lost + gained else ""
    verb = "changes" if _count(pi) == 1 else "change"
    where = "in the simulated channel" if pairs.is_simulated else "on the way"
    sentences = [f"{_count_of(pi, 'decision')} {verb} {where} ({_percent(pi)}){directions}."]
    sentences += constant_sentences(evaluation)

    # what that is worth
    if noise.n:
        words = _words(pi.minus(noise), "the channel changes more", "the channel changes fewer")
        sentences.append(f"White noise of the same strength changes {_percent(noise, brief=True)}; {words}.")
    seeds = [run for run in evaluation.others if run.other_seed]
    if seeds:
        sentences.append(_noise_floor(first, seeds))
    if pairs.n < COARSE:
        sentences.append(f"With {pairs.n} pairs a single one is worth {100 / pairs.n:.1f} points: PI is coarse here.")
    return sentences


def _noise_floor(first: RunEvaluation, seeds: list[RunEvaluation]) -> str:
    """Say how PI stands to the disagreement with other trainings of the same experiment."""
    pi, shares = first.scores["pi/score"], [run.scores["disagreement"] for run in seeds]
    names = ", ".join(str(run.network.experiment.seed) for run in seeds)
    differences = [pi.minus(each) for each in shares]
    if len(seeds) == 1:
        words = _words(differences[0], "PI lies above this share", "PI lies below this share", "PI and this share")
        ends = _percent(shares[0]).replace("95 % interval ", "")
        decided = f"decides {_count_of(shares[0], 'original')} differently ({ends})"
        return f"One other training (seed {names}) {decided}; {words}. A third may decide more or fewer otherwise."
    low, high = min(each.estimate.value for each in shares), max(each.estimate.value for each in shares)
    signs = [_sign(each) for each in differences]
    return (
        f"{len(seeds)} other trainings (seeds {names}) decide {low:.1f} to {high:.1f} % of the same originals "
        f"differently; PI is shown to lie above this share for {signs.count(1)} of them, below for {signs.count(-1)}; "
        "for the others that is not shown, or not judged."
    )


def _saliency(evaluation: Evaluation) -> list[str]:
    scores, pairs = evaluation.first.scores, evaluation.pairs
    counted = {side: scores[f"ols/{side}/score"].n for side in SIDES}
    if not any(counted.values()):
        return ["Cannot be told: no image has both lungs and a heat map.", *left_out_sentences(evaluation)]

    # how many maps lie outside
    places = {"original": "On originals", "received": "As received"}
    sides = [side for side in SIDES if counted[side]]
    eta, sentences = evaluation.settings.eta, []
    for side in sides:
        score, energy = scores[f"ols/{side}/score"], scores[f"ols/{side}/energy"]
        have = "has" if _count(score) == 1 else "have"
        sentences.append(
            f"{places[side]}, {_count_of(score, 'heat map')} {have} less than {100 * eta:g} % (eta) of their hottest "
            f"region inside the lungs ({_percent(score)}); on average {100 * energy.estimate.value:.0f} % of all heat "
            f"is inside{_hot_everywhere(scores[f'ols/{side}/lung_area'])}."
        )
    cells = evaluation.first.answers.maps[evaluation.first.answers.target]["original"].shape[1:]
    sentences.append(f"Heat map: {cells_text((cells[0], cells[1]))}.")
    sentences += _other_conventions(evaluation) + mix_sentences(evaluation)

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
        would = _percent(disc, brief=True)
        sentences.append(f"A disc in the middle of the image, whatever the image, would score {would}.")
    return sentences + left_out_sentences(evaluation)


def _hot_everywhere(area: ResampledScore) -> str:
    return f" (a map hot everywhere would have {100 * area.estimate.value:.0f} %)" if _is_defined(area) else ""


def _other_conventions(evaluation: Evaluation) -> list[str]:
    """Say what the OLS of originals would be with other lungs and another explained answer, and who drew the masks."""
    settings, pairs, scores = evaluation.settings, evaluation.pairs, evaluation.first.scores
    lungs = scores[f"ols/original/heart_{OTHER_HEART[settings.heart]}"]
    positive = scores[f"ols/original/target_{Target.positive.value}"]
    parts = []
    if _is_defined(lungs):
        where = {"in": "with the part behind the heart", "out": "with lungs that stop at the heart"}
        parts.append(f"{where[OTHER_HEART[settings.heart]]} it would be {_of_images(lungs)}")
    if _is_defined(positive) and settings.target != Target.positive.value:
        would = "" if parts else "it would be "
        parts.append(
            f"with maps that explain the positive answer {would}{_of_images(positive)}{_of_the_same(evaluation)}"
        )
    sentences = [f"On originals, {'; '.join(parts)}."] if parts else []
    if pairs.masks_drawn:
        were, masks = ("was", "mask") if pairs.masks == 1 else ("were", "masks")
        sentences.append(f"{pairs.masks_drawn} of {pairs.masks} lung {masks} {were} drawn by a segmentation network.")
    return sentences


def _of_the_same(evaluation: Evaluation) -> str:
    """Say what the OLS is of the originals that have a map of the positive answer; nothing where those are all."""
    table = evaluation.first.table
    has_map = table[f"iol_original:{Target.positive.value}"].notna()
    own = table["iol_original"]
    both = own[has_map].dropna()
    if len(both) == own.notna().sum() or both.empty:
        return ""
    out = 100 * float(np.mean(out_of_lungs(both.to_numpy(), evaluation.settings.eta)))
    return f"; of these, {len(both)} have a map of {evaluation.settings.explained} too, and {out:.1f} % with it"


def _of_images(score: ResampledScore) -> str:
    return f"{score.estimate.value:.1f} % (of {score.n} image{'s' if score.n != 1 else ''})"


def _beside_shuffled(score: Estimate, control: Estimate, difference: Estimate, patients: int) -> str:
    """Say how an OLS stands to that of other patients' maps, the control."""
    if patients < FEW_PATIENTS:
        return f"whether that differs from its own is not judged ({patients} patients, {FEW_PATIENTS} are needed)"
    if isfinite(difference.low):
        shown = not difference.low <= 0 <= difference.high
    else:  # all images score alike: the two scores' own intervals are apart
        low, high = control[1:] if isfinite(control.low) else (control.value, control.value)
        shown = score.high < low or high < score.low
    verdict = 0
    if shown:
        verdict = 1 if difference.value > 0 else -1
    return {
        -1: "more than with its own: the maps go with this image's lungs; that the network decides by them is not "
        "shown",
        0: "that cannot be told from its own, so the score may say no more than where maps lie on average",
        1: "less than with its own: the maps lie less in this image's lungs than others' do",
    }[verdict]


def _decision(evaluation: Evaluation) -> list[str]:
    first, scores = evaluation.first, evaluation.first.scores
    if "decision/original/accuracy" not in scores:
        return ["Cannot be told: the pairs have no labels."]

    # at all thresholds
    sentences = []
    original, received = (scores.get(f"decision/{side}/auroc") for side in SIDES)
    if original is not None and received is not None and _is_defined(original) and _is_defined(received):
        sentences.append(_both_aurocs(original, received))

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
    sentences.append(f"On originals, called {evaluation.settings.decision}, {' and '.join(rates)}.")
    accuracy, most = scores["decision/original/accuracy"], first.most_frequent("original")
    of = f"Accuracy of {evaluation.settings.label} or not, on {n} originals: {_share(accuracy)}"
    beside = f"always giving the more frequent answer would reach {most:.2f}"
    sentences.append(f"{of}; {beside}{_beside_guessing(accuracy.estimate, most)}.")
    return sentences + [each for each in source_sentences(evaluation) if each.startswith("Of these")]


def _beside_guessing(accuracy: Estimate, guessed: float) -> str:
    """Say what an accuracy is worth beside that of always giving the more frequent answer; nothing without interval."""
    if accuracy.low > guessed:
        return ", below the whole interval: the network does better than guessing"
    if accuracy.high < guessed:
        return ", above the whole interval: the network does worse than guessing"
    if accuracy.low <= guessed <= accuracy.high:
        return ", which the interval includes: better than guessing is not shown"
    return ""


def _both_aurocs(original: ResampledScore, received: ResampledScore) -> str:
    """Say the AUROC of both sides, and whether that of originals is above chance."""
    if original.few:
        few, needed = original.few.split(", ")
        values = f"AUROC {share(original.estimate.value)} on originals, {share(received.estimate.value)} as received"
        number_needed = needed.removeprefix("at least ")
        return (
            f"{values}; with {few} ({number_needed}) no interval is given, so whether that is above chance is not "
            "judged here."
        )
    chance = "" if original.estimate.low > 0.5 else " On originals that is not shown to be better than chance."
    return f"AUROC {_share(original)} on originals, {_share(received)} as received.{chance}"


def _shortcuts(evaluation: Evaluation) -> list[str]:
    variants = {
        "lungs_removed": "With the lungs blacked out, as the masks draw them",
        "border_only": "With nothing but the image's border, without the lungs as the masks draw them",
    }

    sentences, patients, above = [], evaluation.pairs.patients, False
    for name, change in variants.items():
        score = evaluation.first.scores.get(f"shortcut/{name}/auroc")
        if score is None:
            continue
        if not _is_defined(score):
            sentences.append(f"{change}: cannot be told, for only one class has images that this can be done to.")
            continue
        words = "not shown to be above chance (0.5)"
        if score.few:
            words = "whether that is above chance is not judged"
        elif patients < FEW_PATIENTS:
            words = f"whether that is above chance is not judged ({patients} patients, {FEW_PATIENTS} are needed)"
        elif score.estimate.low > 0.5:
            words, above = "above chance", True
        sentences.append(f"{change}, the AUROC is {_share(score)}: {words}.")
    if above:
        sentences.append(
            "Without the lungs the network still ranks positives above negatives more often than chance; markers, "
            "crops, contrast, the lungs' outline, the source's processing, or lung that the masks miss may be why, "
            "which is not told apart here."
        )
    return sentences


def _membership(evaluation: Evaluation) -> list[str]:
    """Say what a loss-threshold attack gains; nothing where none was made."""
    advantage = evaluation.first.scores.get("membership/advantage")
    if advantage is None:
        return []
    low, patients = advantage.estimate.low, advantage.bootstrap.n_patients
    if patients < FEW_PATIENTS or not isfinite(low):
        why = f"{patients} patients, {FEW_PATIENTS} are needed" if patients < FEW_PATIENTS else "no interval"
        shown = f"whether that is more than chance (0) is not judged ({why})"
    else:
        shown = "more than chance (0)" if low > 0 else "not shown to be more than chance (0)"
    return [f"An attacker who knows the loss has an advantage of {_share(advantage)}: {shown}."]


def _sign(difference: PairedDifference | None) -> int:
    """Return +1, -1: the first is shown to be more, less; 0: it is not shown, or not judged. See :data:`RULES`."""
    if difference is None or not is_shown(difference):
        return 0
    return 1 if difference.value > 0 else -1


def _words(difference: PairedDifference | None, more: str, less: str, both: str = "the two") -> str:
    if difference is None or difference.verdict == "unknown":
        why = f" ({difference.reason})" if difference is not None else ""
        return f"whether {both} differ is not judged{why}"
    if difference.few:
        return f"{both} cannot be told apart on these pairs ({difference.few.replace('two trainings', 'the two')})"
    return {1: more, -1: less, 0: f"{both} cannot be told apart on these pairs"}[_sign(difference)]


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
    return share(value) + (f" ({score.missing})" if score.missing else interval(low, high, share, " to "))
