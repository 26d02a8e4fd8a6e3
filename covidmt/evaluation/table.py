"""The table that an evaluation prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.evaluation.texts import sections
from covidmt.pages.numbers import interval, number
from metrics.bootstrap import Estimate


def print_table(console: Console, evaluation: Evaluation) -> None:
    """Print every score with its 95 % interval, controls beside it, other runs' differences; the notes below.

    Args:
        console: Where.
        evaluation: What was found.
    """
    # what was evaluated
    first, pairs = evaluation.first, evaluation.pairs
    console.print(
        f"{first.name} on {pairs.n} pairs of {pairs.source} ({pairs.split}), {pairs.patients} patients, "
        f"channel: {pairs.channel}; masks: {evaluation.settings.masks}",
        soft_wrap=True,
        highlight=False,
    )

    # the scores
    table = Table(title="in brackets: 95 % interval, bootstrap over patients", title_justify="left")
    table.add_column("")
    table.add_column(first.name, justify="right")
    table.add_column("n", justify="right")
    for other in evaluation.others:
        table.add_column(f"minus {other.name}", justify="right")
    for heading, texts in sections(evaluation.score_keys).items():
        table.add_section()
        table.add_row(Text(heading, style="bold"))
        for key, text in texts.items():
            if text.brief:
                score = first.scores.get(key)
                cells = ["", ""] if score is None else [score_text(score.estimate, score.whole), str(score.n)]
                cells += [_difference_text(key, other) for other in evaluation.others]
                table.add_row(("  " if text.control else "") + text.title, *cells)
    console.print(table)

    for note in evaluation.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)


def score_text(score: Estimate, whole: float | None) -> str:
    """Return a score with its interval.

    Args:
        score: The score.
        whole: See :func:`covidmt.pages.numbers.number`.

    Example:
        >>> score_text(Estimate(12.5, 2.7, 32.4), 100)
        '12.5 (2.7, 32.4)'
    """
    return number(score.value, whole) + interval(score.low, score.high, lambda end: number(end, whole))


def _difference_text(key: str, other: RunEvaluation) -> str:
    """Return first minus other; the runs' disagreement is a difference itself."""
    difference = other.estimate(key) if key == "disagreement" else other.differences.get(key)
    return "" if difference is None else score_text(difference, other.scores[key].whole)
