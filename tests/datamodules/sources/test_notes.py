from pathlib import Path

import pandas as pd
import pytest

from datamodules.sources.notes import SourceNotes, drop_missing
from experiments.errors import UserError


def test_images_that_are_missing_are_noted() -> None:
    table = pd.DataFrame({"file": ["a.png", "b.png"], "image": ["/x/a.png", None]})
    notes = SourceNotes()
    assert drop_missing(table, "own", Path("/x"), notes)["image"].tolist() == ["/x/a.png"]
    assert notes.problems == ["own: 1 of 2 listed images are not in /x: b.png"]
    with pytest.raises(UserError, match=r"no listed image lies in /x \(looked for b.png and 0 others\)"):
        drop_missing(table[1:], "own", Path("/x"), notes)


def test_missing_images_above_one_percent_are_a_problem() -> None:
    notes = SourceNotes()
    notes.add_missing("big", ["a.png"], 100, Path("/x"))
    notes.add_missing("small", ["b.png", "a.png"], 199, Path("/x"))
    assert notes.lines == ["big: 1 of 100 listed images are not in /x: a.png"]
    assert notes.problems == ["small: 2 of 199 listed images are not in /x: a.png, b.png"]
    assert notes.missing == {"big": ["a.png"], "small": ["a.png", "b.png"]}
    assert notes.counts["small"] == {"listed": 199, "missing": 2}


def test_what_is_said_with_numbers() -> None:
    notes = SourceNotes()
    notes.add_others("own", ["b.txt", "Thumbs.db", "a\x1b.db", "c", "d"], Path("/x"))
    notes.add_unknown_patients("own", 80, 80, "Name them.")
    notes.add_unknown_patients("other", 0, 80, "Name them.")
    assert notes.lines == [r"own: of the files in /x, 5 are no images: Thumbs.db, a\x1b.db, b.txt and 2 more"]
    assert notes.risks == [
        "own: no patient known for 80 of 80 images: this is a split by image, so one person can be in training and "
        "test, and scores flatter. Name them."
    ]
    assert notes.counts == {"own": {"no image": 5, "no patient": 80}, "other": {"no patient": 0}}
