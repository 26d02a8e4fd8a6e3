"""The scores of an evaluation's pairs: each a statistic of images that a patient bootstrap can resample and compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from covidmt.evaluation.answers import Answers
from covidmt.evaluation.pair_table import REGION_THRESHOLDS
from experiments.schema import Robustness
from metrics import weighted
from metrics.bootstrap import Estimate, PatientBootstrap, Statistic
from metrics.paired import SIDES, flips, out_of_lungs

ETAS = tuple(round(0.05 * i, 2) for i in range(1, 20))
DECISION_THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))


@dataclass(frozen=True)
class ResampledScore:
    """A score of some of N images (or pairs), with the resamples that tell how sure it is.

    Attributes:
        statistic: Its value under weights.
        bootstrap: Over the N images.
        counted: (N,) bool, the images that count.
        whole: 100 for a percentage, 1 for a share, None for a number of no fixed range.

    Example:
        >>> score = mean_score(np.array([1, 0, np.nan, 0]), PatientBootstrap(list("abcd")))
        >>> score.estimate.value, score.n
        (33.33333333333333, 3)
    """

    statistic: Statistic
    bootstrap: PatientBootstrap
    counted: np.ndarray
    whole: float | None = 1.0

    @property
    def n(self) -> int:
        """Images that count."""
        return int(self.counted.sum())

    @cached_property
    def values(self) -> np.ndarray:
        """(1 + resamples,): of the images as they are, then of every resample."""
        return self.bootstrap.values(self.statistic)

    @cached_property
    def estimate(self) -> Estimate:
        """Value and 95 % interval."""
        return self.bootstrap.interval(self.values, share=self.whole, counted=self.counted)

    def minus(self, other: ResampledScore) -> Estimate:
        """Return the difference to another score of the same images."""
        return self.bootstrap.difference(self.values, other.values, share=self.whole, counted=self.counted)


class Curve(NamedTuple):
    """How a score depends on one setting.

    Attributes:
        x: The setting's values.
        lines: Name -> an estimate for each of them.
    """

    x: tuple[float, ...]
    lines: dict[str, list[Estimate]]


def mean_score(values: np.ndarray, bootstrap: PatientBootstrap, whole: float | None = 100.0) -> ResampledScore:
    """Return the mean of a column.

    Args:
        values: (N,) events (1 / 0) or shares; NaN is left out.
        bootstrap: Over the N images.
        whole: What the mean is multiplied by; None: a number of no fixed range, as it is.
    """
    column = np.asarray(values, float)
    mean = partial(_scaled_mean, values=column, scale=whole or 1.0)
    return ResampledScore(mean, bootstrap, ~np.isnan(column), whole)


def pair_scores(
    table: pd.DataFrame, answers: Answers, settings: Robustness, bootstrap: PatientBootstrap
) -> dict[str, ResampledScore]:
    """Return PI, OLS, their controls and the decision's quality by key.

    Args:
        table: Of :func:`covidmt.evaluation.pair_table.pair_table`.
        answers: What it was made of.
        settings: The definitions' settings.
        bootstrap: Over the table's patients.
    """
    scores = {f"pi/{name}": score for name, score in _instability(table, settings, bootstrap).items()}
    for channel, logits in answers.channel_logits.items():
        after = np.full(len(table), np.nan)
        after[answers.channel_rows] = answers.probability(logits)
        scores[f"channel/{channel}"] = mean_score(_flips_beside(table, after, settings), bootstrap)

    for side in SIDES:
        scores |= {f"ols/{side}/{name}": score for name, score in _saliency(table, side, settings, bootstrap).items()}
        quality = _decision(table, f"p_{side}", settings, bootstrap)
        scores |= {f"decision/{side}/{name}": score for name, score in quality.items()}
    for variant in ("lungs_removed", "border_only"):
        quality = _decision(table, f"p_{variant}", settings, bootstrap)
        scores |= {f"shortcut/{variant}/{name}": quality[name] for name in ("accuracy", "auroc") if name in quality}
    return scores


def _instability(table: pd.DataFrame, settings: Robustness, bootstrap: PatientBootstrap) -> dict[str, ResampledScore]:
    label, before, after = (table[name].to_numpy() for name in ("label", "p_original", "p_received"))
    flip = flips(before, after, settings.threshold)
    positive = before >= np.float32(settings.threshold)
    other_label = table["argmax_original"] != table["argmax_received"]
    scores = {
        "score": mean_score(flip, bootstrap),
        "positive_to_negative": mean_score(flip * positive, bootstrap),
        "negative_to_positive": mean_score(flip * ~positive, bootstrap),
        "labelled_positive": mean_score(np.where(label == 1, flip, np.nan), bootstrap),
        "labelled_negative": mean_score(np.where(label == 0, flip, np.nan), bootstrap),
        "argmax": mean_score(np.where(np.isnan(flip), np.nan, other_label), bootstrap),
        "probability_change": mean_score(np.abs(before - after), bootstrap, 1.0),
    }

    # what PI says by itself
    for control in ("noise", "inside", "outside"):
        scores[control] = mean_score(_flips_beside(table, table[f"p_{control}"].to_numpy(), settings), bootstrap)

    # how far answers move, whatever the threshold
    margins = table["margin_original"].to_numpy()
    change = np.abs(margins - table["margin_received"].to_numpy())
    spread = partial(_change_over_spread, change=change.astype(float), values=margins.astype(float))
    scores["logit_change"] = ResampledScore(spread, bootstrap, ~np.isnan(flip), None)
    return scores


def _flips_beside(table: pd.DataFrame, after: np.ndarray, settings: Robustness) -> np.ndarray:
    """Return where a control's or channel's answers flip, of the pairs that count in the PI score."""
    flip = flips(table["p_original"].to_numpy(), after, settings.threshold)
    return np.where(table["p_received"].isna(), np.nan, flip)


def _saliency(
    table: pd.DataFrame, side: str, settings: Robustness, bootstrap: PatientBootstrap
) -> dict[str, ResampledScore]:
    label, lung, iol = table["label"].to_numpy(), table["lung_area"].to_numpy(), table[f"iol_{side}"].to_numpy()
    shuffled = table[f"shuffled_{side}"].to_numpy()
    out = out_of_lungs(iol, settings.eta)
    lung_of_map = np.where((lung > 0) & ~np.isnan(iol), lung, np.nan)

    # resampling says how sure the shuffled score is, but not how sure one is that is the same for all images
    excess = 100 * (out - shuffled)
    if len(np.unique(out[~np.isnan(out)])) == 1 and not np.isnan(excess).all():
        excess = np.where(np.isnan(excess), np.nan, np.nanmean(excess))

    columns = {
        "score": (out, 100),
        "shuffled": (shuffled, 100),
        "score_minus_shuffled": (excess, None),
        "centre_disc": (out_of_lungs(table[f"disc_{side}"].to_numpy(), settings.eta), 100),
        "whole_image": (out_of_lungs(lung_of_map, settings.eta), 100),
        "labelled_positive": (np.where(label == 1, out, np.nan), 100),
        "labelled_negative": (np.where(label == 0, out, np.nan), 100),
        "mean_iol": (iol, 1),
        "energy": (table[f"energy_{side}"].to_numpy(), 1),
        "lung_area": (lung_of_map, 1),
        "region_area": (table[f"area_{side}"].to_numpy(), 1),
        "no_region": (table[f"zero_{side}"].to_numpy(), 100),
        "no_lung": (lung == 0, 100),
    }
    return {
        name: mean_score(values, bootstrap, None if whole is None else float(whole))
        for name, (values, whole) in columns.items()
    }


def _decision(
    table: pd.DataFrame, column: str, settings: Robustness, bootstrap: PatientBootstrap
) -> dict[str, ResampledScore]:
    known = ~(table["label"].isna() | table[column].isna()).to_numpy()
    p = table[column].to_numpy(np.float32)
    truth = (table["label"] == 1).to_numpy()
    return binary_scores(truth, p >= np.float32(settings.threshold), p.astype(float), known, bootstrap)


def score_curves(table: pd.DataFrame, settings: Robustness, bootstrap: PatientBootstrap) -> dict[str, Curve]:
    """Return how PI and OLS depend on their settings: curve -> its lines.

    Args:
        table: Of :func:`covidmt.evaluation.pair_table.pair_table`.
        settings: The definitions' settings: each curve changes one and leaves the others.
        bootstrap: Over the table's patients.
    """

    def line(columns: Sequence[np.ndarray]) -> list[Estimate]:
        return [mean_score(column, bootstrap).estimate for column in columns]

    over_eta, over_threshold = {}, {}
    for side in SIDES:
        iol = table[f"iol_{side}"].to_numpy()
        over_eta[side] = line([out_of_lungs(iol, eta) for eta in ETAS])
        iols = [table[f"iol_{side}@{t}"].to_numpy() for t in REGION_THRESHOLDS]
        over_threshold[side] = line([out_of_lungs(iol, settings.eta) for iol in iols])

    before, after = table["p_original"].to_numpy(), table["p_received"].to_numpy()
    flip = line([flips(before, after, t) for t in DECISION_THRESHOLDS])
    return {
        "ols_over_eta": Curve(ETAS, over_eta),
        "ols_over_region_threshold": Curve(REGION_THRESHOLDS, over_threshold),
        "pi_over_decision_threshold": Curve(DECISION_THRESHOLDS, {"received": flip}),
    }


def binary_scores(
    truth: np.ndarray, positive: np.ndarray, probability: np.ndarray, known: np.ndarray, bootstrap: PatientBootstrap
) -> dict[str, ResampledScore]:
    """Return accuracy, sensitivity, specificity, ppv, npv, f1, auroc, ap, ece of a yes-or-no label.

    Args:
        truth: (N,) bool.
        positive: (N,) bool decisions.
        probability: (N,) float in [0, 1], or anything that ranks alike (then ece means nothing).
        known: (N,) bool, the images that count.
        bootstrap: Over all N.

    Returns:
        Name -> score; empty where no image counts.
    """
    if not known.any():
        return {}
    y, d, p = truth[known], positive[known], probability[known]
    counted = {
        "accuracy": known,
        "sensitivity": known & truth,
        "specificity": known & ~truth,
        "ppv": known & positive,
        "npv": known & ~positive,
        "f1": known & (truth | positive),
    }
    scores = {
        name: ResampledScore(partial(_confusion, rows=known, truth=y, positive=d, name=name), bootstrap, rows)
        for name, rows in counted.items()
    }

    # no shares of images: without an interval where all resamples agree
    ranked = {"auroc": weighted.auroc, "ap": weighted.average_precision, "ece": weighted.calibration_error}
    for name, function in ranked.items():
        statistic = partial(_of_rows, function=function, rows=known, truth=y, p=p)
        scores[name] = ResampledScore(statistic, bootstrap, known, None)
    return scores


def score_differences(first: Mapping[str, ResampledScore], second: Mapping[str, ResampledScore]) -> dict[str, Estimate]:
    """Return first minus second for every score that both have."""
    return {key: score.minus(second[key]) for key, score in first.items() if key in second}


def _scaled_mean(weights: np.ndarray, values: np.ndarray, scale: float) -> np.ndarray:
    return scale * weighted.mean(weights, values)


def _confusion(weights: np.ndarray, rows: np.ndarray, truth: np.ndarray, positive: np.ndarray, name: str) -> np.ndarray:
    return weighted.confusion(weights[:, rows], truth, positive)[name]


def _of_rows(
    weights: np.ndarray, function: Callable[..., np.ndarray], rows: np.ndarray, truth: np.ndarray, p: np.ndarray
) -> np.ndarray:
    return function(weights[:, rows], truth, p)


def _change_over_spread(weights: np.ndarray, change: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of |change| over the standard deviation of the values: 1 is as large as the differences between images."""
    centre = weighted.mean(weights, values)
    variance = weighted.mean(weights, values**2) - centre**2
    return np.divide(
        weighted.mean(weights, change), np.sqrt(np.maximum(variance, 0)), out=np.full(len(weights), np.nan),
        where=variance > 1e-12,
    )  # fmt: skip
