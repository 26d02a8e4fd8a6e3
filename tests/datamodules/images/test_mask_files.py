import os
import stat
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from PIL import Image

from datamodules.images.mask_files import (
    Areas,
    join_masks,
    read_areas,
    read_computed,
    read_mask,
    write_computed,
    write_mask,
)
from experiments.errors import UserError
from experiments.lungs.masks import MaskLevels

LUNGS = np.zeros((80, 100), bool)
LUNGS[15:65, 12:40] = LUNGS[15:65, 58:88] = True
CASES = Path(__file__).parents[4] / "shared/cases"


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("top", [1, 2, 127, 200, 255])
@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_two_levels_are_background_and_lung_whatever_the_upper_is(tmp_path, top, ending):
    assert (read_mask(save(tmp_path / f"a.{ending}", LUNGS.astype(np.uint8) * top)) == LUNGS).all()


def test_stored_forms_of_one_mask_are_alike(tmp_path):
    grey = LUNGS.astype(np.uint8) * 255
    save(tmp_path / "bits.png", LUNGS)
    save(tmp_path / "deep.png", LUNGS.astype(np.uint16) * 65535)
    save(tmp_path / "colour.png", np.dstack([grey] * 3))
    save(tmp_path / "opaque.png", np.dstack([grey, grey, grey, np.full_like(grey, 255)]))
    save(tmp_path / "jpeg.jpg", grey, quality=50)
    palette = Image.fromarray(LUNGS.astype(np.uint8), "P")
    palette.putpalette([90, 90, 90, 10, 200, 10])  # colours mean nothing: the index is the level
    palette.save(tmp_path / "palette.png")
    for path in tmp_path.iterdir():
        assert (read_mask(path) == LUNGS).all(), path.name


def test_soft_edges_are_no_levels(tmp_path):
    soft = cv2.GaussianBlur(LUNGS.astype(np.float32), (0, 0), 1.5)
    assert (read_mask(save(tmp_path / "soft.png", np.uint8(soft * 255))) == (np.uint8(soft * 255) >= 127.5)).all()
    large = cv2.resize(LUNGS.astype(np.uint8) * 255, (300, 240), interpolation=cv2.INTER_LINEAR)
    assert read_mask(save(tmp_path / "large.png", large)).mean() == pytest.approx(LUNGS.mean(), abs=0.01)


@pytest.mark.parametrize("levels", [(0, 127, 255), (0, 1, 2), (0, 85, 170), (0, 19, 20), (0, 1, 2, 3)])
def test_several_levels_are_refused_unless_a_setting_names_them(tmp_path, levels):
    pixels = np.zeros((80, 100), np.uint8)
    for column, level in enumerate(levels[1:]):
        pixels[15:65, 12 + 22 * column : 32 + 22 * column] = level
    path = save(tmp_path / "a.png", pixels)
    with pytest.raises(UserError, match=r"several grey levels .*data\.masks\.levels=\{lungs: \[1, 2\], heart: 3\}"):
        read_mask(path)
    areas = read_areas(path, MaskLevels(lungs=list(levels[1:3]), heart=levels[3] if len(levels) > 3 else None))
    assert int(areas.lungs.sum()) == 2 * 50 * 20
    assert (areas.heart is None) == (len(levels) == 3)


def test_negatives_alpha_and_colours_are_refused(tmp_path):
    grey = LUNGS.astype(np.uint8) * 255
    colours = np.dstack([grey, grey * 0, grey * 0])
    for name, pixels, words in (
        ("negative", 255 - grey, "as a negative is"),
        ("alpha", np.dstack([grey, grey, grey, grey]), "transparent parts"),
        ("colours", colours, "in colours"),
    ):
        with pytest.raises(UserError, match=words):
            read_mask(save(tmp_path / f"{name}.png", pixels))
    Image.fromarray(grey).convert("LA").save(tmp_path / "la.png")
    assert (read_mask(tmp_path / "la.png") == LUNGS).all()


