from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.masks import LungMasks, cache_path, write_mask
from experiments.errors import UserError
from experiments.schema import Masks


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
    assert (masks.read(images[0], 8) == half(8, 8)).all()
    assert (masks.read(images[1], 8) == half(8, 8, left=False)).all()
    assert masks.read(images[2], 8).dtype == bool
    assert not masks.read(images[2], 8).any()
    assert masks.missing(images) == images[2:]
    assert LungMasks(Masks(folders=[str(folder)], cache=str(cache)), "unet-2").missing(images) == images[1:]


def test_the_cache_goes_by_content(tmp_path, images):
    copy = tmp_path / "another name.jpg"
    copy.write_bytes(Path(images[0]).read_bytes())
    write_mask(cache_path(tmp_path, "s", images[0]), half())
    assert LungMasks(Masks(cache=str(tmp_path)), "s").missing([str(copy), images[1]]) == [images[1]]
    assert not list(tmp_path.glob("s/*.tmp"))


def test_the_source_is_named(tmp_path):
    assert LungMasks(Masks()).source == "none"
    assert LungMasks(Masks(folders=[str(tmp_path)])).source == "folders"
    assert LungMasks(Masks(), "x").source == "segmenter:x"


def test_above_127_is_lung(tmp_path, images):
    Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)).save(tmp_path / "a.png")
    assert LungMasks(Masks(folders=[str(tmp_path)])).read(images[0], 4)[0].tolist() == [False, False, True, True]


def test_wrong_folders_and_files_are_named(tmp_path, images):
    with pytest.raises(UserError, match=r"data\.masks\.folders.*nowhere"):
        LungMasks(Masks(folders=[str(tmp_path / "nowhere")]))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png"):
        LungMasks(Masks(folders=[str(tmp_path)])).read(images[0], 4)
    with pytest.raises(UserError, match="gone"):
        cache_path(tmp_path, "s", tmp_path / "gone.png")
