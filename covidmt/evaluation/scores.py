"""The scores of an evaluation: each a statistic of images that a patient bootstrap can resample and compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.progress import track

from covidmt.evaluation.answers import Answers, TaskAnswers
from experiments.schema import Robustness, Task, TaskKind
from explain.heat import heat_map, heat_region
from metrics import weighted
from metrics.bootstrap import Estimate, PatientBootstrap, Statistic
from metrics.controls import centre_disc_iol, energy_inside, iol_over_thresholds, pack, shuffled_out, unpack
from metrics.detection import COCO_IOU, RSNA_IOU, match_boxes, mean_average_precision, rsna_precision
from metrics.paired import SIDES
from metrics.saliency import iol

REGION_THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(1, 10))
ETAS = tuple(round(0.05 * i, 2) for i in range(1, 20))
DECISION_THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
BOX_SCORE = 0.5  # detections of at least this confidence are submitted to the RSNA challenge's score
_CHUNK = 64  # images whose heat maps are in memory at once


@dataclass(frozen=True)
class Score:
    """A score of some of N images (or pairs).

    Attributes:
        statistic: Its value under weights.
        bootstrap: Over the N images.
        counted: (N,) bool, the images that count.
        whole: 100 for a percentage, 1 for a share, None for a number of no fixed range.
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
        """Of the images as they are, then of every resample."""
        return self.bootstrap.values(self.statistic)

    @property
    def estimate(self) -> Estimate:
        """Value and 95 % interval."""
        return self.bootstrap.interval(self.values, share=self.whole, counted=self.counted)

    def minus(self, other: Score) -> Estimate:
        """The difference to another run's score on the same images."""
        return self.bootstrap.difference(self.values, other.values, share=self.whole, counted=self.counted)


def pair_table(answers: Answers, settings: Robustness) -> pd.DataFrame:
    """A row a pair, for scores and for a person: what was answered, where it looked, what the controls say.

    Columns: ``id``, ``patient``, ``label``; ``p_<side or variant>`` (probability of the decision's label),
    ``margin_<side>`` (log-odds), ``argmax_<side>``; ``flip``; and of each side's heat map ``iol_``, ``area_`` (region,
    share of the image), ``energy_`` (share of the heat inside the lungs), ``disc_`` (IOL of a centre disc of the
    region's size), ``shuffled_`` (share of other patients' maps that are out of these lungs), ``zero_`` (no region),
    ``iol_<side>@<threshold>``; ``lung_area`` (share of the image).
    """
    columns: dict[str, np.ndarray] = {}
    for name, logits in answers.logits.items():
        columns[f"p_{name}"] = answers.probability(logits)
    for side in SIDES:
        columns[f"margin_{side}"] = answers.decision.margin(torch.from_numpy(answers.logits[side])).numpy()
        columns[f"argmax_{side}"] = answers.logits[side].argmax(axis=1)
    threshold = answers.decision.threshold
    flip = (columns["p_original"] >= threshold) != (columns["p_received"] >= threshold)
    columns["flip"] = np.where(np.isnan(columns["p_original"] + columns["p_received"]), np.nan, flip)
    columns["lung_area"] = np.bitwise_count(answers.lungs).sum(axis=1) / answers.size**2
    for side in SIDES:
        columns |= {f"{name}_{side}": values for name, values in _map_columns(answers, side, settings).items()}
        columns |= {
            f"iol_{side}@{threshold}": columns.pop(f"iol@{threshold}_{side}") for threshold in REGION_THRESHOLDS
        }
    return pd.DataFrame({"id": answers.ids, "patient": answers.patients, "label": answers.labels, **columns})


