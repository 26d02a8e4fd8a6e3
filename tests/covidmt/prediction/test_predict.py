import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from torch import nn

from covidmt.prediction.answer import NOTICE
from covidmt.prediction.predict import find_images
from datamodules.channels.phone_apps import whatsapp
from datamodules.images.decode import decode, resize
from experiments.errors import UserError
from experiments.load import SHIPPED, load_lungs_experiment, to_dict
from lightning_modules.lungs.unet import LungUNet
from tests.helpers.tiny_experiment import SIZE

pytestmark = pytest.mark.slow


def last_layer(module):
    layer = list(module.head("covidx").children())[-1]
    assert isinstance(layer, nn.Linear)
    return layer


@pytest.fixture(scope="module")
def lungs(tmp_path_factory):
    """Segmenters that find lungs everywhere, and nowhere."""
    network = LungUNet(load_lungs_experiment(SHIPPED / "lungs_demo.yaml", ["data.image_size=64"]), pretrained=False)
    folder = tmp_path_factory.mktemp("lungs")
    for name, bias in (("all", 1e3), ("none", -1e3)):
        nn.init.constant_(list(network.network.segmentation_head.parameters())[-1], bias)
        torch.save({"state_dict": network.state_dict(), "lungs_experiment": to_dict(network.experiment)}, folder / name)
    return folder


def save(module, path, **robustness):
    values = to_dict(module.experiment)
    values["robustness"] |= robustness
    torch.save({"state_dict": module.state_dict(), "experiment": values}, path)
    return path


def chests(demo_data, n):
    return sorted((demo_data / "wacxr/covid_binary_test").glob("*/*"))[:n]


def records(out="predictions"):
    return [json.loads(line) for line in Path(out, "predictions.jsonl").read_text().splitlines()]


def probability(module, grey):
    with torch.no_grad():
        logits = module(torch.tensor(resize(grey, SIZE))[None, None])["covidx"]
    return float(logits[0, 2].sigmoid())


def test_the_report_of_an_image(covidmt, demo_data, module, lungs, tmp_path, capsys):
    (path,) = chests(demo_data, 1)
    original, sent = probability(module, decode(path)), probability(module, decode(whatsapp(decode(path))))
    checkpoint = save(module, tmp_path / "best.ckpt", threshold=original - 0.01, target="positive")
    assert covidmt("predict", checkpoint, path, "--channel", "whatsapp", "--segmenter", lungs / "all") == 0
    (record,) = records()
    assert record["image"] == str(path)
    assert record["answer"] == record["label"] == "COVID-19"
    assert record["probability"] == pytest.approx(original, abs=1e-5)
    assert record["channels"]["whatsapp"]["probability"] == pytest.approx(sent, abs=1e-5)
    assert record["iol"] == 1
    assert record["lung_share"] == 1
    assert [warning[:24] for warning in record["warnings"]] == ["What was taken for lungs"]
    assert record["heat_map_found"]
    assert record["notice"] == NOTICE
    assert record["checkpoint"] == str(checkpoint)
    assert record["run_id"] is None
    picture = cv2.imread(f"predictions/{record['overlay']}")
    assert picture is not None
    assert picture.shape[1] == 1088
    out = capsys.readouterr().out
    assert "100 % of the heat map's hottest region" in out
    assert NOTICE in out
    assert "small image" not in out
    assert record["report"].count("simulated") == 1


def test_a_decision_that_a_channel_changes_and_an_image_without_lungs(covidmt, demo_data, module, lungs, tmp_path):
    (path,) = chests(demo_data, 1)
    sides = probability(module, decode(path)), probability(module, decode(whatsapp(decode(path))))
    assert sides[0] != sides[1]
    checkpoint = save(module, tmp_path / "best.ckpt", threshold=sum(sides) / 2, target="positive")
    assert covidmt("predict", checkpoint, path, "--segmenter", lungs / "none") == 0
    (record,) = records()
    assert record["channels"]["whatsapp"]["survives"] is False
    assert record["iol"] is None
    changed, no_lungs = record["warnings"]
    assert "gets another answer" in changed
    assert "No lungs were found" in no_lungs


def test_an_empty_heat_map_is_said(covidmt, demo_data, module, tmp_path):
    weight = last_layer(module).weight.data
    before = weight.clone()
    weight.zero_()
    checkpoint = save(module, tmp_path / "best.ckpt")
    weight.copy_(before)
    assert covidmt("predict", checkpoint, *chests(demo_data, 1), "--segmenter", "none") == 0
    (record,) = records()
    assert record["heat_map_found"] is False
    assert record["lung_share"] is None
    assert record["segmenter"] is None
    assert record["warnings"] == [
        "The heat map is empty: it points to no part of the image as a reason for the answer."
    ]


