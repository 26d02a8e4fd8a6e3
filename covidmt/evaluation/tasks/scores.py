"""PI, LI and OLS of every task with intervals over patients and their controls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from covidmt.evaluation.scores import ResampledScore, mean_score
from covidmt.evaluation.tasks.answers import BoxRows, LabelRows, decided
from experiments.schema import Robustness
from explain.task_decisions import TaskDecisions
from metrics.bootstrap import PatientBootstrap
from metrics.controls import shuffled_out
from metrics.paired import SIDES, flips, out_of_lungs
from metrics.tasks.localisation import LOCALISED_IOU, PairChange, compare_boxes


def label_stability(
    rows: LabelRows, decisions: TaskDecisions, settings: Robustness, resamples: int
) -> dict[str, ResampledScore]:
    """Return a classification task's PI (of any label, and of each), its control, and OLS with its controls.

    Args:
        rows: What a network answered to n pairs.
        decisions: How the task decides.
        settings: The definitions' settings.
        resamples: Of the bootstrap.
    """
    bootstrap = PatientBootstrap(np.array(rows.patients), resamples)
    before, after, noise = (decided(decisions, rows.logits[side]) for side in ("original", "received", "noise"))
    changed = flips(before, after)
    any_label = changed.max(axis=1)  # NaN where a label has no decision
    control = np.where(np.isnan(any_label), np.nan, flips(before, noise).max(axis=1))
    sides = [decisions.probability(torch.from_numpy(rows.logits[side])).numpy() for side in SIDES]

    scores = {"pi": mean_score(any_label, bootstrap), "noise": mean_score(control, bootstrap)}
    scores["probability_change"] = mean_score(np.abs(sides[0] - sides[1]).mean(axis=1), bootstrap, 1.0)
    if len(decisions.labels) > 1:
        columns = zip(decisions.labels, changed.T, strict=True)
        scores |= {f"label/{label}": mean_score(column, bootstrap) for label, column in columns}

    # where it looked
    for side in SIDES if rows.saliency else ():
        inside = rows.saliency[f"iol_{side}"]
        shuffled = shuffled_out(rows.regions[side], rows.lungs, rows.patients, settings.eta)
        scores |= {
            f"ols/{side}": mean_score(out_of_lungs(inside, settings.eta), bootstrap),
            f"ols_shuffled/{side}": mean_score(shuffled.values, bootstrap),
            f"ols_disc/{side}": mean_score(out_of_lungs(rows.saliency[f"disc_{side}"], settings.eta), bootstrap),
            f"mean_iol/{side}": mean_score(inside, bootstrap, 1.0),
        }
    return scores


def box_stability(rows: BoxRows, settings: Robustness, resamples: int) -> dict[str, ResampledScore]:
    """Return a box task's LI with direction and control, how far boxes move, and the share of boxes out of the lungs.

    Args:
        rows: What a network answered to n pairs.
        settings: The definitions' settings.
        resamples: Of the bootstrap.
    """
    bootstrap = PatientBootstrap(np.array(rows.patients), resamples)
    changes, noise = (
        [
            compare_boxes(before, other, {"boxes": truth}, score=settings.box_score)
            for before, other, truth in zip(rows.original, others, rows.truths, strict=True)
        ]
        for others in (rows.received, rows.noise)
    )
    scores: dict[str, ResampledScore] = {}
    for index, t in enumerate(LOCALISED_IOU):
        lost, gained, found = (_column(changes, name, index) for name in ("lost", "gained", "localised"))
        scores[f"li/{t:g}"] = mean_score(np.fmax(lost, gained), bootstrap)
        scores[f"li_lost/{t:g}"], scores[f"li_gained/{t:g}"] = (mean_score(each, bootstrap) for each in (lost, gained))
        scores[f"localised/{t:g}"] = mean_score(found, bootstrap)
        moved = np.fmax(_column(noise, "lost", index), _column(noise, "gained", index))
        scores[f"li_noise/{t:g}"] = mean_score(moved, bootstrap)

    for name in ("iou", "score_change"):
        values = np.array([np.nan if change is None else getattr(change, name) for change in changes])
        scores[name] = mean_score(values, bootstrap, 1.0)
    for side in SIDES:  # every box counts, with its image's patient
        inside = np.concatenate([np.empty(0, np.float32), *rows.inside[side]])
        patients = np.repeat(np.array(rows.patients), [len(each) for each in rows.inside[side]])
        if len(inside):
            out = out_of_lungs(inside, settings.eta)
            scores[f"ols/{side}"] = mean_score(out, PatientBootstrap(patients, resamples))
    return {name: score for name, score in scores.items() if score.n}


def _column(changes: Sequence[PairChange | None], name: str, index: int) -> np.ndarray:
    """(n,) 1 or 0 at one IoU; NaN where there is no true box, or no finite number."""
    return np.array(
        [np.nan if each is None or not each.is_known else float(getattr(each, name)[index]) for each in changes]
    )