def _map_columns(answers: Answers, side: str, settings: Robustness) -> dict[str, np.ndarray]:
    """What is known of one side's heat maps; computed a few images at a time."""
    parts: dict[str, list[np.ndarray]] = {}
    regions = []
    for start in track(range(0, len(answers.ids), _CHUNK), f"Scores and controls of the {side} heat maps"):
        some = slice(start, start + _CHUNK)
        heat = heat_map(torch.from_numpy(answers.maps[side][some]), (answers.size, answers.size))
        lung, region = unpack(answers.lungs[some], answers.size), heat_region(heat, settings.region_threshold)
        values = {
            "iol": iol(region, lung),
            "area": region.flatten(1).float().mean(dim=1),
            "energy": energy_inside(heat, lung),
            "disc": centre_disc_iol(region, lung),
            "zero": ~region.flatten(1).any(dim=1),
        }
        by_threshold = iol_over_thresholds(heat, lung, REGION_THRESHOLDS).unbind(dim=1)
        values |= {f"iol@{t}": column for t, column in zip(REGION_THRESHOLDS, by_threshold, strict=True)}
        for name, value in values.items():
            parts.setdefault(name, []).append(value.numpy())
        regions.append(pack(region))
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    columns["area"][columns["zero"]] = np.nan
    columns["shuffled"] = shuffled_out(np.concatenate(regions), answers.lungs, answers.patients.tolist(), settings.eta)
    return columns


class PairScores:
    """PI, OLS, their controls and the decision's quality, from a :func:`pair_table`.

    Args:
        table: The table.
        answers: What it was made of.
        settings: The definitions' settings.
        bootstrap: Over the table's patients.

    Attributes:
        scores: Key -> score.
    """

    def __init__(
        self, table: pd.DataFrame, answers: Answers, settings: Robustness, bootstrap: PatientBootstrap
    ) -> None:
        self.table, self.answers, self.settings, self.bootstrap = table, answers, settings, bootstrap
        self.scores: dict[str, Score] = {}
        self._instability()
        for side in SIDES:
            self._saliency(side)
            self._decision(f"decision/{side}", f"p_{side}")
        for variant in ("lungs_removed", "border_only"):
            self._decision(f"shortcut/{variant}", f"p_{variant}", ("accuracy", "auroc"))

    def _add(self, key: str, values: np.ndarray | pd.Series, whole: float | None = 100.0) -> None:
        """The mean of a column; NaN is left out."""
        column = np.asarray(values, float)
        mean = partial(_scaled_mean, values=column, scale=whole or 1.0)
        self.scores[key] = Score(mean, self.bootstrap, ~np.isnan(column), whole)

    def _instability(self) -> None:
        table, threshold = self.table, self.answers.decision.threshold
        was, now = table["p_original"] >= threshold, table["p_received"] >= threshold
        known = ~(table["p_original"].isna() | table["p_received"].isna())
        flip = (was != now).where(known)
        self._add("pi/score", flip)
        self._add("pi/positive_to_negative", (was & ~now).where(known))
        self._add("pi/negative_to_positive", (~was & now).where(known))
        self._add("pi/labelled_positive", flip.where(table["label"] == 1))
        self._add("pi/labelled_negative", flip.where(table["label"] == 0))
        self._add("pi/argmax", (table["argmax_original"] != table["argmax_received"]).where(known))
        self._add("pi/probability_change", (table["p_original"] - table["p_received"]).abs(), 1.0)
        for control in ("noise", "inside", "outside"):
            changed = table[f"p_{control}"]
            self._add(f"pi/{control}", (was != (changed >= threshold)).where(known & ~changed.isna()))
        change = (table["margin_original"] - table["margin_received"]).abs().to_numpy(float)
        margin = table["margin_original"].to_numpy(float)
        self.scores["pi/logit_change"] = Score(
            partial(_change_over_spread, change=change, values=margin), self.bootstrap, known.to_numpy(), None
        )
        for channel, logits in self.answers.channel_logits.items():
            after = np.full(len(table), np.nan)
            after[self.answers.channel_rows] = self.answers.probability(logits)
            self._add(f"channel/{channel}", (was != (after >= threshold)).where(~np.isnan(after) & known))

    def _saliency(self, side: str) -> None:
        table, eta = self.table, self.settings.eta
        values = table[f"iol_{side}"]
        out = (values < np.float32(eta)).where(~values.isna())
        disc, key = table[f"disc_{side}"], f"ols/{side}"
        self._add(f"{key}/score", out)
        self._add(f"{key}/shuffled", table[f"shuffled_{side}"])
        excess = 100 * (out.astype(float) - table[f"shuffled_{side}"])
        if out.dropna().nunique() < 2:  # resampling says how sure the shuffled score is, but not how sure this one
            excess = pd.Series(np.where(excess.isna(), np.nan, excess.mean()))
        self._add(f"{key}/score_minus_shuffled", excess, None)
        self._add(f"{key}/centre_disc", (disc < np.float32(eta)).where(~disc.isna()))
        lung = table["lung_area"]
        self._add(f"{key}/whole_image", (lung < np.float32(eta)).where((lung > 0) & ~values.isna()))
        self._add(f"{key}/labelled_positive", out.where(table["label"] == 1))
        self._add(f"{key}/labelled_negative", out.where(table["label"] == 0))
        self._add(f"{key}/mean_iol", values, 1.0)
        self._add(f"{key}/energy", table[f"energy_{side}"], 1.0)
        self._add(f"{key}/lung_area", lung.where((lung > 0) & ~values.isna()), 1.0)
        self._add(f"{key}/region_area", table[f"area_{side}"], 1.0)
        self._add(f"{key}/no_region", table[f"zero_{side}"])
        self._add(f"{key}/no_lung", lung == 0)

    def _decision(self, key: str, column: str, names: tuple[str, ...] | None = None) -> None:
        known = ~(self.table["label"].isna() | self.table[column].isna()).to_numpy()
        truth = (self.table["label"] == 1).to_numpy()
        p, threshold = self.table[column].to_numpy(float), self.answers.decision.threshold
        scores = binary_scores(truth, p >= threshold, p, known, self.bootstrap)
        self.scores |= {f"{key}/{name}": score for name, score in scores.items() if names is None or name in names}

    def curves(self) -> dict[str, dict[str, list[Estimate]]]:
        """How the scores hang on their settings: curve -> line -> an estimate for each value of its axis."""

        def percent(values: pd.Series) -> Estimate:
            column = values.to_numpy(float)
            return Score(lambda w: 100 * weighted.mean(w, column), self.bootstrap, ~np.isnan(column), 100.0).estimate

        table, curves = self.table, {"ols_over_eta": {}, "ols_over_region_threshold": {}}
        for side in SIDES:
            values = table[f"iol_{side}"]
            curves["ols_over_eta"][side] = [percent((values < np.float32(e)).where(~values.isna())) for e in ETAS]
            by_threshold = [table[f"iol_{side}@{t}"] for t in REGION_THRESHOLDS]
            curves["ols_over_region_threshold"][side] = [
                percent((column < np.float32(self.settings.eta)).where(~column.isna())) for column in by_threshold
            ]
        before, after = table["p_original"], table["p_received"]
        flips = [((before >= t) != (after >= t)).where(~(before.isna() | after.isna())) for t in DECISION_THRESHOLDS]
        return curves | {"pi_over_decision_threshold": {"received": [percent(flip) for flip in flips]}}


