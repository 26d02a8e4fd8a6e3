"""The files that other programs read."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidmt.evaluation.files import to_json, write_files
from covidmt.evaluation.scores import DECISION_THRESHOLDS, ETAS
from datamodules.evaluation import EvaluationDataModule
from experiments.errors import UserError
from tests.helpers.evaluation import EVIL, N, evaluation_of, make_answers


def test_the_layout_of_the_json(data: EvaluationDataModule):
    found = to_json(evaluation_of(data, make_answers(data, 3), make_answers(data, 0, 1)))
    first, second = found["runs"]
    assert list(found) == [
        "pairs",
        "settings",
        "class_by_source",
        "class_by_source_of",
        "pairs_by_source",
        "notes",
        "runs",
    ]
    assert found["class_by_source_of"] == "test images of task covidx"
    assert found["pairs_by_source"] == {"COVID-19": {"own": N // 2}, "not COVID-19": {"own": N // 2}}
    assert list(found["pairs"]) == [
        "source",
        "split",
        "channel",
        "n",
        "patients",
        "unknown",
        "positive",
        "masks",
        "masks_drawn",
        "made_up",
        "channel_numbers",
    ]
    assert list(found["settings"]) == [
        *(
            "label",
            "threshold",
            "eta",
            "region_threshold",
            "decision",
            "target",
            "explained",
            "masks",
            "heart",
            "decoder",
        ),
    ]
    assert list(first) == ["name", "run_id", "seed", "backbone", "tasks", "image_size", "scores", "curves"]
    assert list(second) == [*first, "other_seed", "difference"]
    assert first["scores"]["pi/score"] == {
        "value": 12.5,
        "low": pytest.approx(0, abs=10),
        "high": pytest.approx(30, abs=10),
        "n": N,
        "whole": 100.0,
    }
    assert {name: (list(curve), len(curve["x"])) for name, curve in first["curves"].items()} == {
        "ols_over_eta": (["x", "original", "received"], len(ETAS)),
        "ols_over_region_threshold": (["x", "original", "received"], 9),
        "pi_over_decision_threshold": (["x", "received"], len(DECISION_THRESHOLDS)),
    }
    assert list(second["difference"]["pi/score"]) == ["value", "low", "high", "p", "seeds", "patients", "verdict"]
    assert found["notes"] == [f"a note with {EVIL}"]


def test_files_hold_it_with_null_for_what_is_undefined(data: EvaluationDataModule, tmp_path: Path):
    evaluation = evaluation_of(data, make_answers(data, 3, labelled=False, lungs=False))
    write_files(tmp_path / "new", evaluation)
    found = json.loads((tmp_path / "new" / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert found["runs"][0]["scores"]["ols/original/score"]["value"] is None
    table = pd.read_csv(tmp_path / "new" / "pairs.csv")
    assert table["id"].tolist() == evaluation.first.answers.ids
    np.testing.assert_allclose(table["p_received"], evaluation.first.table["p_received"])


def test_a_folder_that_cannot_be_written(data: EvaluationDataModule, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another --out"):
        write_files(tmp_path / "file", evaluation_of(data, make_answers(data, 0)))
