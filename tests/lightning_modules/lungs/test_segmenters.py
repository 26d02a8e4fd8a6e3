import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import torch

from datamodules.images.decode import decode, resize
from datamodules.images.mask_files import read_mask
from experiments.errors import UserError
from lightning_modules.lungs import segmenters
from lightning_modules.lungs.segmenters import (
    SHIPPED,
    TORCHXRAYVISION,
    load_segmenter,
    load_unet,
    require_convention,
    segmenter_id,
)
from lightning_modules.lungs.unet import LungUNet

FILE = Path(segmenters.__file__).with_name("lung_unet.ckpt")


@pytest.fixture(scope="module")
def shipped():
    torch.set_num_threads(1)
    return load_segmenter(SHIPPED)


def dices(segmenter, root: Path, table: pd.DataFrame) -> np.ndarray:
    """Dice of each image at the segmenter's own size."""
    size = segmenter.image_size
    images = np.stack([resize(decode(root / name), size) for name in table["image"]])
    wanted = np.stack([resize(read_mask(root / name).astype(np.uint8) * 255, size) > 127 for name in table["mask"]])
    parts = torch.from_numpy(images)[:, None].split(8)
    found = torch.cat([segmenter.segment(part).lungs for part in parts]).numpy() >= 0.5
    overlap = (found & wanted).sum((1, 2))
    return 2 * overlap / (found.sum((1, 2)) + wanted.sum((1, 2)))


def test_the_shipped_weights_are_small_and_say_nothing_of_their_data():
    assert FILE.stat().st_size <= 8_000_000
    checkpoint = torch.load(FILE, weights_only=True)
    assert checkpoint["lungs_experiment"]["data"]["folders"] == {}
    assert {t.dtype for t in checkpoint["state_dict"].values() if t.ndim > 1} == {torch.float16}


def test_lungs_of_made_up_chests_are_found(shipped, demo_data):
    root = demo_data / "lungs"
    table = pd.read_csv(root / "pairs.csv").query("split == 'test'").head(16)
    found = dices(shipped, root, table)
    assert found.mean() >= 0.9
    assert found.min() > 0.5


def test_lungs_of_the_exact_test_images_are_found(shipped, mini_cxr):
    root = mini_cxr / "lungs"
    table = pd.read_csv(root / "pairs.csv").query("split == 'test' and alignment == 'exact'")
    assert len(table) == 11
    found = dices(shipped, root, table)
    assert found.mean() >= 0.95
    assert found.min() > 0.85


def test_what_is_drawn_has_the_images_size(shipped):
    size = shipped.image_size
    drawn = shipped.segment(torch.randint(0, 256, (2, 1, size, size), dtype=torch.uint8))
    assert drawn.lungs.shape == drawn.heart.shape == (2, size, size)
    assert shipped.conventions == {"in", "out"}


def test_a_checkpoint_is_a_name_too_and_export_keeps_its_masks(shipped, tmp_path):
    copy = tmp_path / "copy.ckpt"
    unet = load_unet(SHIPPED)
    assert isinstance(unet, LungUNet)
    unet.export(copy)
    images = torch.randint(0, 256, (1, 1, shipped.image_size, shipped.image_size), dtype=torch.uint8)
    assert torch.equal(load_segmenter(copy).segment(images).lungs, shipped.segment(images).lungs)
    assert segmenter_id(SHIPPED).startswith("covidmt-")
    assert len(segmenter_id(copy)) == 12


def test_what_draws_is_folded_and_what_is_exported_is_not(shipped):
    unet = load_unet(SHIPPED)
    assert isinstance(unet, LungUNet)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in unet.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in shipped.modules())
    assert load_unet(TORCHXRAYVISION) is None

    images = (torch.linspace(0, 255, 192)[None, :] * torch.ones(192, 1)).to(torch.uint8)[None, None]
    folded, plain = shipped.segment(images), unet.segment(images)
    torch.testing.assert_close(folded.lungs, plain.lungs, atol=1e-3, rtol=0)
    torch.testing.assert_close(folded.heart, plain.heart, atol=1e-3, rtol=0)
    torch.testing.assert_close(folded.poses, plain.poses, atol=1e-4, rtol=0)


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"nowhere\.ckpt.*no such checkpoint"):
        load_segmenter(tmp_path / "nowhere.ckpt")
    with pytest.raises(UserError, match=r"nowhere\.ckpt.*no such checkpoint.*covidmt"):
        segmenter_id(tmp_path / "nowhere.ckpt")
    monkeypatch.setitem(sys.modules, "torchxrayvision.baseline_models.chestx_det", None)  # as if not installed
    with pytest.raises(UserError, match=r"pip install covidmt\[torchxrayvision\]"):
        load_segmenter(TORCHXRAYVISION)
    assert segmenter_id(TORCHXRAYVISION) == "torchxrayvision-pspnet_chestxray_best_model_4-hearts"


class PSPNet(torch.nn.Module):
    """Stands where torchxrayvision's does: the grey levels it gets, its classes, its logits."""

    targets = ("Heart", "Left Lung", "Right Lung")
    failure: Exception | None = None

    def __init__(self):
        super().__init__()
        if self.failure:
            raise self.failure

    def forward(self, x):
        assert x.shape[1:] == (1, 512, 512)
        assert x.min() >= -1024
        assert x.max() <= 1024
        dark, middle = x < -500, torch.arange(512) >= 256
        return torch.stack([(x > 900), dark & ~middle, dark & middle], 1)[:, :, 0] * 2.0 - 1


@pytest.fixture
def pspnet(monkeypatch):
    module = type(sys)("torchxrayvision.baseline_models.chestx_det")
    module.PSPNet = PSPNet
    for name in ("torchxrayvision", "torchxrayvision.baseline_models"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return PSPNet


def test_torchxrayvisions_two_lungs_are_one_mask(pspnet):
    images = torch.full((1, 1, 512, 512), 200, dtype=torch.uint8)
    images[0, 0, 100:300, 50:200] = images[0, 0, 100:300, 300:450] = 20
    images[0, 0, 400:404, 10:14] = 20  # a speck
    images[0, 0, 200:320, 210:290] = 255  # the heart
    segmenter = load_segmenter(TORCHXRAYVISION)
    drawn = segmenter.segment(images)
    wanted = images[:, 0] == 20
    wanted[0, 400:404] = False
    assert torch.equal(drawn.lungs >= 0.5, wanted)
    assert torch.equal(drawn.heart >= 0.5, images[:, 0] == 255)
    require_convention(segmenter, "out", "--segmenter")
    with pytest.raises(UserError, match="part behind the heart; use covidmt"):
        require_convention(segmenter, "in", "--segmenter")


def test_torchxrayvisions_weights_are_asked_for(pspnet, monkeypatch):
    for failure, words in (
        (requests.ConnectionError("no route"), "cannot be downloaded.*ConnectionError"),
        (RuntimeError("truncated"), "cannot be loaded.*truncated.*delete"),
    ):
        monkeypatch.setattr(pspnet, "failure", failure)
        with pytest.raises(UserError, match=words):
            load_segmenter(TORCHXRAYVISION)
