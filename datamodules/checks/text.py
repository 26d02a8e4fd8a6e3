"""A check's report, printed for a person or written as JSON."""

from __future__ import annotations

import json
from dataclasses import fields

import pandas as pd
from rich.console import Console
from rich.markup import escape

from datamodules.checks.check import CheckReport
from datamodules.sources.files import abbreviate
from experiments.names import printable
from experiments.printing.tables import WholeTable

_PATHS = ("image", "files")  # columns whose words may be broken


def report_json(report: CheckReport) -> str:
    """Return a report as JSON: its fields, of tables a dictionary a row."""
    return json.dumps({field.name: _plain(getattr(report, field.name)) for field in fields(report)}, indent=1)


def _plain(value: object) -> object:
    """Return a field of a report as JSON's own kinds of values."""
    if isinstance(value, pd.DataFrame):
        return json.loads(value.reset_index(drop=value.index.name is None).to_json(orient="records"))
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value


def print_report(report: CheckReport, console: Console) -> None:
    """Print a report as tables, then its notes, risks and problems."""
    # tables
    _print_table(console, "Found", _one_column_each(report.sources))
    _print_table(console, "Images per split", report.counts)
    _print_table(console, "Beside the paper", report.paper)
    for attribute, counts in report.shortcuts.items():
        title = f"Class by {attribute}, training split of the primary task"
        _print_table(console, title, counts.reset_index(names="class"))
    _print_table(console, "Unreadable images", report.unreadable.head(20))
    duplicates = report.duplicates[report.duplicates["kind"] != "across sources"].head(20)
    duplicates = duplicates.assign(files=[abbreviate(files, joint=" = ") for files in duplicates["files"]])
    _print_table(console, "Duplicates", duplicates[["kind", "splits", "files"]])
    _print_table(console, "Patients in several splits", report.shared.head(10))

    # sentences
    opened, total = report.opened
    console.print(f"{opened} of {total} image files opened")
    for style, title, lines in (
        ("cyan", "note", report.notes),
        ("yellow", "risk", report.risks),
        ("red", "problem", report.errors),
    ):
        for line in lines:
            console.print(f"[{style}]{title}:[/] ", end="")
            console.print(line, markup=False, highlight=False)
    if report.risks and not report.errors:
        console.print(f"[yellow]nothing stops a training, but {len(report.risks)} risk(s) are listed above[/]")
    elif not report.errors:
        console.print("[green]no problem found[/]")


def _one_column_each(sources: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a column a source: there are fewer sources than counts. Counts stay numbers."""
    return sources.set_index("source").T.rename_axis(columns=None).reset_index(names="")


def _print_table(console: Console, title: str, frame: pd.DataFrame) -> None:
    if frame.empty:
        return
    console.print(f"\n[bold]{title}[/]")
    table = WholeTable()
    for column in frame:
        justify = "right" if frame[column].map(pd.api.types.is_number).any() else "left"
        overflow = "fold" if column in _PATHS else "ellipsis"
        table.add_column(escape(printable(str(column))), justify=justify, overflow=overflow)
    for row in frame.itertuples(index=False):
        table.add_row(*("" if pd.isna(value) else escape(printable(str(value))) for value in row))
    console.print(table)