def task_scores(task: Task, answers: TaskAnswers, bootstrap: PatientBootstrap) -> dict[str, Score]:
    """Scores of a task's split by key ``<label>/<score>``, ``accuracy`` and ``auroc`` (mean) where classes exclude."""
    if task.kind is TaskKind.boxes:
        return _box_scores(answers, bootstrap) if answers.found else {}
    targets, logits = answers.targets, torch.from_numpy(answers.logits).double()
    probability = (logits.softmax(dim=1) if task.kind is TaskKind.multiclass else logits.sigmoid()).numpy()
    known, exclusive = ~np.isnan(targets + answers.logits), excludes(targets)
    positive = probability >= 0.5
    if exclusive:
        positive = probability.argmax(axis=1)[:, None] == np.arange(targets.shape[1])
    scores: dict[str, Score] = {}
    for index, label in enumerate(task.labels):
        columns = (targets[:, index] == 1, positive[:, index], probability[:, index], known[:, index])
        prefix = f"{label}/" if len(task.labels) > 1 else ""
        scores |= {f"{prefix}{name}": score for name, score in binary_scores(*columns, bootstrap).items()}
    if exclusive:
        all_known = known.all(axis=1)
        hit = np.where(all_known, (positive & (targets == 1)).any(axis=1), np.nan)
        accuracy = Score(partial(weighted.mean, values=hit), bootstrap, np.asarray(all_known))
        scores = {"accuracy": accuracy} | scores
    return scores


