from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.images.mask_files import Areas, cache_path, write_computed, write_mask
from datamodules.images.masks import LungMasks, Survey
from experiments.errors import UserError
from experiments.lungs.masks import MaskLevels, Masks

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


def test_both_lungs_of_two_folders_are_one_mask(tmp_path, images):
    """Montgomery's layout: a left and a right lung in folders of their own, under the image's name."""
    left, right = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    left[4:16, 2:12], right[4:16, 18:28] = True, True
    for folder, mask in {"left": left, "right": right}.items():
        write_mask(tmp_path / folder / "a.png", mask)
    masks = LungMasks(Masks(folders=[str(tmp_path / "left"), str(tmp_path / "right")]))
    assert masks.read(images[0], 300, pixels=IMAGE).sum() == 300 * 300 * 240 / 600
    write_mask(tmp_path / "right/a.png", left)  # the same lung again: two drawings, not two lungs
    with pytest.raises(UserError, match="draws the same lungs as the mask of another folder"):
        masks.read(images[0], 8)


def test_masks_with_a_suffix_are_found_and_counted(tmp_path, images):
    """Shenzhen's names; folders that have a mask of none of the images are not said to be used."""
    write_mask(tmp_path / "own/a_mask.png", half())
    plain = LungMasks(Masks(folders=[str(tmp_path / "own")]))
    assert plain.count(images) == Survey(3, 0, 0)
    assert plain.source == "none"
    masks = LungMasks(Masks(folders=[str(tmp_path / "own")], suffix="_mask"))
    assert masks.count(images) == Survey(3, 1, 0)
    assert masks.source == "folders"
    assert masks.read(images[0], 8).any()


LUNGS, HEART = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
LUNGS[2:9, 1:4] = LUNGS[2:9, 6:9] = True
HEART[5:9, 3:8] = True  # 4 of its 5 columns lie behind lungs: 1 of the left, 2 of the right
OUT = LUNGS & ~HEART


def read_all(masks, image):
    return {heart: masks.read(image, 10, heart=heart) for heart in ("in", "out")}


def test_computed_masks_know_both_conventions(tmp_path, images):
    write_computed(cache_path(tmp_path, "s", images[0]), Areas(LUNGS, HEART))
    write_mask(cache_path(tmp_path, "s", images[1]), LUNGS)  # of a segmenter that draws no heart
    write_computed(cache_path(tmp_path, "s", images[2]), Areas(OUT, HEART, "out"))  # of one whose lungs stop at it
    masks = LungMasks(Masks(cache=str(tmp_path), heart="out"), "s")
    first, second, third = (read_all(masks, image) for image in images)
    assert (first["in"] == LUNGS).all()
    assert (first["out"] == OUT).all()
    assert (masks.read(images[0], 10) == OUT).all()  # as the settings say
    assert (second["in"] == LUNGS).all()
    assert not second["out"].any()
    assert (third["out"] == OUT).all()
    assert not third["in"].any()


@pytest.mark.parametrize("drawn", ["in", "out"])
def test_own_masks_are_completed_by_the_heart_that_a_segmenter_draws(tmp_path, images, drawn):
    write_mask(tmp_path / "own/a.png", LUNGS if drawn == "in" else OUT)
    settings = Masks(folders=[str(tmp_path / "own")], drawn=drawn, cache=str(tmp_path))
    alone = read_all(LungMasks(settings), images[0])
    assert alone[drawn].any()
    assert not alone["out" if drawn == "in" else "in"].any()
    masks = LungMasks(settings, "s")
    assert masks.missing(images[:1]) == ([] if drawn == "in" else images[:1])
    assert masks.missing(images[:1], both=True) == images[:1]
    write_computed(cache_path(tmp_path, "s", images[0]), Areas(LUNGS, HEART))
    both = read_all(masks, images[0])
    assert (both["in"] == LUNGS).all()
    assert (both["out"] == OUT).all()
    assert masks.missing(images[:1], both=True) == []


def test_levels_of_lungs_and_heart_are_both_conventions(tmp_path, images):
    """1 and 2: lungs, 3: heart, 4: a lung behind the heart."""
    levels = np.zeros((10, 10), np.uint8)
    levels[LUNGS], levels[HEART], levels[LUNGS & HEART] = 1, 3, 4
    levels[2:9, 6:9][levels[2:9, 6:9] == 1] = 2
    (tmp_path / "own").mkdir()
    Image.fromarray(levels).save(tmp_path / "own/a.png")
    for image in images[:1]:
        with pytest.raises(UserError, match=r"several grey levels \(0, .*data\.masks\.levels"):
            LungMasks(Masks(folders=[str(tmp_path / "own")])).read(image, 10)
    masks = LungMasks(Masks(folders=[str(tmp_path / "own")], levels=MaskLevels(lungs=[1, 2, 4], heart=[3, 4])))
    both = read_all(masks, images[0])
    assert (both["in"] == LUNGS).all()
    assert (both["out"] == OUT).all()
    stops = LungMasks(Masks(folders=[str(tmp_path / "own")], levels=MaskLevels(lungs=[1, 2], heart=3)))
    assert (stops.read(images[0], 10, heart="out") == OUT).all()
    assert not stops.read(images[0], 10, heart="in").any()


def test_a_convention_that_no_mask_knows_is_refused(tmp_path, images):
    write_mask(tmp_path / "own/a.png", LUNGS)
    masks = LungMasks(Masks(folders=[str(tmp_path / "own")], heart="out"))
    with pytest.raises(UserError, match=r"data\.masks\.heart=out: lungs that stop at .* unknown of the folder"):
        masks.require_heart(images)
    LungMasks(Masks(folders=[str(tmp_path / "own")])).require_heart(images)
    write_mask(cache_path(tmp_path, "s", images[1]), LUNGS)
    with pytest.raises(UserError, match=r"of the segmenter's masks; use data\.masks\.segmenter=covidmt"):
        LungMasks(Masks(cache=str(tmp_path), heart="out"), "s").require_heart(images)
