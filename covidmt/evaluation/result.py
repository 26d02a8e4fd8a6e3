"""What an evaluation found, as plain containers: for ``evaluation.json``, the table and the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covidmt.evaluation.answers import Answers
from covidmt.evaluation.scores import DECISION_THRESHOLDS, ETAS, REGION_THRESHOLDS, Score, differences
from datamodules.checks.counts import class_masks
from datamodules.evaluation import EvaluationDataModule
from datamodules.images.decode import DECODER
from experiments.errors import UserError
from experiments.load import to_dict
from experiments.schema import Experiment
from lightning_modules.multitask import MultiTaskModule
from metrics.bootstrap import Estimate

_CURVES = {
    "ols_over_eta": ETAS,
    "ols_over_region_threshold": REGION_THRESHOLDS,
    "pi_over_decision_threshold": DECISION_THRESHOLDS,
}


@dataclass
class Evaluated:
    """A network and all that was found of it.

    Attributes:
        name: As a person knows it: the experiment's name and the run's first digits.
        own: Its experiment, with the data sets where they are now.
        experiment: The same, on the data that all are evaluated on.
        module: The network.
        answers: What it said.
        table: See :func:`covidmt.evaluation.scores.pair_table`.
        scores: Key -> score.
        curves: Curve -> line -> estimates.
        history: See :func:`covidmt.tracking.history.training_history`; empty where no run tells.
    """

    name: str
    run_id: str | None
    own: Experiment
    experiment: Experiment
    module: MultiTaskModule
    answers: Answers = field(init=False)
    table: pd.DataFrame = field(init=False)
    scores: dict[str, Score] = field(init=False)
    curves: dict[str, dict[str, list[Estimate]]] = field(init=False)
    history: dict[str, pd.Series] = field(default_factory=dict)


def build_result(
    subjects: Sequence[Evaluated], data: EvaluationDataModule, split: str, notes: list[str]
) -> dict[str, Any]:
    """What ``evaluation.json`` holds: plain containers."""
    first = subjects[0]
    settings = first.experiment.robustness
    runs = []
    for subject in subjects:
        scores = {
            key: {**score.estimate._asdict(), "n": score.n, "whole": score.whole}
            for key, score in subject.scores.items()
        }
        entry: dict[str, Any] = {
            "name": subject.name,
            "run_id": subject.run_id,
            "seed": subject.experiment.seed,
            "backbone": subject.experiment.model.backbone,
            "tasks": [task.name for task in subject.experiment.active],
            "image_size": subject.experiment.data.image_size,
            "scores": scores,
            "curves": {curve: _curve(_CURVES[curve], lines) for curve, lines in subject.curves.items()},
        }
        if subject is not first:
            entry["other_seed"] = _differ_by_seed(first.own, subject.own)
            found = differences(first.scores, subject.scores)
            entry["difference"] = {key: estimate._asdict() for key, estimate in found.items()}
        runs.append(entry)
    pairs = data.experiment.data.pairs
    source = pairs.val if split == "val" else pairs.test
    return {
        "pairs": {
            "source": source,
            "split": split,
            "channel": "as received" if "received" in data.tables[str(source)] else pairs.channel,
            "n": len(first.answers.ids),
            "patients": len(set(first.answers.patients)),
            "positive": int(np.nansum(first.answers.labels)),
        },
        "settings": {
            "label": settings.label,
            "threshold": settings.threshold,
            "eta": settings.eta,
            "region_threshold": settings.region_threshold,
            "target": settings.target.value,
            "masks": data.mask_source,
            "decoder": DECODER,
        },
        "class_by_source": _class_by_source(first.experiment, data, split),
        "notes": notes,
        "runs": runs,
    }


def _curve(axis: Sequence[float], lines: dict[str, list[Estimate]]) -> dict[str, Any]:
    return {"x": list(axis), **{line: [point._asdict() for point in points] for line, points in lines.items()}}


def _class_by_source(experiment: Experiment, data: EvaluationDataModule, split: str) -> dict[str, dict[str, int]]:
    """Class -> origin of the images -> number, of the deciding task's split: does the origin give the class away?"""
    task = experiment.tasks[experiment.robustness.task]
    if task.source not in data.tables:
        return {}
    table = data.tables[task.source]
    table = table[table["split"] == split]
    return {
        label: {str(origin): int(count) for origin, count in table["origin"][mask].value_counts().items()}
        for label, mask in class_masks(table, task.labels).items()
    }


def write_files(folder: Path, first: Evaluated, result: dict[str, Any]) -> None:
    """The files that other programs read."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.json").write_text(json.dumps(_plain(result), indent=1))
        first.table.to_csv(folder / "pairs.csv", index=False)
    except OSError as error:
        raise UserError(
            f"{folder}: the evaluation cannot be written ({error.strerror}); choose another --out"
        ) from error


def _plain(value: Any) -> Any:
    """NaN as null, which JSON has."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _differ_by_seed(first: Experiment, second: Experiment) -> bool:
    """Whether two runs are one experiment with two seeds, wherever the data lie and whatever it ran on."""

    def identity(experiment: Experiment) -> dict[str, Any]:
        values = to_dict(experiment)
        for key in ("name", "seed", "tracking", "trainer", "checkpoint"):
            del values[key]
        for key in ("root", "masks", "num_workers"):
            del values["data"][key]
        for source in values["data"]["sources"].values():
            del source["root"]
        return values

    return first.seed != second.seed and identity(first) == identity(second)
