import io
from pathlib import Path

import pandas as pd
from rich.console import Console

from datamodules.checks.check import CheckReport
from datamodules.checks.text import print_report


def test_a_report_without_problems_says_so(tmp_path: Path) -> None:
    counts = pd.DataFrame({"source": ["own"], "class": ["[sick]"], "train": [3]})
    empty = pd.DataFrame(columns=["kind", "splits", "files"])
    report = CheckReport(counts, counts, empty, {}, empty, empty, empty, (3, 4), {}, ["a [note]"], [], [])
    console = Console(record=True, width=100, file=io.StringIO())
    print_report(report, console)
    text = console.export_text()
    for part in ("Images per split", "[sick]", "3 of 4 image files opened", "note: a [note]", "no problem found"):
        assert part in text
