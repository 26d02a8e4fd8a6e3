"""The table that an evaluation prints."""

from __future__ import annotations

from math import isfinite

from rich.console import Console
from rich.text import Text

from covidmt.evaluation.findings import constant_sentences
from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.evaluation.scores import ResampledScore
from covidmt.evaluation.sentences.beside import beside_sentences, bold_words, is_shown
from covidmt.evaluation.sentences.origins import source_sentences
from covidmt.evaluation.texts import ScoreText, sections
from covidmt.pages.numbers import interval, number
from datamodules.demo.write import MADE_UP
from experiments.lungs.masks import HEARTS
from experiments.printing.tables import WholeTable
from metrics.inference.differences import PairedDifference
from metrics.intervals import Estimate


def print_table(console: Console, evaluation: Evaluation) -> None:
    """Print every score with its 95 % interval, controls beside it, other runs' differences; the notes below.

    Args:
        console: Where.
        evaluation: What was found.
    """
    # what was evaluated
    first, pairs = evaluation.first, evaluation.pairs
    console.print(
        f"{first.name} on {pairs.n} pairs of {pairs.source} ({pairs.split}), {pairs.people}, "
        f"channel: {pairs.way}; "
        f"masks: {evaluation.settings.masks}, {HEARTS[evaluation.settings.heart]}; "
        f"decided: {evaluation.settings.decision}; maps "
        f"explain {evaluation.settings.explained}",
        soft_wrap=True,
        highlight=False,
    )
    if pairs.made_up:
        console.print(MADE_UP, soft_wrap=True, highlight=False)

    # the scores
    of = "these very trainings; another seed may answer otherwise" if evaluation.others else "this training alone"
    table = WholeTable(title=f"in brackets: 95 % interval over patients, of {of}", title_justify="left")
    table.add_column("")
    table.add_column(first.name, justify="right")
    table.add_column("n", justify="right")
    for other in evaluation.others:
        table.add_column(f"minus {other.name}", justify="right")
    for heading, texts in sections(evaluation.score_keys).items():
        table.add_section()
        table.add_row(Text(heading, style="bold"))
        group = ""
        for key, text in texts.items():
            if text.brief:
                if text.group != group:
                    table.add_row(Text(f"  {text.group}", style="italic"))
                    group = text.group
                score = first.scores.get(key)
                cells: list[str | Text] = ["", ""] if score is None else [_score_cell(score, text), str(score.n)]
                cells += [_difference_text(key, other, text) for other in evaluation.others]
                table.add_row(("  " if text.control or text.group else "") + text.title, *cells)
    console.print(table)
    if evaluation.others:
        console.print(f"{bold_words(evaluation)}.", soft_wrap=True, highlight=False)
    for sentence in constant_sentences(evaluation) + beside_sentences(evaluation) + source_sentences(evaluation):
        console.print(sentence, soft_wrap=True, highlight=False)

    for note in evaluation.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)


def _score_cell(score: ResampledScore, text: ScoreText) -> str:
    return score_text(score.estimate, text.scale(score.whole)) + (f" ({score.missing})" if score.missing else "")


def score_text(score: Estimate | PairedDifference, whole: float | None) -> str:
    """Return a score with its interval.

    Args:
        score: The score.
        whole: See :func:`covidmt.pages.numbers.number`.

    Example:
        >>> score_text(Estimate(12.5, 2.7, 32.4), 100)
        '12.5 (2.7, 32.4)'
    """
    return number(score.value, whole) + interval(score.low, score.high, lambda end: number(end, whole))


def _difference_text(key: str, other: RunEvaluation, text: ScoreText) -> Text:
    """Return first minus other, bold where it is shown; the runs' disagreement is a difference itself."""
    whole = text.scale(other.scores[key].whole if key in other.scores else None)
    if key == "disagreement":
        return Text(score_text(other.scores[key].estimate, whole))
    difference = other.differences.get(key)
    if difference is None:
        return Text("")
    judged = f" (not judged: {difference.reason})" if difference.reason and isfinite(difference.value) else ""
    return Text(score_text(difference, whole) + judged, style="bold" if is_shown(difference) else "")
