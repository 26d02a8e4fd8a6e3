"""The scores of an evaluation's pairs: each with an interval over patients, and how two differ on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import inf, isfinite, nan
from typing import NamedTuple

import numpy as np
import pandas as pd

from covidmt.evaluation.answers import Answers
from covidmt.evaluation.pair_table import REGION_THRESHOLDS, decision_odds
from experiments.lungs.masks import OTHER_HEART
from experiments.schema import Robustness, Target
from metrics import weighted
from metrics.bootstrap import PatientBootstrap, Statistic
from metrics.controls import ShuffledShares
from metrics.inference.auroc import auroc_difference, auroc_interval, lacking
from metrics.inference.calibration import calibration_slope
from metrics.inference.differences import FEW_PATIENTS, PairedDifference, paired_difference, require_exact
from metrics.intervals import Estimate, mean_interval, share_interval
from metrics.paired import SIDES, decide, flips, out_of_lungs

ETAS = tuple(round(0.05 * i, 2) for i in range(1, 20))
DECISION_THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))


@dataclass(frozen=True)
class ResampledScore:
    """A score of some of N images (or pairs), with how sure it is.

    Attributes:
        statistic: Its value under weights.
        bootstrap: Over the N images: of scores that are no mean of the images' values.
        counted: (N,) bool, the images that count.
        whole: 100 for a percentage, 1 for a share, None for a number of no fixed range.
        column: (N,) of a mean the images' values, unscaled, NaN where one does not count; else None.
        ranking: (N,) bool truth and (N,) scores of an AUROC; else None.
        classes: (N,) bool truth of another score that has an interval for enough patients of either class alone; else
            None.
        fixed: The estimate, where it is known already; else None.
        events: (N,) of a score that goes with a share of images, but is none, its 1 / 0 / NaN; else None.
        least: The lowest value that a number of no fixed range can have.

    Example:
        >>> score = mean_score(np.array([1, 0, np.nan, 0]), PatientBootstrap(list("abcd")))
        >>> score.estimate.value, score.n
        (33.33333333333333, 3)
    """

    statistic: Statistic
    bootstrap: PatientBootstrap
    counted: np.ndarray
    whole: float | None = 1.0
    column: np.ndarray | None = None
    ranking: tuple[np.ndarray, np.ndarray] | None = None
    classes: np.ndarray | None = None
    fixed: Estimate | None = None
    events: np.ndarray | None = None
    least: float = -inf

    @property
    def n(self) -> int:
        """Images that count."""
        return int(self.counted.sum())

    @property
    def patients(self) -> np.ndarray:
        """(N,) whose image each is, as numbers."""
        return self.bootstrap.patient_of_image

    @property
    def is_share(self) -> bool:
        """Whether it is a share of images: every one counts for it or against it."""
        if self.whole is None or self.column is None:
            return False
        return bool(np.isin(self.column[self.counted], (0, 1)).all())

    @cached_property
    def values(self) -> np.ndarray:
        """(1 + resamples,): of the images as they are, then of every resample."""
        return self.bootstrap.values(self.statistic)

    @cached_property
    def estimate(self) -> Estimate:
        """Value and 95 % interval, which ends where the score does."""
        found = self._estimate()
        return found._replace(low=max(found.low, self.least))  # NaN stays

    def _estimate(self) -> Estimate:
        if self.fixed is not None:
            return self.fixed
        if self.ranking is not None:
            truth, score = (part[self.counted] for part in self.ranking)
            return auroc_interval(truth, score, self.patients[self.counted])
        if self.column is None:
            found = self.bootstrap.interval(self.values, whole=self.whole)
            return found._replace(low=nan, high=nan) if self.few else found
        if self.is_share:
            return share_interval(self.column, self.patients, scale=self.whole or 1.0)
        scale = self.whole or 1.0
        unit = 1.0 if self.whole is not None else None
        return Estimate(*(scale * end for end in mean_interval(self.column, self.patients, whole=unit)))

    @property
    def few(self) -> str:
        """How many patients there are of a class, where they are too few for an interval; else empty."""
        truth = self.classes if self.ranking is None else self.ranking[0]
        return "" if truth is None else lacking(truth[self.counted], self.patients[self.counted])

    @property
    def reason(self) -> str:
        """Why there is no interval, or no value; empty where there is one, and where no image counts."""
        value, low, _ = self.estimate
        if not self.n or isfinite(low):
            return ""
        if self.few or isfinite(value):
            return self.few or "all images score alike"
        return "" if self.fixed is None else "one threshold tells all images right, or all probabilities are equal"

    @property
    def missing(self) -> str:
        """:attr:`reason`, behind what it explains.

        Example:
            >>> truth = np.arange(14) < 2
            >>> bootstrap = PatientBootstrap(np.arange(14), 50)
            >>> scores = binary_scores(truth, truth, truth * 0.9, truth * 2.2, truth | True, bootstrap)
            >>> scores["ap"].missing
            'no interval: 2 positive patients, at least 10 are needed'
            >>> scores["calibration_slope"].missing
            'not computed: 2 positive patients, at least 10 are needed'
        """
        about = "no interval" if isfinite(self.estimate.value) else "not computed"
        return f"{about}: {self.reason}" if self.reason else ""

    def minus(self, other: ResampledScore) -> PairedDifference | None:
        """Return the difference to another score of the same patients, each of one training; None: it is not told.

        It has no p-value where fewer than 20 patients count. Its interval ends where a difference does.
        """
        if self.fixed is not None and self.whole is None:
            return None
        found, end = self._minus(other), self.whole or inf
        p = nan if found.patients < FEW_PATIENTS else found.p
        return replace(found, low=max(found.low, -end), high=min(found.high, end), p=p)  # NaN stays

    def _minus(self, other: ResampledScore) -> PairedDifference:
        if self.is_share and other.is_share and self.column is not None and other.column is not None:
            return paired_difference(other.column[None], self.column[None], self.patients, scale=self.whole or 1.0)
        if self.ranking is not None and other.ranking is not None:
            rows = self.counted, other.counted
            truths = self.ranking[0][rows[0]], other.ranking[0][rows[1]]
            scores = self.ranking[1][rows[0]], other.ranking[1][rows[1]]
            return auroc_difference(truths, scores, (self.patients[rows[0]], self.patients[rows[1]]))
        patients = min(len(np.unique(self.patients[score.counted])) for score in (self, other))
        found, why = self.bootstrap.difference(self.values, other.values, patients), self.reason or other.reason
        if why:
            return replace(found, low=nan, high=nan, p=nan, why=why)

        # of means, and of what goes with a share of images
        rows = [score.events if score.column is None else score.column for score in (other, self)]
        events = [each[None] for each in rows if each is not None]
        return require_exact(found, *events, self.patients) if len(events) == 2 else found


class Curve(NamedTuple):
    """How a score depends on one setting.

    Attributes:
        x: The setting's values.
        lines: Name -> an estimate for each of them.
    """

    x: tuple[float, ...]
    lines: dict[str, list[Estimate]]


def mean_score(
    values: np.ndarray, bootstrap: PatientBootstrap, whole: float | None = 100.0, least: float = -inf
) -> ResampledScore:
    """Return the mean of a column.

    Args:
        values: (N,) events (1 / 0) or shares; NaN is left out.
        bootstrap: Over the N images.
        whole: What the mean is multiplied by; None: a number of no fixed range, as it is.
        least: The lowest value that such a number can have.
    """
    column = np.asarray(values, float)
    mean = partial(_scaled_mean, values=column, scale=whole or 1.0)
    return ResampledScore(mean, bootstrap, ~np.isnan(column), whole, column, least=least)


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
    scores = {f"pi/{name}": score for name, score in _instability(table, bootstrap).items()}
    scores |= _channels(table, answers, bootstrap)

    for side in SIDES:
        for heart, iol in ((answers.heart, "iol"), (OTHER_HEART[answers.heart], "other_iol")):
            out = out_of_lungs(table[f"{iol}_{side}"].to_numpy(), settings.eta)
            scores[f"ols/{side}/heart_{heart}"] = mean_score(out, bootstrap)
        scores |= {f"ols/{side}/{name}": score for name, score in _saliency(table, side, settings, bootstrap).items()}
        quality = _decision(table, side, bootstrap)
        scores |= {f"decision/{side}/{name}": score for name, score in quality.items()}
    for variant in ("lungs_removed", "border_only"):
        quality = _decision(table, variant, bootstrap)
        scores |= {f"shortcut/{variant}/{name}": quality[name] for name in ("accuracy", "auroc") if name in quality}
    return scores


def _channels(table: pd.DataFrame, answers: Answers, bootstrap: PatientBootstrap) -> dict[str, ResampledScore]:
    """Return PI of every channel, ``channel/<name>``; of a random one the mean over its draws, with their spread.

    ``draws/<name>/sd``: the standard deviation of the draws' PI scores; ``draws/<name>/any``: pairs that flip in some.
    """
    flips_of: dict[str, list[np.ndarray]] = {}
    for name, logits in answers.channel_logits.items():
        after = np.full(len(table), np.nan)
        after[answers.channel_rows] = answers.decided(logits)
        flips_of.setdefault(name.partition(" #")[0], []).append(_flips_beside(table, after))

    scores = {}
    for name, columns in flips_of.items():
        drawn = np.stack(columns)  # (draws, N)
        scores[f"channel/{name}"] = mean_score(drawn.mean(axis=0), bootstrap)
        if len(drawn) > 1:
            counted = np.asarray(~np.isnan(drawn).any(axis=0))
            spread = partial(_spread_of_means, columns=drawn)
            scores[f"draws/{name}/sd"] = ResampledScore(spread, bootstrap, counted, None)
            scores[f"draws/{name}/any"] = mean_score(np.where(counted, drawn.max(axis=0), np.nan), bootstrap)
    return scores


def _spread_of_means(weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Standard deviation of the columns' means, in percent."""
    return 100 * np.std([weighted.mean(weights, column) for column in columns], axis=0, ddof=1)


