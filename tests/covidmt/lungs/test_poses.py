import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from PIL import Image

from covidmt.lungs.poses import describe_poses, find_poses
from datamodules.images.decode import decode
from experiments.load import load_experiment
from lightning_modules.lungs.segmenters import SHIPPED, load_segmenter


def test_turned_films_and_negatives_of_a_source_are_counted(demo_data: Path, tmp_path: Path):
    names = ["a.png", "b.png", "c.png", "d.png", "e.png"]
    for name, film in zip(names, sorted((demo_data / "lungs/images").iterdir()), strict=False):
        (tmp_path / name).write_bytes(film.read_bytes())
    cv2.imwrite(str(tmp_path / "a.png"), cv2.rotate(decode(tmp_path / "a.png"), cv2.ROTATE_90_CLOCKWISE))
    cv2.imwrite(str(tmp_path / "b.png"), 255 - decode(tmp_path / "b.png"))
    (tmp_path / "c.png").write_bytes(b"left to the other checks")
    poses = find_poses(load_segmenter(SHIPPED), [tmp_path / name for name in names])
    assert poses == {"a.png": "turned clockwise", "b.png": "negative", "d.png": "upright", "e.png": "upright"}


def test_the_sources_of_the_demo_lie_upright(demo_data: Path):
    assert describe_poses(load_experiment("experiments/demo.yaml", [f"data.root={demo_data}"]), limit=4) == []


def test_the_check_counts_them_among_its_risks(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    shutil.copytree(demo_data / "covidx", tmp_path / "data/covidx")
    for path in (tmp_path / "data/covidx/train").iterdir():
        with Image.open(path) as film:
            film.rotate(90).save(path)
    settings = [
        "data.root=data",
        "active_tasks=[covidx]",
        "data.pairs={val: covidx, test: null}",
        "data.masks.folders=[]",
    ]
    arguments = ["data", "check", "experiments/demo.yaml", *settings, "--limit", 2, "--poses", 6]
    assert covidmt(*arguments) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert re.search(r"risk: source covidx: \d of 6 .*turned anticlockwise.* \(of up to 6 images a source\)", said)
    assert "no problem found" not in said
