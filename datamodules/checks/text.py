"""A check's report, printed for a person."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datamodules.checks.check import CheckReport


def print_report(report: CheckReport, console: Console) -> None:
    """Print a report as tables, then its notes, shortcut risks and problems."""
    # tables
    _print_table(console, "Images per split", report.counts)
    _print_table(console, "Beside the paper", report.paper)
    for attribute, counts in report.shortcuts.items():
        title = f"Class by {attribute}, training split of the primary task"
        _print_table(console, title, counts.reset_index(names="class"))
    _print_table(console, "Unreadable images", report.unreadable.head(20))
    duplicates = report.duplicates[report.duplicates["kind"] != "across sources"]
    _print_table(console, "Duplicates", duplicates[["kind", "splits", "files"]].head(20))
    _print_table(console, "Patients in several splits", report.shared.head(10))

    # sentences
    opened, total = report.opened
    console.print(f"{opened} of {total} image files opened")
    for style, title, lines in (
        ("cyan", "note", report.notes),
        ("yellow", "shortcut risk", report.risks),
        ("red", "problem", report.errors),
    ):
        for line in lines:
            console.print(f"[{style}]{title}:[/] ", end="")
            console.print(line, markup=False, highlight=False)
    if not report.errors:
        console.print("[green]no problem found[/]")


def _print_table(console: Console, title: str, frame: pd.DataFrame) -> None:
    if frame.empty:
        return
    console.print(f"\n[bold]{title}[/]")
    table = Table()
    for column in frame:
        justify = "right" if pd.api.types.is_numeric_dtype(frame[column]) else "left"
        table.add_column(escape(str(column)), justify=justify)
    for row in frame.itertuples(index=False):
        table.add_row(*("" if pd.isna(value) else escape(str(value)) for value in row))
    console.print(table)
