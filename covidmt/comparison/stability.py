"""PI and LI of every task, beside the decision's own, against the number of tasks that a network learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covidmt.comparison.configurations import Configuration, Mean, main_line
from covidmt.comparison.style import WIDTH, error_bars, styled
from covidmt.comparison.trained_runs import stability_key
from covidmt.pages.style import figure_row, legend_below, nth_colour
from metrics.intervals import t_interval
from metrics.tasks.localisation import LOCALISED_IOU

STABILITY = {"pi": "PI by task, %", "li": f"LI at IoU {LOCALISED_IOU[1]:g}, %"}


@dataclass(frozen=True)
class TaskStability:
    """One task's PI or LI under one configuration.

    Attributes:
        configuration: The configuration.
        task: The task.
        score: ``pi`` or ``li``.
        split: Whose pairs: ``test``, or ``val`` where the test has none of this task.
        mean: Over seeds, percent, with Student's interval.
    """

    configuration: Configuration
    task: str
    score: str
    split: str
    mean: Mean


def stability_rows(configurations: Sequence[Configuration]) -> list[TaskStability]:
    """Return PI or LI of every task of every configuration whose runs all have it, in the same split."""
    rows = []
    for configuration in configurations:
        for task in configuration.tasks:
            for score in STABILITY:
                found = _values([run.metrics for run in configuration.runs], stability_key(score, task))
                if found is not None:
                    split, values = found
                    low, high = np.clip(t_interval(values), 0, 100).tolist()
                    mean = Mean(fmean(values), low, high, values)
                    rows.append(TaskStability(configuration, task, score, split, mean))
    return rows


def _values(metrics: Sequence[Mapping[str, float]], key: str) -> tuple[str, list[float]] | None:
    for split in ("test", "val"):
        values = [each[f"{split}/{key}"] for each in metrics if f"{split}/{key}" in each]
        if values and len(values) == len(metrics):
            return split, values
    return None


def stability_table(rows: Sequence[TaskStability]) -> list[dict[str, object]]:
    """Return the rows of a CSV file."""
    return [
        {
            "configuration": row.configuration.label,
            "tasks": len(row.configuration.tasks),
            "task": row.task,
            "score": STABILITY[row.score],
            "split": row.split,
            "seeds": len(row.mean.values),
            "mean": row.mean.value,
            "low": row.mean.low,
            "high": row.mean.high,
        }
        for row in rows
    ]


@styled
def draw_stability(configurations: Sequence[Configuration]) -> Figure | None:
    """Draw each task's PI and LI against the number of tasks: a line a task and base network.

    Returns:
        None where there is no such score, or no base network has several numbers of tasks: the table says it all.

    Only configurations that differ from each other in their tasks alone are on a line (:func:`.main_line`).
    """
    networks = list(dict.fromkeys(c.network for c in configurations))
    lines = {network: stability_rows(main_line(configurations, network)) for network in networks}
    scores = [score for score in STABILITY if any(row.score == score for rows in lines.values() for row in rows)]
    counts = [{len(row.configuration.tasks) for row in rows} for rows in lines.values()]
    if not scores or max(map(len, counts)) < 2:
        return None

    tasks = list(dict.fromkeys(row.task for rows in lines.values() for row in rows))
    figure, axes = figure_row(len(scores), width=WIDTH, height=3.9)
    for axis, score in zip(axes, scores, strict=True):
        for number, (network, rows) in enumerate(lines.items()):
            name = f" ({network})" if len(lines) > 1 else ""
            for index, task in enumerate(tasks):
                own = [row for row in rows if (row.task, row.score) == (task, score)]
                place = 0.05 * (index - len(tasks) / 2) + 0.02 * number
                _draw_task(axis, own, place, nth_colour(index), "os^Dv"[number % 5], f"{task}{name}")
        axis.set_title(STABILITY[score])
        axis.set_xlabel("number of tasks")
        axis.set_xticks(sorted({len(row.configuration.tasks) for rows in lines.values() for row in rows}))
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", alpha=0.25)
    handles = [handle for axis in axes for handle in axis.get_legend_handles_labels()[0]]
    legend_below(figure, 3, handles)
    return figure


def _draw_task(axis: Axes, rows: Sequence[TaskStability], place: float, colour: str, marker: str, label: str) -> None:
    if not rows:
        return
    x = [len(row.configuration.tasks) + place for row in rows]
    errors = np.concatenate([error_bars(row.mean) for row in rows], axis=1)
    means = [row.mean.value for row in rows]
    axis.errorbar(x, means, yerr=errors, fmt=f"{marker}-", color=colour, capsize=3, lw=1.6, elinewidth=0.8, label=label)
    for at, row in zip(x, rows, strict=True):
        axis.plot([at] * len(row.mean.values), row.mean.values, ".", color=colour, alpha=0.4, ms=5)
