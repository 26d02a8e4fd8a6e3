"""The table that a training ends with."""

from __future__ import annotations

from rich.table import Table

from callbacks.history import MetricHistory
from experiments.schema import Experiment, TaskKind
from metrics.paired import SIDES


def summary_table(experiment: Experiment, history: MetricHistory, monitor: str) -> Table:
    """Per task its scores, then PI, OLS and IOL; columns: best and last validation epoch, and the test set."""
    best = history.best(monitor)
    last = history.validations[-1] if history.validations else None
    columns: list[tuple[str, str, dict[str, float]]] = []
    if best is not None:
        columns.append((f"best val\n(epoch {best[0]})", "val/", best[1]))
    if last is not None and last is not best:
        columns.append((f"last val\n(epoch {last[0]})", "val/", last[1]))
    if history.test:
        columns.append(("test\n(best)", "test/", history.test))
    table = Table(title=f"{experiment.name}: best = lowest {monitor}", title_justify="left")
    table.add_column("")
    table.add_column("")
    for title, _, _ in columns:
        table.add_column(title, justify="right")
    for subject, scores in _rows(experiment).items():
        table.add_section()
        for name, key, style in scores:
            values = [metrics.get(prefix + key) for _, prefix, metrics in columns]
            if any(value is not None for value in values):
                table.add_row(subject, name, *("-" if value is None else format(value, style) for value in values))
                subject = ""
    return table


def _rows(experiment: Experiment) -> dict[str, list[tuple[str, str, str]]]:
    """Task or score -> its rows: (name, metric key without the split, format)."""
    loss = ("loss", ".4f")
    scores = {"auroc": ("AUROC", ".3f"), "ap": ("AP", ".3f"), "loss": loss}
    boxes = {"map": ("mAP", ".3f"), "map_50": ("mAP at IoU 0.5", ".3f"), "iou": ("IoU of anchors", ".3f"), "loss": loss}
    rows = {
        task.name: [
            (name, f"{task.name}/{key}", style)
            for key, (name, style) in (boxes if task.kind is TaskKind.boxes else scores).items()
        ]
        for task in experiment.active
    }
    rows["PI"] = [
        ("PI score, %", "pi_score", ".2f"),
        ("95 % interval, low", "pi/ci_low", ".2f"),
        ("95 % interval, high", "pi/ci_high", ".2f"),
        ("pairs", "pairs", ".0f"),
    ]
    for side in SIDES:
        rows[f"OLS, {side}"] = [
            ("OLS score, %", f"ols_score/{side}", ".2f"),
            ("mean IOL", f"iol/{side}/mean", ".3f"),
            ("images scored", f"ols/{side}/n", ".0f"),
            ("left out: no region", f"ols/{side}/no_region", ".0f"),
            ("left out: no lung", f"ols/{side}/no_lung", ".0f"),
        ]
    return rows
