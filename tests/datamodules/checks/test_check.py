from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from datamodules.checks.check import check_data
from datamodules.checks.text import print_report
from experiments.pairs.schema import Pairs
from experiments.schema import Data, Duplicates, Experiment, SplitPolicy, Task, TaskKind
from experiments.source_schema import CsvSource, FolderSource


def experiment(root: Path, **settings: Any) -> Experiment:
    """Class folders sick (JPEG, 20 px) and well (PNG, 30 px), 10 images a class and split."""
    noise = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label, size, suffix in (("sick", 20, "jpg"), ("well", 30, "png")):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(10):
                pixels = noise.integers(0, 255, (size, size), np.uint8)
                Image.fromarray(pixels).save(folder / f"{split}{i}.{suffix}")
    data = Data(sources={"own": FolderSource(root=str(root))}, pairs=Pairs(val="own"), **settings)
    return Experiment(name="t", data=data, tasks={"own": Task(name="own", source="own", labels=["sick"])})


def test_shortcuts(tmp_path: Path) -> None:
    report = check_data(experiment(tmp_path))
    assert report.errors == []
    assert report.shortcuts["file format"].loc["sick"].to_dict() == {"JPEG": 10, "PNG": 0}
    assert report.shortcuts["size"].loc["sick", "20x20"] == 10
    assert "no patient known for 60 of 60 images: this is a split by image" in report.risks[0]
    assert [risk.split(".")[0] for risk in report.risks[1:]] == [
        "sick is given away by file format: 10 of its 10 images (100%) are JPEG, but 0 of the 10 others (0%)",
        "sick is given away by size: 10 of its 10 images (100%) are 20x20, but 0 of the 10 others (0%)",
    ]
    assert "data.augment.jpeg: 0.5" in report.risks[1]
    counts: Any = report.counts.set_index(["source", "class"])
    assert counts.loc[("own", "sick"), ["train", "val", "test"]].tolist() == [10, 10, 10]


def test_bad_files_duplicates_and_labels(tmp_path: Path) -> None:
    trial = experiment(tmp_path)
    trial.tasks["own"].labels = ["sick", "wel"]
    (tmp_path / "train/sick/train0.jpg").write_bytes(b"no image")
    shutil.copy(tmp_path / "train/well/train1.png", tmp_path / "test/well/copy.png")
    Image.open(tmp_path / "val/well/val1.png").save(tmp_path / "val/well/copy.bmp")  # same pixels, other format
    report = check_data(trial)
    assert [Path(image).name for image in report.unreadable["image"]] == ["train0.jpg"]
    duplicates = report.duplicates.set_index("kind")
    assert duplicates.loc["across splits", "splits"] == "test, train"
    assert sorted(duplicates.loc["within a source", "files"]) == ["own/copy.bmp", "own/val1.png"]
    errors = "\n".join(report.errors)
    assert "tasks.own.labels: source 'own' has no label 'wel'; did you mean 'well'?" in errors
    assert "1 unreadable images" in errors
    assert "1 images occur more than once across splits" in errors
    console = Console(record=True, width=200, file=io.StringIO())
    print_report(report, console)
    text = console.export_text()
    for part in ("Images per split", "Class by size", "train0.jpg", "across splits", "problem:", "risk:"):
        assert part in text


def test_a_label_without_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.linear_gradient("L").rotate(ord(name[0])).save(tmp_path / name)
    (tmp_path / "t.csv").write_text("image,y,split\na.png,0,train\nb.png,0,val\n")
    source = CsvSource(root=str(tmp_path), table="t.csv", labels={"y": "y"}, split_column="split")
    tasks = {"t": Task(name="t", source="own", labels=["y"])}
    report = check_data(Experiment(name="t", data=Data(sources={"own": source}, pairs=Pairs(val="own")), tasks=tasks))
    assert len(report.errors) == 1
    assert report.errors[0].startswith("tasks.t: no training image of source 'own' has y;")
    assert any("its AUROC is undefined" in note for note in report.notes)


def test_what_training_refuses_is_a_problem(tmp_path: Path) -> None:
    trial = experiment(tmp_path)
    trial.tasks["boxes"] = Task(name="boxes", source="own", kind=TaskKind.boxes)
    (error,) = check_data(trial).errors
    assert error.startswith("tasks.boxes: source 'own' has no boxes")
    trial.tasks["boxes"] = Task(name="boxes", source="own", labels=["well"], batch_size=7)
    (error,) = check_data(trial).errors  # each alone is fine
    assert "batch_size differs" in error
    for path in (tmp_path / "val").rglob("*.*"):
        path.rename(tmp_path / "test" / path.parent.name / path.name)
    trial = replace(trial, data=replace(trial.data, split_policy=SplitPolicy.patient_disjoint, val_fraction=0))
    assert any("no labelled image in the val split" in error for error in check_data(trial).errors)


