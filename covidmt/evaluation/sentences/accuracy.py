"""What each accuracy is of: the decision's and a task's are of other answers, often of other images."""

from __future__ import annotations

from covidmt.evaluation.result import Evaluation, RunEvaluation
from covidmt.evaluation.task_scores import labels_exclude
from experiments.schema import DecisionRule


def accuracy_sentence(key: str, evaluation: Evaluation) -> str:
    """Return which answers, on which images, an accuracy of a decision or a task is of; empty for any other score.

    Args:
        key: Of the score.
        evaluation: What was found.
    """
    parts = key.split("/")
    kind, names, name = parts[0], parts[1:-1], parts[-1]
    pairs, settings = evaluation.pairs, evaluation.settings
    if name != "accuracy" or kind not in ("decision", "task"):
        return ""
    if kind == "decision":
        return f"{settings.label} or not, of the pairs of {pairs.source} ({pairs.split}): {settings.decision}."

    # a task: of all its labels, or of one
    run = next(run for run in evaluation.runs if key in run.scores)
    task = run.network.experiment.tasks[names[0]]
    images = f"of the images of {task.source} ({pairs.split})"
    exclusive = _is_exclusive(run, task.name)
    if len(names) == 1 and exclusive:
        return f"{', '.join(task.labels)}, {images}: the most probable label is the answer."
    label = names[1] if len(names) > 1 else task.labels[0]
    rule = "where it is the most probable label" if exclusive else "where its probability is at least 0.5"
    return f"{label} or not, {images}: {label} {rule}."


def two_accuracies(evaluation: Evaluation) -> str:
    """Return why the deciding task's figures are not the decision's; empty where they are."""
    first, pairs = evaluation.first, evaluation.pairs
    experiment, label = first.network.experiment, evaluation.settings.label
    task = experiment.tasks[experiment.robustness.task]
    answers = first.answers.tasks.get(task.name)
    if answers is None:
        return ""

    reasons = []
    n = len(answers.targets)
    if (task.source, n) != (pairs.source, pairs.n):
        reasons.append(f"of other images ({n} of {task.source} here, {pairs.n} of {pairs.source} there)")
    exclusive, argmax = _is_exclusive(first, task.name), experiment.robustness.decision is DecisionRule.argmax
    if exclusive and not argmax:
        reasons.append(f"of other answers (the most probable label here; there {evaluation.settings.decision})")
    if not reasons:
        return ""
    return (
        f"The figures of {task.name} for {label} are not those of the decision on the pairs: {' and '.join(reasons)}."
    )


def _is_exclusive(run: RunEvaluation, task: str) -> bool:
    return labels_exclude(run.answers.tasks[task].targets)
