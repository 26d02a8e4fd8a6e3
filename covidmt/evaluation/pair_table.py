"""The table of an evaluation's pairs: what was answered, where the network looked, and what the controls say."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd
import torch
from rich.progress import track

from covidmt.evaluation.answers import Answers
from experiments.schema import Robustness, Target
from explain.heat import heat_map, heat_region
from metrics.controls import centre_disc_iol, energy_inside, iol_over_thresholds, pack, shuffled_out, unpack
from metrics.paired import SIDES, flips
from metrics.saliency import iol

REGION_THRESHOLDS = tuple(round(0.1 * i, 1) for i in range(1, 10))
_CHUNK = 64  # images whose heat maps are in memory at once


def pair_table(answers: Answers, settings: Robustness) -> pd.DataFrame:
    """Return a row a pair, for scores and for a person.

    Args:
        answers: What a network answered.
        settings: The definitions' settings.

    Returns:
        Columns: ``id``, ``patient``, ``label``; ``p_<side or variant>`` (probability of the decision's label),
        ``positive_<side or variant>`` (the decision), ``margin_<side or variant>`` (log-odds), ``argmax_<side>``;
        ``flip``; and of each side's heat map ``iol_``, ``iol_<side>:<target>`` of every answer that can be explained,
        ``area_`` (region, share of the image), ``energy_`` (share of the heat inside the lungs), ``disc_`` (IOL of a
        centre disc of the region's size), ``other_iol_`` (IOL with lungs in the other convention), ``shuffled_`` (share
        of other patients' maps that are out of these lungs), ``shuffled_map_`` (share of other patients' lungs that
        this map is out of), ``zero_`` (no region), ``iol_<side>@<threshold>``; ``lung_area`` (share of the image).
        Undefined values are NaN.
    """
    # what was answered
    columns: dict[str, np.ndarray] = {}
    for name, logits in answers.logits.items():
        columns[f"p_{name}"] = answers.probability(logits)
        columns[f"positive_{name}"] = answers.decided(logits)
        margin = answers.decision.margin(torch.from_numpy(logits)).numpy()
        columns[f"margin_{name}"] = np.where(np.isfinite(margin), margin, np.nan)
    for side in SIDES:
        columns[f"argmax_{side}"] = answers.logits[side].argmax(axis=1)
    columns["flip"] = flips(columns["positive_original"], columns["positive_received"])

    # where it looked
    columns["lung_area"] = np.bitwise_count(answers.lungs).sum(axis=1) / answers.size**2
    for side in SIDES:
        scores, over_thresholds = _map_columns(answers, side, settings)
        columns |= {f"{name}_{side}": values for name, values in scores.items()}
        columns |= {f"iol_{side}@{t}": values for t, values in over_thresholds.items()}
        columns |= {f"iol_{side}:{target.value}": _iol(answers, side, target, settings) for target in answers.maps}
    return pd.DataFrame({"id": answers.ids, "patient": answers.patients, "label": answers.labels, **columns})


def decision_odds(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return what ranks the images: the decision's log-odds, (N,) float.

    Args:
        table: Of :func:`pair_table`.
        name: A side or a variant.
    """
    p, margin = (table[f"{column}_{name}"].to_numpy(float) for column in ("p", "margin"))
    return np.where(np.isnan(margin), np.where(p >= 0.5, np.inf, -np.inf), margin)  # infinite ones are NaN there


def _heat(answers: Answers, side: str, target: Target, some: slice) -> torch.Tensor:
    return heat_map(torch.from_numpy(answers.maps[target][side][some]), (answers.size, answers.size))


def _iol(answers: Answers, side: str, target: Target, settings: Robustness) -> np.ndarray:
    """Return one side's IOL under another target; computed a few images at a time."""
    parts = []
    for start in range(0, len(answers.ids), _CHUNK):
        some = slice(start, start + _CHUNK)
        region = heat_region(_heat(answers, side, target, some), settings.region_threshold)
        parts.append(iol(region, unpack(answers.lungs[some], answers.size)).numpy())
    return np.concatenate(parts)


def _map_columns(
    answers: Answers, side: str, settings: Robustness
) -> tuple[dict[str, np.ndarray], dict[float, np.ndarray]]:
    """Return one side's columns, and its IOL over region thresholds; computed a few images at a time."""
    parts: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    over_thresholds, regions = [], []
    for start in track(range(0, len(answers.ids), _CHUNK), f"Scores and controls of the {side} heat maps"):
        some = slice(start, start + _CHUNK)
        heat = _heat(answers, side, answers.target, some)
        lung, region = unpack(answers.lungs[some], answers.size), heat_region(heat, settings.region_threshold)
        parts["iol"].append(iol(region, lung).numpy())
        parts["area"].append(region.flatten(1).float().mean(dim=1).numpy())
        parts["energy"].append(energy_inside(heat, lung).numpy())
        parts["disc"].append(centre_disc_iol(region, lung).numpy())
        parts["other_iol"].append(iol(region, unpack(answers.other_lungs[some], answers.size)).numpy())
        parts["zero"].append(~region.flatten(1).any(dim=1).numpy())
        over_thresholds.append(iol_over_thresholds(heat, lung, REGION_THRESHOLDS).numpy())
        regions.append(pack(region))

    columns = {name: np.concatenate(values) for name, values in parts.items()}
    columns["area"][columns["zero"]] = np.nan
    shuffled = shuffled_out(np.concatenate(regions), answers.lungs, answers.patients.tolist(), settings.eta)
    columns |= {"shuffled": shuffled.of_lungs, "shuffled_map": shuffled.of_map}
    return columns, dict(zip(REGION_THRESHOLDS, np.concatenate(over_thresholds).T, strict=True))
