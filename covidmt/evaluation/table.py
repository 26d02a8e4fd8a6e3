"""The table that an evaluation prints."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from covidmt.evaluation.texts import sections


def print_table(console: Console, result: dict[str, Any]) -> None:
    """Every score with its 95 % interval, controls beside it, other runs' differences; the notes below.

    Args:
        console: Where.
        result: Of :func:`covidmt.evaluation.result.build_result`.
    """
    first, *others = result["runs"]
    pairs, settings = result["pairs"], result["settings"]
    console.print(
        f"{first['name']} on {pairs['n']} pairs of {pairs['source']} ({pairs['split']}), {pairs['patients']} patients, "
        f"channel: {pairs['channel']}; masks: {settings['masks']}",
        soft_wrap=True,
        highlight=False,
    )
    table = Table(title="in brackets: 95 % interval, bootstrap over patients", title_justify="left")
    table.add_column("")
    table.add_column(first["name"], justify="right")
    table.add_column("n", justify="right")
    for other in others:
        table.add_column(f"minus {other['name']}", justify="right")
    everything = {key: None for run in result["runs"] for key in run["scores"]}
    for heading, texts in sections(everything).items():
        table.add_section()
        table.add_row(Text(heading, style="bold"))
        for key, text in texts.items():
            if text.brief:
                own = first["scores"].get(key)
                cells = [_cell(own), str(own["n"]) if own else "", *(_difference(key, other) for other in others)]
                table.add_row(("  " if text.control else "") + text.title, *cells)
    console.print(table)
    for note in result["notes"]:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)


def number(value: float | None, whole: float | None = 1.0) -> str:
    """A score as text: percentages with one digit, shares with three."""
    if value is None or not isfinite(value):
        return "-"
    return f"{value:.1f}" if whole == 100 else f"{value:.3f}"


def interval(score: dict[str, Any], text: Callable[[float], str], join: str = ", ") -> str:
    """`` (low, high)``; empty where there is none."""
    ends = score["low"], score["high"]
    return f" ({join.join(map(text, ends))})" if all(end is not None and isfinite(end) for end in ends) else ""


def _cell(score: dict[str, Any] | None) -> str:
    if score is None:
        return ""
    return number(score["value"], score["whole"]) + interval(score, lambda end: number(end, score["whole"]))


def _difference(key: str, other: dict[str, Any]) -> str:
    if key == "disagreement":
        return _cell(other["scores"][key])
    score = other["difference"].get(key)
    return _cell(score and {**score, "whole": other["scores"][key]["whole"]})
