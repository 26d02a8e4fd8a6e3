import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.images.masks import LungMasks, cache_path, read_mask, write_mask
from experiments.errors import UserError
from experiments.schema import Masks

IMAGE = np.zeros((20, 30), np.uint8)


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.jpg" for name in "abc"]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (20, 30), np.uint8)).save(path)
    return [str(path) for path in paths]


def half(height=20, width=30, left=True):
    mask = np.zeros((height, width), bool)
    mask[:, : width // 2] = left
    mask[:, width // 2 :] = not left
    return mask


def test_own_masks_win_then_the_cache_then_nothing(tmp_path, images):
    folder, cache = tmp_path / "own", tmp_path / "cache"
    write_mask(folder / "a.png", half())
    for image in images[:2]:
        write_mask(cache_path(cache, "unet-1", image), half(left=False))
    masks = LungMasks(Masks(folders=[str(folder)], cache=str(cache)), "unet-1")
    assert masks.source == "folders+segmenter:unet-1"
    assert (masks.read(images[0], 8, pixels=IMAGE) == half(8, 8)).all()
    assert (masks.read(images[1], 8, pixels=IMAGE) == half(8, 8, left=False)).all()
    assert masks.read(images[2], 8, pixels=IMAGE).dtype == bool
    assert not masks.read(images[2], 8, pixels=IMAGE).any()
    assert masks.missing(images) == images[2:]
    assert LungMasks(Masks(folders=[str(folder)], cache=str(cache)), "unet-2").missing(images) == images[1:]


def test_the_cache_goes_by_content(tmp_path, images):
    copy = tmp_path / "another name.jpg"
    copy.write_bytes(Path(images[0]).read_bytes())
    write_mask(cache_path(tmp_path, "s", images[0]), half())
    assert LungMasks(Masks(cache=str(tmp_path)), "s").missing([str(copy), images[1]]) == [images[1]]
    assert not list(tmp_path.glob("s/.*"))


def test_the_source_is_named(tmp_path):
    assert LungMasks(Masks()).source == "none"
    assert LungMasks(Masks(folders=[str(tmp_path)])).source == "folders"
    assert LungMasks(Masks(), "x").source == "segmenter:x"


@pytest.mark.parametrize(
    ("values", "lung"),
    [
        ([0, 127, 128, 255], [False, False, True, True]),
        ([0, 0, 1, 1], [False, False, True, True]),
        ([0, 0, 1, 2], [False, False, True, True]),  # left and right lung
        ([0, 0, 0, 0], [False] * 4),
    ],
)
def test_half_of_the_brightest_value_and_above_is_lung(tmp_path, images, values, lung):
    Image.fromarray(np.array([values], np.uint8)).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == [lung]
    assert LungMasks(Masks(folders=[str(tmp_path)])).read(images[0], 4)[0].tolist() == lung


def test_a_jpeg_mask_is_the_same_mask(tmp_path):
    Image.fromarray(half(64, 64).astype(np.uint8) * 255).save(tmp_path / "a.jpg", quality=50)
    assert (read_mask(tmp_path / "a.jpg") == half(64, 64)).all()


def test_a_shared_cache_can_be_read_by_others(tmp_path):
    old = os.umask(0o027)
    try:
        write_mask(tmp_path / "s/a.png", half())
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "s/a.png").stat().st_mode) == 0o640
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a.png"]


def test_home_is_expanded(tmp_path, images, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_mask(tmp_path / "own/a.png", half())
    write_mask(cache_path(Masks(cache="~/cache").cache_folder, "s", images[1]), half())
    assert (tmp_path / "cache/s").is_dir()
    assert LungMasks(Masks(folders=["~/own"], cache="~/cache"), "s").missing(images) == images[2:]


def test_an_absent_folder_is_skipped_where_there_is_a_segmenter(tmp_path, images, caplog):
    masks = Masks(folders=[str(tmp_path / "absent")], segmenter="lungs.yaml", cache=str(tmp_path))
    for segmenter in (None, "s", "s"):
        assert LungMasks(masks, segmenter).missing(images) == images
    assert LungMasks(masks, "s").source == "segmenter:s"
    assert [record.name for record in caplog.records] == ["covidmt"]
    assert "absent" in caplog.text


def test_wrong_folders_and_files_are_named(tmp_path, images):
    with pytest.raises(UserError, match=r"data\.masks\.folders.*nowhere"):
        LungMasks(Masks(folders=[str(tmp_path / "nowhere")], segmenter=None))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"lung mask .*a\.png"):
        LungMasks(Masks(folders=[str(tmp_path)])).read(images[0], 4, pixels=IMAGE)
    with pytest.raises(UserError, match="gone"):
        cache_path(tmp_path, "s", tmp_path / "gone.png")


@pytest.mark.parametrize(("shape", "fits"), [((20, 30), True), ((40, 60), True), ((7, 10), True), ((30, 20), False)])
def test_a_mask_of_other_proportions_is_refused(tmp_path, images, shape, fits):
    write_mask(tmp_path / "a.png", half(*shape))
    masks = LungMasks(Masks(folders=[str(tmp_path)]))
    if fits:
        assert masks.read(images[0], 8, pixels=IMAGE).shape == (8, 8)
    else:
        with pytest.raises(UserError, match=r"a mask of 20x30 pixels does not lie on its image .* of 30x20"):
            masks.read(images[0], 8, pixels=IMAGE)


def test_lungs_that_crop_and_resize_leave_nothing_of_are_empty(tmp_path, images):
    """What `data.view` would hide or show is the mask at input size."""
    top, dot, none = (np.zeros((100, 100), bool) for _ in range(3))
    top[:8], dot[50, 50] = True, True
    for name, mask in {"a": top, "b": dot, "c": none}.items():
        write_mask(tmp_path / f"{name}.png", mask)
    masks = LungMasks(Masks(folders=[str(tmp_path)]))
    assert masks.empty(images[:3], 100) == images[2:3]
    assert masks.empty(images[:3], 100, 0.08) == [images[0], images[2]]
    assert masks.empty(images[:3], 10) == images[1:3]