def test_palettes_mean_what_they_show(tmp_path):
    grey = Image.fromarray(LUNGS.astype(np.uint8) * 255)
    swapped = Image.fromarray(LUNGS.astype(np.uint8) ^ 1)
    for name, colours in (("white first", [255] * 3 + [0] * 3), ("black first", [0] * 3 + [255] * 3)):
        picture = swapped if name == "white first" else Image.fromarray(LUNGS.astype(np.uint8))
        picture.putpalette(colours)
        picture.save(tmp_path / f"{name}.png")
        assert (read_mask(tmp_path / f"{name}.png") == LUNGS).all()
    grey.quantize(2).save(tmp_path / "quantized.png")
    assert (read_mask(tmp_path / "quantized.png") == LUNGS).all()


def test_what_no_picture_of_the_data_may_be_no_mask_may_be(tmp_path):
    """PostScript would start a program; of several frames none is meant."""
    grey = Image.fromarray(LUNGS.astype(np.uint8) * 255)
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(UserError, match="of no known format"):
        read_mask(tmp_path / "program.png")
    grey.save(tmp_path / "frames.gif", save_all=True, append_images=[grey.rotate(90)])
    with pytest.raises(UserError, match="several frames"):
        read_mask(tmp_path / "frames.gif")
    grey.save(tmp_path / "large.png")
    content = bytearray((tmp_path / "large.png").read_bytes())
    content[16:24] = struct.pack(">II", 15_000, 14_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "large.png").write_bytes(content)
    with pytest.raises(UserError, match="more than the 200 million"):
        read_mask(tmp_path / "large.png")


def test_named_levels_that_are_not_there_or_lost_are_refused(tmp_path):
    pixels = LUNGS.astype(np.uint8) * 200
    with pytest.raises(UserError, match=r"none of its grey levels \(0, 200\)"):
        read_areas(save(tmp_path / "a.png", pixels), MaskLevels(lungs=[1, 2]))
    with pytest.raises(UserError, match="JPEG changes grey levels"):
        read_areas(save(tmp_path / "a.jpg", pixels), MaskLevels(lungs=200))
    assert not read_areas(save(tmp_path / "b.png", pixels * 0), MaskLevels(lungs=[1, 2])).lungs.any()


def test_halves_of_different_sizes_are_refused(tmp_path):
    paths = [save(tmp_path / f"{size}.png", np.eye(size, dtype=np.uint8)) for size in (20, 30)]
    with pytest.raises(UserError, match="its size differs"):
        join_masks(paths)


@given(arrays(bool, (6, 7)), arrays(bool, (6, 7)))
def test_lungs_and_heart_survive_the_cache(tmp_path_factory, lungs, heart):
    path = tmp_path_factory.mktemp("cache") / "a.png"
    for native in ("in", "out"):
        write_computed(path, Areas(lungs, heart, native))
        assert read_computed(path).native == (native if (lungs & ~heart).any() else "in")
    again = read_computed(path)
    assert (again.lungs == lungs).all()
    assert (heart == again.heart).all() if heart.any() else again.heart is None


def test_a_shared_cache_can_be_read_by_others(tmp_path):
    old = os.umask(0o027)
    try:
        write_mask(tmp_path / "s/a.png", LUNGS)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "s/a.png").stat().st_mode) == 0o640
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["a.png"]


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases lie beside the project")
def test_the_cases():
    with pytest.raises(UserError, match=r"several grey levels \(0, 127, 255\)"):
        read_mask(CASES / "masks-several-levels/lungs-127-255.png")
    folder = CASES / "masks-left-and-right/montgomery"
    sides = [folder / "ManualMask" / side / "MCUCXR_0001_0.png" for side in ("leftMask", "rightMask")]
    assert int(join_masks(sides).lungs.sum()) == int(read_mask(folder / "shen/MCUCXR_0001_0_mask.png").sum()) == 4200