def test_numbers_of_a_source(tmp_path: Path) -> None:
    trial = experiment(tmp_path)
    (tmp_path / "val" / "well" / "Thumbs.db").touch()
    (tmp_path / "train" / "Sick").mkdir()
    Image.linear_gradient("L").resize((20, 20)).save(tmp_path / "train" / "Sick" / "b.gif")
    report = check_data(trial)
    row: Any = report.sources.set_index("source").loc["own"]
    assert row.dropna().to_dict() == {
        "kind": "folder", "images": 61, "no image": 1, "patients": 61, "no patient": 61,
    }  # fmt: skip
    assert "own: 'Sick' (1 row) is used by no task; did you mean 'sick'?" in report.notes
    assert "own: no task uses well (30 rows)" in report.notes
    console = Console(record=True, width=200, file=io.StringIO())
    print_report(report, console)
    text = console.export_text()
    assert f"nothing stops a training, but {len(report.risks)} risk(s) are listed above" in text
    assert "no problem found" not in text


def test_missing_images_are_a_problem_with_all_names(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.linear_gradient("L").rotate(ord(name[0])).save(tmp_path / name)
    rows = "".join(f"gone{i}.png,1,p{i},val\n" for i in range(5))
    (tmp_path / "t.csv").write_text(f"image,y,who,split\na.png,1,p,train\nb.png,0,q,val\n{rows}")
    columns = {"labels": {"y": "y"}, "split_column": "split", "patient_column": "who"}
    source = CsvSource(root=str(tmp_path), table="t.csv", **columns)
    tasks = {"t": Task(name="t", source="own", labels=["y"])}
    report = check_data(Experiment(name="t", data=Data(sources={"own": source}, pairs=Pairs(val="own")), tasks=tasks))
    assert report.errors[0].startswith("own: 5 of 7 listed images are not in ")
    assert report.missing == {"own": [f"gone{i}.png" for i in range(5)]}
    row: Any = report.sources.set_index("source").loc["own"]
    assert row[["listed", "missing", "images", "no patient"]].tolist() == [7, 5, 2, 0]


@pytest.mark.parametrize(("duplicates", "where"), [(Duplicates.refuse, "errors"), (Duplicates.keep, "notes")])
def test_duplicates_by_their_setting(tmp_path: Path, duplicates: Duplicates, where: str) -> None:
    trial = experiment(tmp_path, duplicates=duplicates)
    shutil.copy(tmp_path / "train/well/train1.png", tmp_path / "test/well/copy.png")
    report = check_data(trial)
    assert [line for line in getattr(report, where) if "1 images occur more than once across splits" in line]
    assert bool(report.errors) == (where == "errors")


def test_limit_and_progress(tmp_path: Path) -> None:
    seen = []

    def progress(items, total):
        seen.append(total)
        return items

    report = check_data(experiment(tmp_path), limit=4, progress=progress)
    assert seen == [8]
    assert report.opened == (8, 60)


@pytest.mark.parametrize("policy", SplitPolicy)
def test_real_images(mini_cxr: Path, policy: SplitPolicy) -> None:
    from experiments.load import load_experiment

    overrides = [f"data.root={mini_cxr}", "data.augment.jpeg=0", f"data.split_policy={policy.value}"]
    report = check_data(load_experiment("experiments/mini_cxr.yaml", overrides), limit=40)
    assert report.errors == []
    assert report.unreadable.empty
    assert any("COVID-19 is given away by file format" in risk for risk in report.risks)
    assert any("COVID-19 is given away by source" in risk for risk in report.risks)
    assert report.shared.empty == (policy is not SplitPolicy.paper)
    paper: Any = report.paper.query("of == 'COVIDMT (000)'").set_index("quantity")
    assert paper.loc["covidx train COVID-19", ["paper", "listed"]].tolist() == [110, 87]
    assert paper.loc["rsna all label rows", ["paper", "listed"]].tolist() == [30_227, 305]
    assert paper.loc[["rsna train label rows", "rsna val label rows"], "paper"].tolist() == [22_638, 7_589]
    assert paper.loc["rsna train label rows", "used"] > paper.loc["rsna val label rows", "used"] > 0
    assert paper.loc["rsna val label rows", "listed"] is pd.NA
