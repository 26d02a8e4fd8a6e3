"""Where an evaluation's images are from: what the origin gives away, and what the mix of classes does to a total."""

from __future__ import annotations

import pandas as pd

from covidmt.evaluation.result import Evaluation
from covidmt.evaluation.sentences.beside import is_shown
from datamodules.checks.shortcuts import find_giveaways, giveaway_of_pairs
from metrics.paired import SIDES

_PLACES = {"original": "On originals", "received": "As received"}


def source_sentences(evaluation: Evaluation) -> list[str]:
    """Return whether the origin of the evaluated pairs, and of the deciding task's images, gives the class away."""
    pairs, label = evaluation.pairs, evaluation.settings.label
    network = evaluation.first.network.experiment
    task = network.tasks[network.robustness.task]

    # the pairs themselves
    found = find_giveaways(_counts(evaluation.pairs_by_source))
    own = next((each for each in found if each.label == label), None)
    sentences = [giveaway_of_pairs(found, label)] if own is not None else []

    # the task's own images, where they are others than the pairs
    of_task = find_giveaways(_counts(evaluation.class_by_source))
    if task.source == pairs.source and _n_images(evaluation.class_by_source) == _n_images(evaluation.pairs_by_source):
        of_task = []
    which = f"The {pairs.split} images of task {task.name}"
    for each in of_task:
        shares = f"{each.inside} of {each.images} labelled {label} and {each.outside} of {each.others} others"
        if own is not None and (each.label, each.values) == (label, own.values):
            sentences.append(f"Of the {pairs.split} images of task {task.name}, {shares} are from {own.values}.")
        else:
            sentences.append(f"{which}: {each.sentence('source')}")
    return sentences


def _n_images(class_by_source: dict[str, dict[str, int]]) -> int:
    return sum(sum(counts.values()) for counts in class_by_source.values())


def _counts(class_by_source: dict[str, dict[str, int]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(class_by_source, orient="index").fillna(0).astype(int)


def mix_sentences(evaluation: Evaluation) -> list[str]:
    """Return for either side where the heat maps out of the lungs are of one class, or of one class far more often.

    Nothing is said where that is not shown, and of fewer than two such maps.
    """
    texts = [_outside_by_class(evaluation, side) for side in SIDES]
    return [f"{_PLACES[side]}, {text}." for side, text in zip(SIDES, texts, strict=True) if text]


def _outside_by_class(evaluation: Evaluation, side: str) -> str:
    """Say of which class the maps out of the lungs are; empty: of both, or there are too few."""
    names = {"positive": evaluation.settings.label, "negative": f"not {evaluation.settings.label}"}
    scores = {name: evaluation.first.scores[f"ols/{side}/labelled_{name}"] for name in names}
    if not all(score.n for score in scores.values()):
        return ""
    counts = {name: round(score.estimate.value * score.n / 100) for name, score in scores.items()}
    difference = scores["positive"].minus(scores["negative"])
    shown, total = difference is not None and is_shown(difference), sum(counts.values())
    depends = f"the total {'depends' if shown else 'may depend'} on the mix of classes"
    shares = {name: f"{counts[name] or 'none'} of {scores[name].n}" for name in names}
    alone = [name for name in names if counts[name] == total]
    if total < 2 or not (shown or alone):
        return ""
    if not alone:
        return f"{' and '.join(f'{shares[name]} labelled {name}' for name in names)} lie outside: {depends}"

    # all of one class, which may be one source
    (name,) = alone
    (other,) = names.keys() - {name}
    origins = evaluation.pairs_by_source.get(names[name], {})
    several = len({origin for each in evaluation.pairs_by_source.values() for origin in each}) > 1
    source = f", from {next(iter(origins))}" if several and len(origins) == 1 else ""
    unlabelled = evaluation.first.scores[f"ols/{side}/score"].n - sum(score.n for score in scores.values())
    which = (
        f"all {total} maps out of the lungs{' that have a label' if unlabelled else ''} are of images labelled {name}"
    )
    return f"{which} ({shares[name]}; {shares[other]} {other}s){source}: {depends}"
