"""The files of an evaluation that other programs read: ``evaluation.json`` and ``pairs.csv``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from covidmt.evaluation.result import Evaluation, RunEvaluation
from experiments.errors import UserError
from experiments.names import harmless_table
from metrics.inference.differences import PairedDifference


def write_files(folder: Path, evaluation: Evaluation) -> None:
    """Write ``evaluation.json``, and ``pairs.csv`` with a row for each pair of the first network.

    Raises:
        UserError: A file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evaluation.json").write_text(json.dumps(_with_nulls(to_json(evaluation)), indent=1))
        harmless_table(evaluation.first.table).to_csv(folder / "pairs.csv", index=False)
    except OSError as error:
        raise UserError(
            f"{folder}: the evaluation cannot be written ({error.strerror}); choose another --out"
        ) from error


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as plain containers; NaN where a number is undefined."""
    robustness = evaluation.first.network.experiment.robustness
    return {
        "pairs": asdict(evaluation.pairs),
        "settings": asdict(evaluation.settings),
        "class_by_source": evaluation.class_by_source,
        "class_by_source_of": f"{evaluation.pairs.split} images of task {robustness.task}",
        "pairs_by_source": evaluation.pairs_by_source,
        "notes": list(evaluation.notes),
        "runs": [_run(run, first=run is evaluation.first) for run in evaluation.runs],
    }


def _run(run: RunEvaluation, *, first: bool) -> dict[str, Any]:
    # what every run has
    experiment = run.network.experiment
    entry = {
        "name": run.name,
        "run_id": run.network.run_id,
        "seed": experiment.seed,
        "backbone": experiment.model.backbone,
        "tasks": [task.name for task in experiment.active],
        "image_size": experiment.data.image_size,
        "scores": {
            key: {**score.estimate._asdict(), "n": score.n, "whole": score.whole}
            | ({"no_interval": score.reason} if score.reason else {})
            for key, score in run.scores.items()
        },
        "curves": {
            name: {"x": list(curve.x)}
            | {line: [point._asdict() for point in points] for line, points in curve.lines.items()}
            for name, curve in run.curves.items()
        },
    }

    # how it differs from the first
    if not first:
        entry["other_seed"] = run.other_seed
        entry["difference"] = {key: _difference(difference) for key, difference in run.differences.items()}
    return entry


def _difference(difference: PairedDifference) -> dict[str, Any]:
    entry = {key: value for key, value in asdict(difference).items() if key not in ("why", "few")}
    reason = {"reason": difference.reason or difference.few} if difference.reason or difference.few else {}
    return entry | {"verdict": difference.verdict} | reason


def _with_nulls(value: Any) -> Any:
    """Return plain containers with null, which JSON has, for NaN and infinity, which it has not."""
    if isinstance(value, dict):
        return {str(key): _with_nulls(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