def excludes(targets: np.ndarray) -> bool:
    """Whether (n, labels) targets are classes that exclude each other: one 1 in every known row of several labels."""
    known = targets[~np.isnan(targets).any(axis=1)]
    return targets.shape[1] > 1 and len(known) > 0 and bool((known.sum(axis=1) == 1).all())


def binary_scores(
    truth: np.ndarray, positive: np.ndarray, probability: np.ndarray, known: np.ndarray, bootstrap: PatientBootstrap
) -> dict[str, Score]:
    """Accuracy, sensitivity, specificity, ppv, npv, f1, auroc, ap, ece of a yes-or-no label; empty where none is known.

    Args:
        truth: (n,) bool.
        positive: (n,) bool decisions.
        probability: (n,).
        known: (n,) bool, the rows that count.
        bootstrap: Over all n.
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
        name: Score(partial(_confusion, rows=known, truth=y, positive=d, name=name), bootstrap, rows)
        for name, rows in counted.items()
    }
    # No shares of images: without an interval where all resamples agree.
    for name, statistic in {"auroc": weighted.auroc, "ap": weighted.average_precision}.items():
        scores[name] = Score(partial(_of_rows, statistic=statistic, rows=known, truth=y, p=p), bootstrap, known, None)
    ece = partial(_of_rows, statistic=weighted.calibration_error, rows=known, truth=y, p=p)
    return scores | {"ece": Score(ece, bootstrap, known, None)}


def _confusion(weights: np.ndarray, rows: np.ndarray, truth: np.ndarray, positive: np.ndarray, name: str) -> np.ndarray:
    return weighted.confusion(weights[:, rows], truth, positive)[name]


def _of_rows(weights: np.ndarray, statistic: Any, rows: np.ndarray, truth: np.ndarray, p: np.ndarray) -> np.ndarray:
    return statistic(weights[:, rows], truth, p)


def _box_scores(answers: TaskAnswers, bootstrap: PatientBootstrap) -> dict[str, Score]:
    coco, half = (match_boxes(answers.found, answers.truths, iou) for iou in (COCO_IOU, COCO_IOU[:1]))
    challenge = rsna_precision(match_boxes(answers.found, answers.truths, RSNA_IOU), BOX_SCORE)
    every = np.ones(len(answers.truths), bool)
    return {
        "map": Score(partial(mean_average_precision, matches=coco), bootstrap, every),
        "map_50": Score(partial(mean_average_precision, matches=half), bootstrap, every),
        "rsna_map": Score(partial(weighted.mean, values=challenge), bootstrap, ~np.isnan(challenge)),
    }


def disagreement(first: Answers, second: Answers, bootstrap: PatientBootstrap) -> Score:
    """Percent of originals that two runs decide differently."""
    decisions = [each.probability(each.logits["original"]) >= each.decision.threshold for each in (first, second)]
    known = ~np.isnan([each.probability(each.logits["original"]) for each in (first, second)]).any(axis=0)
    differ = np.where(known, decisions[0] != decisions[1], np.nan)
    return Score(partial(_scaled_mean, values=differ, scale=100.0), bootstrap, np.asarray(known), 100.0)


def differences(first: Mapping[str, Score], second: Mapping[str, Score]) -> dict[str, Estimate]:
    """First minus second for every score that both have."""
    return {key: score.minus(second[key]) for key, score in first.items() if key in second}


def _scaled_mean(weights: np.ndarray, values: np.ndarray, scale: float) -> np.ndarray:
    return scale * weighted.mean(weights, values)


def _change_over_spread(weights: np.ndarray, change: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of |change| over the standard deviation of the values: 1 is as large as the differences between images."""
    centre = weighted.mean(weights, values)
    variance = weighted.mean(weights, values**2) - centre**2
    return np.divide(
        weighted.mean(weights, change), np.sqrt(np.maximum(variance, 0)), out=np.full(len(weights), np.nan),
        where=variance > 1e-12,
    )  # fmt: skip
