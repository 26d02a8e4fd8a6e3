import csv
import errno
import json
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.demo.phantom import FINDINGS, Anatomy, draw_chest
from datamodules.demo.write import MARKER, write_demo
from experiments.errors import UserError

CLASSES = {"normal", "pneumonia", "COVID-19"}
NIH_TASKS = {"Infiltration", "Effusion", "Atelectasis", "Nodule"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    write_demo(root, size=64, patients=120)
    return root


def covidx(root: Path, split: str) -> list[tuple[str, str, str, str]]:
    lines = (root / "covidx" / f"{split}_COVIDx.txt").read_text().splitlines()
    rows = []
    for line in lines:
        patient, rest = line.split(" ", 1)
        name, label, source = rest.rsplit(" ", 2)
        rows.append((patient, name, label, source))
    return rows


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def grey(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None, path
    return image


@settings(max_examples=12, deadline=None)
@given(st.sets(st.sampled_from(sorted(FINDINGS))), st.integers(0, 2**32 - 1), st.booleans())
def test_a_chest_has_two_dark_lungs(findings, seed, portable):
    def draw():
        anatomy = Anatomy.draw(64, np.random.default_rng(seed))
        film = np.random.default_rng((seed, 1))
        return draw_chest(anatomy, sorted(findings), film, size=64, portable=portable)

    chest = draw()
    assert chest.image.shape == chest.lungs.shape == (64, 64)
    assert chest.image.dtype == np.uint8
    assert chest.lungs.dtype == bool
    assert 0.12 < chest.lungs.mean() < 0.45
    assert cv2.connectedComponents(chest.lungs.astype(np.uint8))[0] == 3  # the background and two lungs
    middle = chest.image[16:48, 30:34]  # spine and mediastinum
    assert np.median(chest.image[chest.lungs]) < np.median(middle)
    for boxes in chest.boxes.values():
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= 64).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert np.array_equal(chest.image, draw().image)


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_brightens_its_boxes_inside_the_lungs(finding):
    for seed in range(3):
        anatomy = Anatomy.draw(128, np.random.default_rng(seed))
        ill, healthy = (
            draw_chest(anatomy, shown, np.random.default_rng((seed, 1)), size=128) for shown in ([finding], [])
        )
        assert finding in ill.boxes
        # the pose is drawn after the finding and differs, so compare the lungs as a whole
        assert ill.image[ill.lungs].mean() > healthy.image[healthy.lungs].mean() - 25
        for x1, y1, x2, y2 in ill.boxes[finding].astype(int):
            assert ill.lungs[y1:y2, x1:x2].mean() > 0.3


def test_every_split_has_every_class(demo):
    for split in ("train", "val", "test"):
        assert {label for _, _, label, _ in covidx(demo, split)} == CLASSES
    shown = {e["Image Index"]: set(e["Finding Labels"].split("|")) for e in table(demo / "nih/Data_Entry_2017.csv")}
    for name in ("train_val_list", "test_list"):
        seen = set().union(*(shown[image] for image in (demo / f"nih/{name}.txt").read_text().split()))
        assert seen >= NIH_TASKS | {"No Finding", "Pneumonia"}
    val = {name for _, name, _, _ in covidx(demo, "val")}
    mapping = json.loads((demo / "rsna/pneumonia-challenge-dataset-mappings_2018.json").read_text())
    assert any(Path(name).stem in {m["subset_img_id"] for m in mapping} for name in val)
    classes = {row["class"] for row in table(demo / "rsna/stage_2_detailed_class_info.csv")}
    assert classes == {"Normal", "Lung Opacity", "No Lung Opacity / Not Normal"}


def test_all_listed_files_exist_and_one_name_has_a_blank(demo):
    names = []
    for split in ("train", "val", "test"):
        folder = demo / "covidx" / ("test" if split == "test" else "train")
        for _, name, _, _ in covidx(demo, split):
            names.append(name)
            lungs = grey(demo / "lungs/masks" / f"{Path(name).stem}.png")
            assert grey(folder / name).shape == lungs.shape
            assert grey(demo / "lungs/images" / f"{Path(name).stem}.png").shape == lungs.shape
            assert set(np.unique(lungs)) == {0, 255}
    assert any(" " in name for name in names)
    assert len(table(demo / "lungs/pairs.csv")) == len(names) == len(list((demo / "lungs/masks").iterdir()))
    images = {p.name for p in (demo / "nih/images_001/images").iterdir()}
    lists = [(demo / f"nih/{name}.txt").read_text().split() for name in ("train_val_list", "test_list")]
    assert images == set(lists[0]) | set(lists[1])
    assert not set(lists[0]) & set(lists[1])


def test_the_file_format_says_nothing_about_the_class(demo):
    for split in ("train", "val", "test"):
        jpeg = defaultdict(list)
        for _, name, label, _ in covidx(demo, split):
            jpeg[label].append(Path(name).suffix != ".png")
        for flags in jpeg.values():
            assert abs(2 * sum(flags) - len(flags)) <= 1


def test_the_printed_page_is_a_shortcut_in_training_and_not_in_test(demo):
    def share(split: str, covid: bool) -> float:
        folder = demo / "covidx" / ("test" if split == "test" else "train")
        rows = [name for _, name, label, _ in covidx(demo, split) if (label == "COVID-19") == covid]
        return float(np.mean([grey(folder / name)[0].mean() > 225 for name in rows]))  # its white frame

    assert share("train", True) - share("train", False) > 0.6
    assert abs(share("test", True) - share("test", False)) < 0.4


def test_rsna_is_nih_under_other_names(demo):
    mapping = json.loads((demo / "rsna/pneumonia-challenge-dataset-mappings_2018.json").read_text())
    to_nih = {m["subset_img_id"]: m["img_id"] for m in mapping}
    files = sorted((demo / "rsna/stage_2_train_images").iterdir())
    assert {p.stem for p in files} == set(to_nih)
    kinds = Counter()
    for path in files:
        data = pydicom.dcmread(path)
        pixels = data.pixel_array.astype(int)
        if data.PhotometricInterpretation == "MONOCHROME1":
            pixels = 255 - pixels
        kinds[data.file_meta.TransferSyntaxUID.is_compressed, data.PhotometricInterpretation] += 1
        tolerance = 40 if data.file_meta.TransferSyntaxUID.is_compressed else 0
        assert np.abs(pixels - grey(demo / "nih/images_001/images" / to_nih[path.stem])).max() <= tolerance
    assert set(kinds) == {(True, "MONOCHROME2"), (False, "MONOCHROME2"), (False, "MONOCHROME1")}
    for row in table(demo / "rsna/stage_2_train_labels.csv"):
        if row["Target"] == "1":
            x, y, w, h = (float(row[k]) for k in ("x", "y", "width", "height"))
            assert 0 <= x < x + w <= 64
            assert 0 <= y < y + h <= 64
        else:
            assert row["x"] == ""


def test_wacxr_pairs_the_covidx_test_images(demo):
    stems = {Path(name).stem for _, name, _, _ in covidx(demo, "test")}
    originals = {p.relative_to(demo / "wacxr/covid_binary_test") for p in demo.glob("wacxr/covid_binary_test/*/*.png")}
    assert {p.stem for p in originals} == stems
    for name in originals:
        received = grey(demo / "wacxr/covid_binary_test_whatsapp" / name.with_suffix(".jpeg"))
        original = grey(demo / "wacxr/covid_binary_test" / name)
        assert received.shape == original.shape
        assert 0 < np.abs(received.astype(int) - original).mean() < 8


def test_same_arguments_same_bytes_and_a_present_demo_stays(tmp_path):
    def content(root: Path) -> dict[Path, bytes]:
        return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    write_demo(tmp_path / "a", size=32, patients=48)
    write_demo(tmp_path / "b", size=32, patients=48)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    stamp = (tmp_path / "a" / MARKER).stat().st_mtime_ns
    write_demo(tmp_path / "a", size=32, patients=48)
    assert (tmp_path / "a" / MARKER).stat().st_mtime_ns == stamp
    write_demo(tmp_path / "a", seed=1, size=32, patients=48)
    assert content(tmp_path / "a") != content(tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no demo set"):
        write_demo(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="at least"):
        write_demo(tmp_path / "new", size=8)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file/new", tmp_path / "file/new/er"):
        with pytest.raises(UserError, match=r"file/new.*cannot be written"):
            write_demo(path, size=32, patients=48)

    def busy(path, target):  # as for a mount point
        raise OSError(errno.EBUSY, "Device or resource busy")

    (tmp_path / "mount").mkdir()
    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(UserError, match=r"mount: cannot be written \(Device or resource busy\)"):
        write_demo(tmp_path / "mount", size=32, patients=48)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "mount"]
