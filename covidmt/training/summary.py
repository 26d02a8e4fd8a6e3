"""The table that a training ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import NamedTuple

import numpy as np

from callbacks.epochs.history import MetricHistory
from experiments.printing.tables import WholeTable
from experiments.schema import Experiment, PrivacyUnit, Task, TaskKind
from metrics.inference.auroc import ENOUGH
from metrics.intervals import wilson
from metrics.paired import SIDES
from metrics.tasks.localisation import LOCALISED_IOU


class ScoreRow(NamedTuple):
    """A row of the table.

    Attributes:
        name: What it is called there.
        key: Its metric key, without ``val/`` or ``test/``.
        format: How its number is written.
        missing: Why there may be none.
        ends: Where its interval is logged, below ``<ends>/ci_low`` and ``<ends>/ci_high``; empty: below its key.
    """

    name: str
    key: str
    format: str
    missing: str = ""
    ends: str = ""


class DecisionCounts(NamedTuple):
    """Images of the deciding task by label and answer; NaN where they were not logged.

    Example:
        >>> counts = DecisionCounts(images=10, positive=4, called=5, hits=3)
        >>> counts.denominators()["F1"]
        6
    """

    images: float = nan
    positive: float = nan
    called: float = nan
    hits: float = nan

    def denominators(self) -> dict[str, float]:
        """Return how many images each score is a share of; F1's is the Jaccard index's (:func:`decision_interval`)."""
        either = self.positive + self.called - self.hits
        rarer = min(self.positive, self.images - self.positive)
        return {
            "accuracy": self.images, "sensitivity": self.positive, "PPV": self.called, "F1": either, "AUROC": rarer,
        }  # fmt: skip


_BOXES = [
    ScoreRow("mAP", "map", ".3f", "no true box"),
    ScoreRow("mAP at IoU 0.5", "map_50", ".3f", "no true box"),
    ScoreRow("IoU of anchors", "iou", ".3f", "no anchor matches"),
    ScoreRow("loss", "loss", ".4f", "nothing known"),
]
_CLASSES = [
    ScoreRow("AUROC", "auroc", ".3f", "one class only"),
    ScoreRow("AP", "ap", ".3f", "one class only"),
    ScoreRow("loss", "loss", ".4f", "nothing known"),
]
_PI = [
    ScoreRow("PI score, %", "pi_score", ".2f", "no decision", "pi"),
    ScoreRow("pairs", "pairs", ".0f"),
]


class ScoreTable(NamedTuple):
    """The scores that a training ends with, as text.

    Attributes:
        title: What they are, and how the best epoch was chosen.
        columns: Titles; the first two columns, of subject and score, have none.
        sections: Rows that belong together.
    """

    title: str
    columns: list[str]
    sections: list[list[list[str]]]

    def rich(self) -> WholeTable:
        """Return it for the terminal; a subject is named in its first row."""
        table = WholeTable(title=self.title, title_justify="left")
        for number, title in enumerate(self.columns):
            table.add_column(title, justify="left" if number < 2 else "right")
        for rows in self.sections:
            table.add_section()
            for number, (subject, *cells) in enumerate(rows):
                table.add_row("" if number else subject, *cells)
        return table

    def markdown(self) -> str:
        """Return it for a page.

        Example:
            >>> print(ScoreTable("mine", ["", "", "best val"], [[["covidx", "AUROC", "0.912"]]]).markdown())
            mine
            <BLANKLINE>
            |  |  | best val |
            | --- | --- | ---: |
            | covidx | AUROC | 0.912 |
        """
        lines = [
            self.title,
            "",
            _markdown_row(self.columns),
            _markdown_row(["---", "---", *["---:"] * len(self.columns[2:])]),
        ]
        return "\n".join([*lines, *(_markdown_row(row) for rows in self.sections for row in rows)])


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace(chr(10), ' ').replace('|', '/') for cell in cells)} |"


def summary_table(experiment: Experiment, history: MetricHistory, monitor: str, patients: float = 1.0) -> ScoreTable:
    """Return each task's scores and stability; then the decision's PI, OLS, IOL.

    The deciding task has accuracy, sensitivity, PPV and F1, too. Columns are the best and the last validation epoch,
    and the test set. 95 % intervals stand behind the scores: of the decision's on the test set, of PI, LI and OLS
    wherever they were logged. A score that one column has and another has not is a dash with its reason. Epochs are
    counted from 1, as in the lines of a training.

    Args:
        experiment: Whose training it was.
        history: Its metrics.
        monitor: The metric whose lowest value chooses the best epoch, such as ``val/covidx/loss``.
        patients: Of the deciding task's test images, patients over images: intervals count patients.
    """
    # columns: title, metrics, their prefix
    best = history.best(monitor)
    last = history.validations[-1] if history.validations else None
    columns: list[tuple[str, dict[str, float], str]] = []
    if best is not None:
        columns.append((f"best val\n(epoch {best[0] + 1})", best[1], "val/"))
    if last is not None and last is not best:
        columns.append((f"last val\n(epoch {last[0] + 1})", last[1], "val/"))
    if history.test:
        columns.append(("test (best)", history.test, "test/"))

    # rows: a section a task or score
    deciding = experiment.tasks[experiment.robustness.task]
    decided = {f"{deciding.name}/{row.key}" for row in _decision_rows(experiment, deciding)}
    sections: list[list[list[str]]] = []
    for subject, scores in _sections(experiment).items():
        sections.append([])
        for score in scores:
            values = [metrics.get(prefix + score.key, nan) for _, metrics, prefix in columns]
            if not any(map(isfinite, values)) and not (score.key in decided and columns):
                continue
            cells = [_cell(metrics, prefix, score) for _, metrics, prefix in columns]
            if history.test and score.key in decided:
                counts = decision_counts(history.test, "test/", deciding, experiment.robustness.label)
                cells[-1] += decision_interval(score.name.partition(",")[0], values[-1], counts, patients)
            sections[-1].append([subject, score.name, *cells])
    rule = _decision_rule([metrics for _, metrics, _ in columns], deciding, experiment.robustness.label)
    return ScoreTable(
        f"{experiment.name}: best = lowest {monitor}; in brackets 95 % intervals{rule}",
        ["", "", *(title for title, *_ in columns)],
        sections,
    )


def _decision_rule(columns: Sequence[Mapping[str, float]], task: Task, label: str) -> str:
    """Say what accuracy, sensitivity, PPV and F1 of several labels are of, as far as their confusions tell."""
    cells = {key for metrics in columns for key in metrics if f"/{task.name}/confusion/" in key}
    if not cells or len(task.labels) < 2:
        return ""
    of = f"{label} or not" if any(f"not {label}" in key for key in cells) else "the most probable label"
    return f"; accuracy, sensitivity, PPV and F1: of {of}"


def decision_counts(metrics: Mapping[str, float], prefix: str, task: Task, label: str) -> DecisionCounts:
    """Return the counts behind the decision's scores, from what :class:`.ClassificationScores` logs.

    Example:
        >>> confusion = {"test/t/confusion/a/a": 3, "test/t/confusion/a/b": 1, "test/t/confusion/b/a": 2}
        >>> task = Task("t", "s", labels=["a", "b"])
        >>> decision_counts(confusion | {"test/t/confusion/b/b": 4}, "test/", task, "a")
        DecisionCounts(images=10, positive=4, called=5, hits=3)
    """
    start = f"{prefix}{task.name}/confusion/"
    cells = {
        (truth, answer): metrics[f"{start}{truth}/{answer}"]
        for truth in (*task.labels, f"not {label}")
        for answer in (*task.labels, f"not {label}")
        if f"{start}{truth}/{answer}" in metrics
    }
    if not cells:
        return DecisionCounts()
    return DecisionCounts(
        images=sum(cells.values()),
        positive=sum(count for (truth, _), count in cells.items() if truth == label),
        called=sum(count for (_, answer), count in cells.items() if answer == label),
        hits=cells.get((label, label), 0),
    )


def one_answer(decided: np.ndarray, label: str) -> str:
    """Say that a network decides all images alike, so that its stability is no merit; empty where it does not.

    Args:
        decided: 1 / 0 / NaN, of any shape: its decisions.
        label: What is decided on.

    Example:
        >>> one_answer(np.zeros((10, 2)), "COVID-19"), one_answer(np.eye(2), "COVID-19")
        ('all 20 images of the pairs get the same answer (not COVID-19): a low PI is no merit here', '')
    """
    known = decided[~np.isnan(decided)]
    if len(known) < 4 or np.ptp(known):
        return ""
    answer = label if known[0] else f"not {label}"
    return f"all {len(known):,} images of the pairs get the same answer ({answer}): a low PI is no merit here"


def decision_interval(score: str, value: float, counts: DecisionCounts, patients: float) -> str:
    """Write a score's 95 % interval behind a space: Wilson's over patients; or why there is none; or nothing.

    Several images of a patient count as one, as if they were all alike. An AUROC's is Wilson's over the rarer class, an
    upper bound of its variance whatever the distributions (Birnbaum & Klose, Ann Math Stat 1957); it needs as many
    patients of each class as ``covidmt evaluate`` asks for. F1 grows with the
    Jaccard index J = TP / (TP + FP + FN), a share of images: F1 = 2 J / (1 + J).

    Args:
        score: ``accuracy``, ``sensitivity``, ``PPV``, ``F1``, ``AUROC``.
        value: In [0, 1]; NaN: nothing is written.
        counts: Of the images.
        patients: Patients over images.

    Example:
        >>> decision_interval("sensitivity", 0.75, DecisionCounts(10, positive=4, called=5, hits=3), patients=1.0)
        ' [0.301, 0.954]'
        >>> decision_interval("AUROC", 0.9, DecisionCounts(images=10, positive=1, called=5, hits=1), patients=1.0)
        ' (not enough positives)'
    """
    n = counts.denominators()[score]
    if not isfinite(value) or not isfinite(n):
        return ""
    if score == "AUROC" and n * patients < ENOUGH:
        return f" (not enough {'positives' if 2 * counts.positive <= counts.images else 'negatives'})"

    share = value / (2 - value) if score == "F1" else value
    low, high = wilson(share * n * patients, n * patients)
    if score == "F1":
        low, high = 2 * low / (1 + low), 2 * high / (1 + high)
    return f" [{low:.3f}, {high:.3f}]"


def _cell(metrics: Mapping[str, float], prefix: str, score: ScoreRow) -> str:
    """Return a score with its interval, if one was logged; or a dash with the reason."""
    value = metrics.get(prefix + score.key, nan)
    if not isfinite(value):
        return f"- ({score.missing})" if score.missing else "-"

    ends = [metrics.get(f"{prefix}{score.ends or score.key}/ci_{end}", nan) for end in ("low", "high")]
    interval = f" [{ends[0]:{score.format}}, {ends[1]:{score.format}}]" if all(map(isfinite, ends)) else ""
    return f"{value:{score.format}}{interval}"


def _decision_rows(experiment: Experiment, task: Task) -> list[ScoreRow]:
    """Return the scores of the decision: of one label against the rest, but for the accuracy of exclusive labels."""
    label = experiment.robustness.label
    several = len(task.labels) > 1
    end, words = (f"/{label}", f", {label}") if several else ("", "")
    return [
        ScoreRow("accuracy", "accuracy", ".3f", "no image with one known label"),
        ScoreRow(f"sensitivity{words}", f"sensitivity{end}", ".3f", f"no image with {label}"),
        ScoreRow(f"PPV{words}", f"ppv{end}", ".3f", f"no image called {label}"),
        ScoreRow(f"F1{words}", f"f1{end}", ".3f", f"no image with {label}, none called so"),
        ScoreRow(f"AUROC{words}", f"auroc{end}", ".3f", "one class only"),
    ]


def _stability(task: Task) -> list[ScoreRow]:
    """Return the rows of a task's PI or LI on the pairs of its own source, and of its OLS."""
    sides = [ScoreRow(f"OLS, {side}, %", f"ols/{task.name}/{side}", ".2f") for side in SIDES]
    if task.kind is not TaskKind.boxes:
        what = "PI, any label, %" if len(task.labels) > 1 else "PI, %"
        return [ScoreRow(what, f"pi/{task.name}", ".2f", "no pairs of its source"), *sides]
    rows = []
    for t in LOCALISED_IOU:
        rows.append(ScoreRow(f"LI at IoU {t:g}, %", f"li/{task.name}/{t:g}", ".2f", "no pair with a true box"))
        rows.append(ScoreRow("   localised on the original, %", f"li/{task.name}/{t:g}/localised", ".2f"))
    return rows + [
        row._replace(name=f"boxes out of the lungs, {side}, %") for row, side in zip(sides, SIDES, strict=True)
    ]