def _instability(table: pd.DataFrame, bootstrap: PatientBootstrap) -> dict[str, ResampledScore]:
    label, before, after = (table[name].to_numpy() for name in ("label", "p_original", "p_received"))
    flip, positive = table["flip"].to_numpy(), (table["positive_original"] == 1).to_numpy()
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
        scores[control] = mean_score(_flips_beside(table, table[f"positive_{control}"].to_numpy()), bootstrap)

    # how far answers move, whatever the threshold
    margins = table["margin_original"].to_numpy()
    change = np.abs(margins - table["margin_received"].to_numpy())
    spread = partial(_change_over_spread, change=change.astype(float), values=margins.astype(float))
    scores["logit_change"] = ResampledScore(spread, bootstrap, ~np.isnan(flip), None, least=0.0)
    return scores


def _flips_beside(table: pd.DataFrame, after: np.ndarray) -> np.ndarray:
    """Return where a control's or channel's decisions flip, of the pairs that count in the PI score."""
    flip = flips(table["positive_original"].to_numpy(), after)
    return np.where(table["p_received"].isna(), np.nan, flip)


def _saliency(
    table: pd.DataFrame, side: str, settings: Robustness, bootstrap: PatientBootstrap
) -> dict[str, ResampledScore]:
    label, lung, iol = table["label"].to_numpy(), table["lung_area"].to_numpy(), table[f"iol_{side}"].to_numpy()
    shuffled = ShuffledShares(*(table[f"{name}_{side}"].to_numpy() for name in ("shuffled", "shuffled_map"))).values
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
    for target in Target:
        columns[f"target_{target.value}"] = (
            out_of_lungs(table[f"iol_{side}:{target.value}"].to_numpy(), settings.eta),
            100,
        )
    return {
        name: mean_score(values, bootstrap, None if whole is None else float(whole))
        for name, (values, whole) in columns.items()
    }


