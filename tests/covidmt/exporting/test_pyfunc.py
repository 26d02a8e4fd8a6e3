from __future__ import annotations

import base64
from pathlib import Path

import pandas as pd
import pytest
from mlflow.models import validate_schema

from covidmt.exporting.package import example_film
from covidmt.exporting.pyfunc import PyfuncPredictor, _load_pyfunc, model_signature
from covidmt.prediction.answer import NOTICE
from experiments.errors import UserError
from tests.helpers.mlflow_server import save_checkpoint


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> PyfuncPredictor:
    path = tmp_path_factory.mktemp("model") / "best.ckpt"
    save_checkpoint(path, 0, "active_tasks=[covidx]")
    return _load_pyfunc(str(path), {"channels": ["mms", "jpeg:30"], "segmenter": None})


def test_rows_keep_their_order_and_a_broken_one_loses_no_others(predictor: PyfuncPredictor):
    film = example_film()
    values = [b"", film, "no base64!", base64.b64encode(film).decode()]
    answers = predictor.predict(pd.DataFrame({"image": values}))
    assert ["error" in answer for answer in answers] == [True, False, True, False]
    assert "image 3: the text is no base64" in answers[2]["error"]
    assert answers[1]["probability"] == answers[3]["probability"]
    assert list(answers[1]["channels"]) == ["mms", "jpeg:30"]
    assert answers[1]["notice"] == NOTICE


def test_every_tasks_findings_and_boxes_are_in_the_answer_and_in_the_signature(tmp_path: Path):
    tasks = ["covidx", "rsna_boxes", "effusion", "nodule"]
    save_checkpoint(
        tmp_path / "best.ckpt",
        0,
        f"active_tasks=[{','.join(tasks)}]",
        "robustness.box_score=0",
        "model.boxes.score_threshold=0",
    )
    model = _load_pyfunc(str(tmp_path / "best.ckpt"), {"channels": ["mms"], "segmenter": None})
    (answer,) = model.predict(pd.DataFrame({"image": [example_film()]}))
    labels = [(finding["task"], finding["label"]) for finding in answer["findings"]]
    assert ("effusion", "Effusion") in labels
    assert ("nodule", "Nodule") in labels
    assert len(labels) == len(set(labels)) == 2 + 2  # and the deciding task's other two labels
    assert all(finding["channels"].keys() == {"mms"} for finding in answer["findings"])
    (found,) = answer["boxes"]
    assert found["task"] == "rsna_boxes"
    assert found["channels"].keys() == {"mms"}
    assert len(found["boxes"]) > 0
    assert all(len(box["xyxy"]) == 4 for box in found["boxes"])

    # the signature says all that there is, and MLflow takes the answer for it
    signature = model_signature()
    assert signature.outputs is not None
    assert answer.keys() | {"error"} == set(signature.outputs.input_names())
    validate_schema(pd.DataFrame([answer]), signature.outputs)


def test_base64_is_strict():
    assert PyfuncPredictor.content(base64.b64encode(b"film").decode()) == b"film"
    with pytest.raises(UserError, match="no base64"):
        PyfuncPredictor.content("film?")
