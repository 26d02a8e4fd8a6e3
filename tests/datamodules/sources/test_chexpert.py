from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datamodules.sources.chexpert import LABELS, read_chexpert
from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from experiments.errors import UserError
from experiments.source_schema import ChexpertSource, Reading

HEADER = ",".join(["Path,Sex,Age,Frontal/Lateral,AP/PA", *LABELS]) + "\n"


def line(path: str, view: str = "Frontal", **findings: str) -> str:
    cells = [findings.get(label.replace(" ", "_"), "") for label in LABELS]
    return ",".join([f"CheXpert-v1.0-small/{path}", "Male", "60", view, "PA", *cells]) + "\n"


TRAIN = (
    line("train/patient00001/study1/view1_frontal.jpg", Edema="1.0", Fracture="-1.0", Pneumonia="0.0")
    + line("train/patient00001/study1/view2_lateral.jpg", "Lateral", Edema="1.0")
    + line("train/patient00002/study1/view1_frontal.jpg", No_Finding="1.0")
)
VALID = line("valid/patient64541/study1/view1_frontal.jpg", Edema="1.0")


@pytest.fixture(params=["", "CheXpert-v1.0-small"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> ChexpertSource:
    root = tmp_path / request.param
    for text in (TRAIN, VALID):
        for row in text.splitlines():
            path = root / row.split(",")[0].partition("/")[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (tmp_path / "train.csv").write_text(HEADER + TRAIN)
    (tmp_path / "valid.csv").write_text(HEADER + VALID)
    return ChexpertSource(root=str(tmp_path))


def read(source: ChexpertSource, notes: SourceNotes | None = None) -> Any:
    return read_chexpert(source, "chexpert", PatientRegistry(), notes or SourceNotes())


def test_frontal_views_patients_and_splits(source: ChexpertSource) -> None:
    notes = SourceNotes()
    table = read(source, notes)
    assert table["patient"].tolist() == ["chexpert:patient00001", "chexpert:patient00002", "chexpert:patient64541"]
    assert table["split"].tolist() == ["train", "train", "val"]
    assert all(Path(image).is_file() for image in table["image"])
    assert table["projection"].tolist() == ["PA"] * 3
    assert notes.lines == ["chexpert: 1 of 4 listed images are lateral views and left out"]
    assert notes.counts["chexpert"] == {"listed": 3, "missing": 0}


@pytest.mark.parametrize(
    ("uncertain", "unmentioned", "row"),
    [
        (Reading.unknown, Reading.negative, [1, -9, 0, 0]),
        (Reading.positive, Reading.unknown, [1, 1, 0, -9]),
        (Reading.negative, Reading.positive, [1, 0, 0, 1]),
    ],
)
def test_uncertain_and_unmentioned_findings(
    source: ChexpertSource, uncertain: Reading, unmentioned: Reading, row: list[float]
) -> None:
    source.uncertain, source.unmentioned = uncertain, unmentioned
    table = read(source).fillna(-9)
    assert table.loc[0, ["Edema", "Fracture", "Pneumonia", "Atelectasis"]].tolist() == row


def test_wrong_tables(source: ChexpertSource) -> None:
    path = Path(source.root) / "train.csv"
    path.write_text(HEADER + TRAIN.replace("-1.0", "2"))
    with pytest.raises(UserError, match=r"train\.csv, line 2: Fracture is '2'; allowed: 1, 0, -1 or blank"):
        read(source)
    path.write_text(HEADER + TRAIN.replace("patient00002", "p2"))
    with pytest.raises(UserError, match=r"train\.csv, line 4: .*names no patient"):
        read(source)
    path.write_text(HEADER.replace("Edema", "Oedema") + TRAIN)
    with pytest.raises(UserError, match="no column 'Edema'"):
        read(source)
    path.write_text(HEADER + TRAIN.replace("patient00002", "patient00009"))
    notes = SourceNotes()
    assert len(read(source, notes)) == 2
    assert notes.problems[0].startswith("chexpert: 1 of 3 listed images are not in")
