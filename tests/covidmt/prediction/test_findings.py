import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from covidmt.prediction.answer import ChannelAnswer, Prediction
from covidmt.prediction.findings import Box, FindingAnswer, FoundBoxes, LabelFinding
from covidmt.prediction.picture import draw_prediction
from covidmt.prediction.predictor import ExplainedImage, Predictor
from datamodules.images.decode import resize
from experiments.schema import Robustness
from explain.decision import NEAR, Decision
from explain.picture import ALARM
from lightning_modules.multitask import MultiTaskModule
from tests.covidmt.prediction.test_predictor import png
from tests.helpers.tiny_experiment import NIH, SIZE, experiment

BOX = Box(0.25, 0.5, 0.75, 1.0, score=0.8)
PREDICTION = Prediction(
    "x.png", Decision("COVID-19", 2), 0.5, True, {"mms": ChannelAnswer(0.6, positive=True)}, 0.3, True, 0.8, 0.4,
    (200, 100), SIZE, False, boxes=(FoundBoxes("places", [BOX], {"mms": []}),),
    findings=(LabelFinding("f", "Mass", FindingAnswer(0.6, True), {"mms": FindingAnswer(0.4, positive=False)}),),
)  # fmt: skip


def test_what_does_not_survive_is_a_warning_and_all_is_in_the_record():
    assert PREDICTION.warnings() == ["Mass: other answer after mms", "places: found on one side only (mms)"]
    record = json.loads(json.dumps(replace(PREDICTION, top=20).record(), allow_nan=False))
    assert record["findings"][0]["channels"]["mms"] == {"probability": 0.4, "positive": False, "survives": False}
    assert record["boxes"][0]["boxes"] == [{"xyxy": [50.0, 60.0, 150.0, 100.0], "score": 0.8}]  # below the cut
    assert record["boxes"][0]["channels"] == {"mms": []}


def test_boxes_that_move_are_stable_and_their_overlap_is_told():
    moved = FoundBoxes("places", [BOX], {"mms": [BOX._replace(x2=0.5)]})
    assert moved.unstable == []
    assert moved.overlap("mms") == pytest.approx(0.5)
    assert FoundBoxes("places", [], {"mms": []}).text == "places: 0 boxes; after mms 0 boxes."


def test_every_label_of_every_task_and_boxes_as_the_network_says(tmp_path):
    torch.manual_seed(0)
    module = MultiTaskModule(
        experiment("robustness.box_score=0", "model.boxes.score_threshold=0"), pretrained=False
    ).eval()
    grey = np.random.default_rng(0).integers(0, 256, (SIZE + 20, SIZE), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    result = dict(Predictor(module, {"darker": lambda image: png(image // 2)}, None)([str(tmp_path / "a.png")]))
    (explained,) = result.values()
    assert isinstance(explained, ExplainedImage)

    with torch.no_grad():
        expected = module(torch.from_numpy(np.stack([resize(grey, SIZE), resize(grey // 2, SIZE)]))[:, None])
    findings = {finding.task: finding for finding in explained.prediction.findings}
    assert [finding.label for finding in explained.prediction.findings][:2] == ["normal", "pneumonia"]
    for name in NIH:
        answers = [findings[name].answer.probability, findings[name].channels["darker"].probability]
        assert answers == pytest.approx(expected[name][:, 0].sigmoid().tolist(), abs=1e-5)
        assert findings[name].is_near == any(abs(p - 0.5) <= NEAR for p in answers)
    (found,) = explained.prediction.boxes
    decoded = module.head("rsna_boxes").decode(expected["rsna_boxes"])
    assert [len(found.original), len(found.channels["darker"])] == [len(image["boxes"]) for image in decoded]
    assert found.original[0].score == pytest.approx(decoded[0]["scores"][0].item(), abs=1e-5)


def test_boxes_are_drawn_on_both_sides():
    image, heat = np.full((40, 30), 128, np.uint8), np.zeros((16, 16), np.float32)
    explained = ExplainedImage(
        *(PREDICTION, image, heat, heat > 0, heat == 0, "COVID-19", (16, 16)), received=np.full((16, 16), 99, np.uint8)
    )
    without = replace(explained, prediction=replace(PREDICTION, boxes=()))
    drawn, plain = (draw_prediction(each, Robustness()) for each in (explained, without))
    assert len(drawn) > len(plain) + 500  # a second row of X-rays
    row = drawn[len(drawn) // 3 : -200]
    left, right = (half[(half == ALARM).all(axis=2)] for half in np.split(row[:700], [row.shape[1] // 2], axis=1))
    assert len(left) > 500
    assert len(right) < len(left)
