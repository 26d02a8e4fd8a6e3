import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pydicom

from datamodules.sources.table import assemble
from experiments.schema import Data
from experiments.source_schema import ChexpertSource, NihSource, PairsSource, VindrSource
from tests.helpers.demo_files import covidx, grey, table

CLASSES = {"normal", "pneumonia", "COVID-19"}


NIH_TASKS = {"Infiltration", "Effusion", "Atelectasis", "Nodule"}


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
            assert 0 <= x < x + w <= 1024  # RSNA's frame
            assert 0 <= y < y + h <= 1024
        else:
            assert row["x"] == ""


def test_wacxr_pairs_the_covidx_test_images(demo):
    stems = {Path(name).stem for _, name, _, _ in covidx(demo, "test")}
    originals = {p.relative_to(demo / "wacxr/covid_binary_test") for p in demo.glob("wacxr/covid_binary_test/*/*.png")}
    assert {p.stem for p in originals} == stems
    for name in originals:
        received = grey(demo / "wacxr/covid_binary_test_whatsapp" / name.with_suffix(".jpeg"))
        original = grey(demo / "wacxr/covid_binary_test" / name)
        assert 60 <= max(received.shape) <= 64
        small = cv2.resize(original, received.shape[::-1], interpolation=cv2.INTER_AREA)
        assert 0 < np.abs(received.astype(int) - small).mean() < 8


def test_the_sets_of_others_are_read(demo):
    data = Data(
        sources={
            "chexpert": ChexpertSource(root=f"{demo}/chexpert"),
            "nih": NihSource(root=f"{demo}/nih"),
            "sent": PairsSource(root=f"{demo}/nih_whatsapp", originals=None, labels_of="nih"),
            "vindr": VindrSource(root=f"{demo}/vindr"),
        }
    )
    assembly = assemble(data)
    tables = assembly.tables
    assert list(tables) == list(data.sources)
    assert assembly.notes.problems == []
    assert len(tables["sent"]) == len(tables["nih"])
    assert tables["chexpert"]["Lung Lesion"].isna().any()  # uncertain
    assert {"train", "val"} <= set(tables["chexpert"]["split"])
    assert sum(map(len, tables["vindr"]["boxes"])) > 0
