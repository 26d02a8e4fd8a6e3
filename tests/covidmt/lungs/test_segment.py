from pathlib import Path

import cv2
import numpy as np
import pytest

from covidmt.lungs.segment import export_segmenter, write_masks
from datamodules.images.decode import decode
from experiments.errors import UserError


def test_masks_are_written_at_the_images_own_sizes(trained, demo_data, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a b.jpg"), np.full((50, 70), 90, np.uint8))
    dicom = next((demo_data / "rsna/stage_2_train_images").iterdir())
    (images / "c.dcm").write_bytes(dicom.read_bytes())
    write_masks(trained, images, tmp_path / "masks")
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == ["a b.png", "c.png"]
    assert decode(tmp_path / "masks/a b.png").shape == (50, 70)
    mask = decode(tmp_path / "masks/c.png")
    assert mask.shape == decode(dicom).shape
    assert set(np.unique(mask)) <= {0, 255}
    assert "2 masks" in capsys.readouterr().out


def test_mistakes_are_named(trained, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    with pytest.raises(UserError, match="no images"):
        write_masks(trained, images, tmp_path / "masks")
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(images / name), np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match="both"):
        write_masks(trained, images, tmp_path / "masks")
    with pytest.raises(UserError, match="among the images"):
        write_masks(trained, images / "a.png", images)
    with pytest.raises(UserError, match="no such image"):
        write_masks(trained, Path("absent.png"), tmp_path / "masks")
    with pytest.raises(UserError, match="--heart: takes in or out"):
        write_masks(trained, images, tmp_path / "masks", heart="inside")
    with pytest.raises(UserError, match="does not draw lungs that stop at the heart"):
        write_masks(trained, images, tmp_path / "masks", heart="out")
    with pytest.raises(UserError, match="no such checkpoint"):
        write_masks(Path("absent.ckpt"), images, tmp_path / "masks")


def test_an_exported_segmenter_writes_the_same_masks(trained, demo_data, tmp_path):
    export_segmenter(trained, tmp_path / "small.ckpt")
    assert (tmp_path / "small.ckpt").stat().st_size < trained.stat().st_size / 1.9
    image = next((demo_data / "rsna/stage_2_train_images").iterdir())
    for name, segmenter in (("whole", trained), ("small", tmp_path / "small.ckpt")):
        write_masks(segmenter, image, tmp_path / name)
    whole, small = (decode(tmp_path / name / f"{image.stem}.png") for name in ("whole", "small"))
    assert (whole != small).mean() < 0.01
    with pytest.raises(UserError, match="cannot be written"):
        export_segmenter(trained, tmp_path / "no" / "folder" / "small.ckpt")


def test_a_file_that_cannot_be_read_ends_nothing(trained, demo_data, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for source in sorted((demo_data / "lungs/images").iterdir())[:3]:
        (images / source.name).write_bytes(source.read_bytes())
    broken, *others = sorted(images.iterdir())
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(UserError, match=rf"1 of 3 images could not be read:\n  .*{broken.name}"):
        write_masks(trained, images, tmp_path / "masks")
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [path.name for path in others]
    assert "2 masks in" in capsys.readouterr().out
