import io
import json
from pathlib import Path

import pandas as pd
from rich.console import Console

from datamodules.checks.check import CheckReport
from datamodules.checks.text import print_report, report_json


def test_a_report_without_problems_says_so(tmp_path: Path) -> None:
    counts = pd.DataFrame({"source": ["own"], "class": ["[sick]"], "train": [3]})
    empty = pd.DataFrame(columns=["kind", "splits", "files"])
    report = CheckReport(counts, counts, empty, {}, empty, empty, empty, (3, 4), {}, ["a [note]"], [], [])
    console = Console(record=True, width=100, file=io.StringIO())
    print_report(report, console)
    text = console.export_text()
    for part in ("Images per split", "[sick]", "3 of 4 image files opened", "note: a [note]", "no problem found"):
        assert part in text


def test_no_cell_is_cut_in_a_terminal_of_80_columns() -> None:
    empty = pd.DataFrame()
    word = "Enlarged_Cardiomediastinum"
    found = {name: pd.array([1, None], "Int64") for name in "abcdefghijklmnopqrst"}
    sources = pd.DataFrame({"source": ["first", "second"]} | found)
    files = [["covidx/a_film_of_a_very_long_name.png", "nih/another_film_of_a_very_long_name.png"]]
    duplicates = pd.DataFrame({"kind": ["within a source"], "splits": ["train, test"], "files": files})
    shortcuts = {"source": pd.DataFrame({f"hospital_{number}": {word: number} for number in range(12)})}
    report = CheckReport(sources, empty, empty, shortcuts, empty, duplicates, empty, (3, 4), {}, [], [], [])
    console = Console(record=True, width=80, file=io.StringIO())
    print_report(report, console)
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for part in ("│ t │     1 │        │", word, "  hospital_11  11", "train, test"):
        assert part in text


def test_a_group_of_many_equal_images_is_named_in_short() -> None:
    empty = pd.DataFrame()
    rows = [("across splits", "test, train", [f"own/{number:02}.png" for number in range(60)])]
    duplicates = pd.DataFrame(rows, columns=["kind", "splits", "files"])
    sources = pd.DataFrame({"source": ["own"]})
    report = CheckReport(sources, empty, empty, {}, empty, duplicates, empty, (60, 60), {}, [], [], [])
    console = Console(record=True, width=200, file=io.StringIO())
    print_report(report, console)
    assert "own/00.png = own/01.png = own/02.png and 57 more" in console.export_text()
    assert len(json.loads(report_json(report))["duplicates"][0]["files"]) == 60
