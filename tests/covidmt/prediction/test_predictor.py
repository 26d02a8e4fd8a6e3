import io

import numpy as np
import pytest
import torch
from PIL import Image

from covidmt.prediction.predictor import ExplainedImage, Predictor, is_coloured
from datamodules.images.decode import resize
from experiments.errors import UserError
from tests.helpers.tiny_experiment import SIZE


def png(grey):
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


def test_each_file_in_turn_and_a_broken_one_loses_no_others(module, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (SIZE + 20, SIZE), dtype=np.uint8)
    names = [str(tmp_path / name) for name in ("a.png", "broken.png", "b.png")]
    for name in names:
        Image.fromarray(grey).save(name)
    (tmp_path / "broken.png").write_bytes(b"no image")

    darker = Predictor(module, {"darker": lambda image: png(image // 2)}, None)
    results = dict(darker(names))
    assert list(results) == names
    assert isinstance(results[names[1]], UserError)
    first = results[names[0]]
    assert isinstance(first, ExplainedImage)
    with torch.no_grad():
        inputs = torch.from_numpy(np.stack([resize(grey, SIZE), resize(grey // 2, SIZE)]))
        expected = module(inputs[:, None])["covidx"]
    answers = [first.prediction.probability, first.prediction.channels["darker"].probability]
    assert answers == pytest.approx(expected[:, 2].sigmoid().tolist(), abs=1e-5)
    assert first.cells == (2, 2)
    assert first.top_label == ["normal", "pneumonia", "COVID-19"][int(expected[0].argmax())]
    assert (first.grey == grey).all()
    assert first.prediction.size == (SIZE, SIZE + 20)
    assert first.prediction.lung_share is None
    assert not first.lung.any()
    assert np.isnan(first.prediction.iol)


def test_colour_is_what_is_seen_not_what_the_file_could_hold(tmp_path):
    for name, colour in (("grey.png", (90, 90, 90)), ("blue.png", (40, 120, 200))):
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    assert not is_coloured(tmp_path / "grey.png")
    assert is_coloured(tmp_path / "blue.png")