def _decision(table: pd.DataFrame, name: str, bootstrap: PatientBootstrap) -> dict[str, ResampledScore]:
    """Return the quality of the decisions on a side or variant."""
    known = ~(table["label"].isna() | table[f"p_{name}"].isna()).to_numpy()
    truth, positive = (table["label"] == 1).to_numpy(), (table[f"positive_{name}"] == 1).to_numpy()
    return binary_scores(
        truth, positive, table[f"p_{name}"].to_numpy(float), decision_odds(table, name), known, bootstrap
    )


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
    flip = line([flips(decide(before, t), decide(after, t)) for t in DECISION_THRESHOLDS])
    return {
        "ols_over_eta": Curve(ETAS, over_eta),
        "ols_over_region_threshold": Curve(REGION_THRESHOLDS, over_threshold),
        "pi_over_decision_threshold": Curve(DECISION_THRESHOLDS, {"received": flip}),
    }


def binary_scores(
    truth: np.ndarray,
    positive: np.ndarray,
    probability: np.ndarray,
    odds: np.ndarray,
    known: np.ndarray,
    bootstrap: PatientBootstrap,
) -> dict[str, ResampledScore]:
    """Return accuracy, sensitivity, specificity, ppv, npv, f1, auroc, ap, and how well probabilities are calibrated.

    Args:
        truth: (N,) bool.
        positive: (N,) bool decisions.
        probability: (N,) float in [0, 1].
        odds: (N,) float, the probability's log-odds: they rank the images where probabilities round to 0 or 1.
        known: (N,) bool, the images that count.
        bootstrap: Over all N.

    Returns:
        Name -> score; empty where no image counts.
    """
    known = known & np.isfinite(probability)
    if not known.any():
        return {}
    right = truth == positive
    columns = {
        "accuracy": (right, known),
        "sensitivity": (right, known & truth),
        "specificity": (right, known & ~truth),
        "ppv": (right, known & positive),
        "npv": (right, known & ~positive),
    }
    scores = {
        name: mean_score(np.where(rows, values, np.nan), bootstrap, 1.0) for name, (values, rows) in columns.items()
    }
    scores["f1"] = _f1(truth, positive, known, bootstrap)

    # at all thresholds
    y, p, ranking = truth[known], probability[known], odds[known]
    area = partial(_of_rows, function=weighted.auroc, rows=known, truth=y, p=ranking)
    scores["auroc"] = ResampledScore(area, bootstrap, known, 1.0, ranking=(truth, odds))
    precision = partial(_of_rows, function=weighted.average_precision, rows=known, truth=y, p=ranking)
    scores["ap"] = ResampledScore(precision, bootstrap, known, 1.0, classes=truth)

    # do probabilities keep their word
    scores["brier"] = mean_score(np.where(known, (probability - truth) ** 2, np.nan), bootstrap, 1.0)
    scores["probability_minus_frequency"] = mean_score(np.where(known, probability - truth, np.nan), bootstrap, None)
    slope = calibration_slope(y, p, bootstrap.patient_of_image[known])
    fitted = partial(_constant, value=slope.value)
    scores["calibration_slope"] = ResampledScore(fitted, bootstrap, known, None, classes=truth, fixed=slope)
    return scores


def _f1(truth: np.ndarray, positive: np.ndarray, known: np.ndarray, bootstrap: PatientBootstrap) -> ResampledScore:
    """Return F1, which grows with the Jaccard index TP / (TP + FP + FN), a share of images: F1 = 2 J / (1 + J)."""
    rows = known & (truth | positive)
    events = np.where(rows, truth & positive, np.nan)
    jaccard = share_interval(events, bootstrap.patient_of_image)
    statistic = partial(_confusion, rows=known, truth=truth[known], positive=positive[known], name="f1")
    fixed = Estimate(*(2 * end / (1 + end) for end in jaccard))
    return ResampledScore(statistic, bootstrap, rows, 1.0, fixed=fixed, events=events)


def _scaled_mean(weights: np.ndarray, values: np.ndarray, scale: float) -> np.ndarray:
    return scale * weighted.mean(weights, values)


def _constant(weights: np.ndarray, value: float) -> np.ndarray:
    return np.full(len(weights), value)


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
