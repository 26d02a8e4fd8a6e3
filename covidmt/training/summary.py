"""The table that a training ends with."""

from __future__ import annotations

from typing import NamedTuple

from rich.table import Table

from callbacks.history import MetricHistory
from experiments.schema import Experiment, TaskKind
from metrics.paired import SIDES


class ScoreRow(NamedTuple):
    """A row of the table.

    Attributes:
        name: What it is called there.
        key: Its metric key, without ``val/`` or ``test/``.
        format: How its number is written.
    """

    name: str
    key: str
    format: str


_BOXES = [
    ScoreRow("mAP", "map", ".3f"),
    ScoreRow("mAP at IoU 0.5", "map_50", ".3f"),
    ScoreRow("IoU of anchors", "iou", ".3f"),
    ScoreRow("loss", "loss", ".4f"),
]
_CLASSES = [ScoreRow("AUROC", "auroc", ".3f"), ScoreRow("AP", "ap", ".3f"), ScoreRow("loss", "loss", ".4f")]
_PI = [
    ScoreRow("PI score, %", "pi_score", ".2f"),
    ScoreRow("95 % interval, low", "pi/ci_low", ".2f"),
    ScoreRow("95 % interval, high", "pi/ci_high", ".2f"),
    ScoreRow("pairs", "pairs", ".0f"),
]


def summary_table(experiment: Experiment, history: MetricHistory, monitor: str) -> Table:
    """Return a table of each task's scores, then PI, OLS and IOL.

    Its columns are the best and the last validation epoch, and the test set; what was never logged is left out.

    Args:
        experiment: Whose training it was.
        history: Its metrics.
        monitor: The metric whose lowest value chooses the best epoch, such as ``val/covidx/loss``.
    """
    # columns: title, metrics, their prefix
    best = history.best(monitor)
    last = history.validations[-1] if history.validations else None
    columns: list[tuple[str, dict[str, float], str]] = []
    if best is not None:
        columns.append((f"best val\n(epoch {best[0]})", best[1], "val/"))
    if last is not None and last is not best:
        columns.append((f"last val\n(epoch {last[0]})", last[1], "val/"))
    if history.test:
        columns.append(("test\n(best)", history.test, "test/"))

    table = Table(title=f"{experiment.name}: best = lowest {monitor}", title_justify="left")
    table.add_column("")
    table.add_column("")
    for title, *_ in columns:
        table.add_column(title, justify="right")

    # rows: a section a task or score, named in its first row
    for subject, scores in _sections(experiment).items():
        table.add_section()
        for score in scores:
            values = [metrics.get(prefix + score.key) for _, metrics, prefix in columns]
            if any(value is not None for value in values):
                cells = ["-" if value is None else format(value, score.format) for value in values]
                table.add_row(subject, score.name, *cells)
                subject = ""
    return table


def _sections(experiment: Experiment) -> dict[str, list[ScoreRow]]:
    """Return the rows of every task, of PI, and of OLS on each side."""
    sections = {}
    for task in experiment.active:
        scores = _BOXES if task.kind is TaskKind.boxes else _CLASSES
        sections[task.name] = [score._replace(key=f"{task.name}/{score.key}") for score in scores]
    sections["PI"] = _PI
    for side in SIDES:
        sections[f"OLS, {side}"] = [
            ScoreRow("OLS score, %", f"ols_score/{side}", ".2f"),
            ScoreRow("mean IOL", f"iol/{side}/mean", ".3f"),
            ScoreRow("images scored", f"ols/{side}/n", ".0f"),
            ScoreRow("left out: no region", f"ols/{side}/no_region", ".0f"),
            ScoreRow("left out: no lung", f"ols/{side}/no_lung", ".0f"),
        ]
    return sections