def _sections(experiment: Experiment) -> dict[str, list[ScoreRow]]:
    """Return the rows of every task, of PI, and of OLS on each side."""
    sections = {}
    for task in experiment.active:
        scores = _BOXES if task.kind is TaskKind.boxes else _CLASSES
        if task.name == experiment.robustness.task:
            rest = scores if len(task.labels) > 1 else scores[1:]  # its AUROC is the decision's
            scores = _decision_rows(experiment, task) + rest
        sections[task.name] = [score._replace(key=f"{task.name}/{score.key}") for score in scores] + _stability(task)
    if experiment.privacy is not None:
        privacy = experiment.privacy
        at = f"at delta {privacy.delta:g}"
        per_image = [ScoreRow(f"epsilon an image, {at}", "epsilon", ".2f")]
        per_image *= privacy.unit is PrivacyUnit.image
        sections["privacy"] = [*per_image, ScoreRow(f"epsilon a patient, {at}", "epsilon_patient", ".2f")]
    sections["PI"] = _PI
    for side in SIDES:
        sections[f"OLS, {side} (heart {experiment.data.masks.heart})"] = [
            ScoreRow("OLS score, %", f"ols_score/{side}", ".2f", "no image scored", f"ols/{side}"),
            ScoreRow("mean IOL", f"iol/{side}/mean", ".3f", "no image scored"),
            ScoreRow("images scored", f"ols/{side}/n", ".0f"),
            ScoreRow("left out: heat map zero", f"ols/{side}/no_region", ".0f"),
            ScoreRow("left out: no lung", f"ols/{side}/no_lung", ".0f"),
        ]
    return sections
