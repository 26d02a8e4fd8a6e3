"""What a run is and how it did, in a few lines of Markdown: its description in the MLflow UI."""

from __future__ import annotations

from covidmt.exporting.facts import SCORES
from covidmt.training.summary import ScoreTable
from experiments.schema import Experiment

HEADLINES = ("accuracy", "sensitivity", "AUROC", "LI at IoU 0.5", "PI score", "OLS score")  # how their rows begin


def describe_settings(experiment: Experiment) -> str:
    """Return in a sentence what is trained.

    Example:
        >>> from experiments.load import SHIPPED, load_experiment
        >>> describe_settings(load_experiment(SHIPPED / "demo.yaml", ["active_tasks=[covidx, nodule]"]))
        '**demo**: resnet18, 2 tasks (covidx, nodule), 128 px; Adam, learning rate 0.001, 5 epochs; seed 0.'
    """
    tasks = [task.name for task in experiment.active]
    count = f"{len(tasks)} task{'s' if len(tasks) > 1 else ''} ({', '.join(tasks)})"
    optimizer, epochs = experiment.optimizer, experiment.trainer.get("max_epochs")
    length = f", {epochs} epoch{'s' if epochs != 1 else ''}" if epochs else ""
    return (
        f"**{experiment.name}**: {experiment.model.backbone}, {count}, {experiment.data.image_size} px; "
        f"{optimizer.name}, learning rate {optimizer.lr:g}{length}; seed {experiment.seed}."
    )


def describe_run(experiment: Experiment, scores: ScoreTable, run_id: str) -> str:
    """Return the description of a finished run: what it is, its headline figures, where the rest is.

    Args:
        experiment: What was trained.
        scores: The table that it ends with.
        run_id: MLflow's.
    """
    rows = [row for section in scores.sections for row in section if row[1].startswith(HEADLINES)]
    table = scores._replace(title="", sections=[rows]).markdown().strip() if rows else ""
    rest = (
        f"All scores are in `{SCORES}` among the artifacts, and the network with its card among the models. "
        f"`covidmt evaluate {run_id[:8]}` puts its page among the artifacts, too, with a link to it here."
    )
    return "\n\n".join(part for part in (describe_settings(experiment), table, rest) if part)
