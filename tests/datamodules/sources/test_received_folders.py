from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.received_folders import match_names, read_pairs
from datamodules.sources.table import assemble
from experiments.errors import UserError
from experiments.schema import Data
from experiments.source_schema import FolderSource, NihSource, PairsSource


def write(root: Path, *files: str) -> PairsSource:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return PairsSource(root=str(root))


def labelled(*images: str) -> pd.DataFrame:
    boxes = [np.full((i, 4), i, np.float32) for i in range(len(images))]
    patients = [f"nih:{i}" for i in range(len(images))]
    table = pd.DataFrame({"image": images, "patient": patients, "split": "train_val", "source": "nih"})
    return table.assign(Mass=[float(i % 2) for i in range(len(images))], boxes=pd.Series(boxes, dtype=object))


def test_pairs_have_the_rows_of_their_originals(tmp_path: Path) -> None:
    source = write(tmp_path, *(f"originals/{name}.png" for name in "abc"), "received/C.jpeg", "received/b.jpg")
    source.labels_of, notes = "nih", SourceNotes()
    table = read_pairs(source, "sent", labelled("/nih/a.png", "/nih/b.png"), PatientRegistry(), notes)
    assert table["image"].tolist() == [str(tmp_path / "originals" / "b.png")]
    assert table["received"].tolist() == [str(tmp_path / "received" / "b.jpg")]
    row: Any = table.iloc[0]
    assert (row["patient"], row["split"], row["source"], row["Mass"]) == ("nih:1", "train_val", "sent", 1)
    assert row["boxes"].shape == (1, 4)
    assert notes.lines == [
        "sent: 2 of 3 originals have a twin",
        "sent: 1 of 2 pairs have no labels in nih and are left out: c",
    ]


def test_the_labelled_images_are_the_originals_where_no_folder_is_named(tmp_path: Path) -> None:
    source = write(tmp_path, "received/one/b.jpeg", "received/one/Thumbs.db", "received/two/z.jpeg")
    source.originals = None
    notes = SourceNotes()
    images = labelled("/nih/images_001/images/a.png", "/nih/images_002/images/b.png")
    table = read_pairs(source, "sent", images, PatientRegistry(), notes)
    assert table["image"].tolist() == ["/nih/images_002/images/b.png"]
    assert notes.lines == [
        f"sent: of the files in {tmp_path}, 1 is no image: Thumbs.db",
        "sent: 1 of 2 originals have a twin; 1 received file has none: two/z",
    ]


def test_without_labels_all_pairs_are_tested_on(tmp_path: Path) -> None:
    files = ("originals/00000007_001.png", "received/00000007_001.jpg", "originals/x.png", "received/x.jpg")
    notes = SourceNotes()
    table = read_pairs(write(tmp_path, *files), "sent", None, PatientRegistry(), notes)
    assert table[["patient", "split"]].to_numpy().tolist() == [["nih:00000007", "test"], ["sent:x", "test"]]
    assert notes.risks[0].startswith("sent: no patient known for 1 of 2 images: these are split by image")


@pytest.mark.parametrize(
    ("originals", "received", "pairs"),
    [
        (["p1/s1/view1", "p2/s1/view1"], ["p1/s1/view1", "p2/s1/view1"], 2),  # of CheXphoto: the stems are all alike
        (["p1/s1/view1", "p2/s1/view1"], ["view1"], 0),
        (["a", "b"], ["train/a", "test/b"], 2),
        (["a"], ["train/a", "test/a"], 0),  # nobody knows which
        ([], ["a"], 0),
    ],
)
def test_names_that_belong_together(originals: list[str], received: list[str], pairs: int) -> None:
    matches = match_names(originals, received)
    assert len(matches) == pairs
    assert all(first.split("/")[-1] == second.split("/")[-1] for first, second in matches.items())


def test_names_in_another_spelling(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "Röntgen") for form in ("NFC", "NFD")]
    source = write(tmp_path, f"originals/{names[0]}.PNG", f"received/{names[1].upper()}.jpeg")
    assert len(read_pairs(source, "sent", None, PatientRegistry(), SourceNotes())) == 1


def test_what_cannot_be_paired(tmp_path: Path) -> None:
    source = write(tmp_path, "originals/a.png", "received/b.jpg")
    with pytest.raises(UserError, match="has the name of an original"):
        read_pairs(source, "sent", None, PatientRegistry(), SourceNotes())
    (tmp_path / "received" / "a.jpg").touch()
    with pytest.raises(UserError, match=r"data\.sources\.sent\.labels_of: no image of None has the name"):
        read_pairs(source, "sent", labelled("/nih/z.png"), PatientRegistry(), SourceNotes())
    (tmp_path / "received" / "a.png").touch()
    with pytest.raises(UserError, match="so a pair is not unique"):
        read_pairs(source, "sent", None, PatientRegistry(), SourceNotes())
    source.received = "none"
    with pytest.raises(UserError, match=r"data\.sources\.sent\.received: no folder"):
        read_pairs(source, "sent", None, PatientRegistry(), SourceNotes())
    (tmp_path / "received" / "a.png").unlink()
    source = PairsSource(root=str(tmp_path), originals=None)
    with pytest.raises(UserError, match="without labels_of there are no other originals"):
        read_pairs(source, "sent", None, PatientRegistry(), SourceNotes())


def test_pairs_among_all_sources(demo_data: Path) -> None:
    sent = PairsSource(root=f"{demo_data}/nih_whatsapp", originals=None, labels_of="nih")
    data = Data(sources={"sent": sent, "nih": NihSource(root=f"{demo_data}/nih")})
    tables = assemble(data, ["sent"]).tables
    assert tables["sent"]["split"].equals(tables["nih"]["split"])  # one person, one split
    assert tables["sent"]["image"].tolist() == tables["nih"]["image"].tolist()
    data.sources["sent"] = PairsSource(root=sent.root, originals=None, labels_of="nhi")
    with pytest.raises(UserError, match="no source 'nhi'; did you mean 'nih'"):
        assemble(data, ["sent"])
    data.sources["other"] = FolderSource(root="nowhere")
    data.sources["sent"] = PairsSource(root=sent.root, originals=None, labels_of="other")
    notes = assemble(data, ["nih"]).notes
    assert any(note.startswith("sent: not read (data.sources.sent.labels_of") for note in notes.lines)
