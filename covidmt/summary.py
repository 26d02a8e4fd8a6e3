"""The table that a training ends with."""

from __future__ import annotations

from rich.table import Table

from callbacks.history import MetricHistory
from experiments.schema import Experiment, TaskKind


def summary_table(experiment: Experiment, history: MetricHistory, monitor: str) -> Table:
    """Per task its scores, then PI, OLS and IOL; columns: best and last validation epoch, and the test set."""
    best, last = history.best(monitor), max(history.epochs, default=None)
    columns: list[tuple[str, str, dict[str, float]]] = []
    if best is not None:
        columns.append((f"validation, best (epoch {best})", "val/", history.epochs[best]))
    if last is not None and last != best:
        columns.append((f"validation, last (epoch {last})", "val/", history.epochs[last]))
    if history.test:
        columns.append(("test", "test/", history.test))
    table = Table(title=f"{experiment.name}: best = lowest {monitor}", title_justify="left")
    table.add_column("score")
    for title, _, _ in columns:
        table.add_column(title, justify="right")
    for name, key, style in _rows(experiment):
        values = [metrics.get(prefix + key) for _, prefix, metrics in columns]
        if any(value is not None for value in values):
            table.add_row(name, *("-" if value is None else format(value, style) for value in values))
    return table


def _rows(experiment: Experiment) -> list[tuple[str, str, str]]:
    """(name, metric key without its split, format)."""
    rows = []
    for task in experiment.active:
        scores = {"loss": ".4f", "auroc": ".3f", "ap": ".3f"}
        if task.kind is TaskKind.boxes:
            scores = {"loss": ".4f", "map": ".3f", "map_50": ".3f", "iou": ".3f"}
        rows += [(f"{task.name} {score}", f"{task.name}/{score}", style) for score, style in scores.items()]
    return [
        *rows,
        ("pairs", "pairs", ".0f"),
        ("PI score, %", "pi_score", ".2f"),
        ("OLS score of originals, %", "ols_score/original", ".2f"),
        ("OLS score of compressed, %", "ols_score/compressed", ".2f"),
        ("mean IOL of originals", "iol/original/mean", ".3f"),
        ("mean IOL of compressed", "iol/compressed/mean", ".3f"),
    ]