def test_broken_images_lose_no_others_and_dicom_headers_stay_private(covidmt, demo_data, module, tmp_path, capfd):
    images = tmp_path / "images"
    images.mkdir()
    for path in chests(demo_data, 7):
        shutil.copy(path, images)
    (images / "broken.png").write_bytes(b"no image")
    dataset = pydicom.dcmread(next((demo_data / "rsna/stage_2_train_images").iterdir()))
    dataset.PatientName, dataset.PatientID, dataset.StudyDate = "SECRET^NAME", "SECRET-ID", "20991231"
    dataset.save_as(images / "scan.dcm")
    checkpoint = save(module, tmp_path / "best.ckpt", batch_size=4)
    arguments = ("--channel", "jpeg:30", "--channel", "mms", "--segmenter", "none", "--out", "out")
    assert covidmt("predict", checkpoint, images, "absent.jpg", *arguments) == 2
    found = {Path(record["image"]).name: record for record in records("out")}
    assert len(found) == 10
    assert list(found)[-1] == "absent.jpg"
    assert {name for name, record in found.items() if "error" in record} == {"broken.png", "absent.jpg"}
    assert "not a readable image" in found["broken.png"]["error"]
    assert found["broken.png"]["notice"] == NOTICE
    assert list(found["scan.dcm"]["channels"]) == ["jpeg:30", "mms"]
    assert len(list(Path("out").glob("*_overlay.png"))) == 8
    out, err = capfd.readouterr()
    assert "2 of 10 images could not be predicted:" in err
    assert "absent.jpg: no such image file" in err
    assert NOTICE in out
    for text in (out, err, *(path.read_bytes().decode("latin-1") for path in Path("out").iterdir())):
        assert not re.search("SECRET|20991231", text)
    assert covidmt("predict", checkpoint, images, "--segmenter", "none", "--out", "out") == 2
    assert "is there already" in capfd.readouterr().err
    assert len(records("out")) == 10
    assert covidmt("predict", checkpoint, images, "--segmenter", "none", "--out", images) == 2
    assert "among the images" in capfd.readouterr().err


def test_an_image_that_a_channel_cannot_take_loses_no_others(covidmt, demo_data, module, tmp_path):
    Image.new("L", (16_400, 4)).save("wide.png")  # WebP ends at 16,383
    checkpoint = save(module, tmp_path / "best.ckpt")
    arguments = ("--channel", "webp:50", "--segmenter", "none")
    assert covidmt("predict", checkpoint, "wide.png", *chests(demo_data, 1), *arguments) == 2
    wide, good = records()
    assert wide["error"].startswith("wide.png: cannot be sent through webp:50 (")
    assert good["channels"]["webp:50"]["probability"] > 0


def test_a_layer_that_the_network_lacks_is_said_before_the_first_image(covidmt, demo_data, module, tmp_path, capfd):
    checkpoint = save(module, tmp_path / "best.ckpt", layer="backbone.nowhere")
    assert covidmt("predict", checkpoint, *chests(demo_data, 1), "--segmenter", "none") == 2
    assert "robustness.layer: MultiTaskModule has no module 'backbone.nowhere'" in capfd.readouterr().err


def test_images_unlike_x_rays_are_said(covidmt, demo_data, module, tmp_path):
    for folder, colour in (("a", (40, 120, 200)), ("b", (90, 90, 90))):
        Path(folder).mkdir()
        picture = np.full((SIZE - 10, 3 * SIZE, 3), colour, np.uint8)
        cv2.imwrite(f"{folder}/x.png", picture)
    checkpoint = save(module, tmp_path / "best.ckpt")
    assert covidmt("predict", checkpoint, "a", "b/x.png", "a/x.png", "--segmenter", "none") == 0
    first, second = records()
    assert [record["overlay"] for record in (first, second)] == ["x_overlay.png", "x_2_overlay.png"]
    assert any("in colour" in warning for warning in first["warnings"])
    assert not any("in colour" in warning for warning in second["warnings"])
    assert any("192 x 54 pixels" in warning for warning in second["warnings"])


def test_folders_are_listed_and_empty_ones_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(UserError, match="no images directly in this folder"):
        find_images(["empty"])
    for name in ("b.png", "a.DCM", "notes.txt"):
        Path("empty", name).write_bytes(b"")
    assert find_images(["empty/b.png", "empty", str(tmp_path / "empty/b.png"), "no suffix"]) == [
        "empty/b.png", "empty/a.DCM", "no suffix"]  # fmt: skip


def test_mistakes_come_before_anything_is_computed(covidmt, demo_data, module, lungs, tmp_path, capfd):
    checkpoint, (image,) = save(module, tmp_path / "best.ckpt"), chests(demo_data, 1)
    assert covidmt("predict", checkpoint, image, "--channel", "whatsap") == 2
    assert "--channel: no channel 'whatsap'; did you mean 'whatsapp'?" in capfd.readouterr().err
    assert covidmt("predict", checkpoint, image, "--segmenter", "absent.ckpt") == 2
    assert "absent.ckpt: no such checkpoint" in capfd.readouterr().err
    assert covidmt("predict", lungs / "all", image, "--segmenter", "none") == 2
    assert "is not of `covidmt train`" in capfd.readouterr().err
    assert not Path("predictions").exists()
