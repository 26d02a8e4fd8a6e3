"""All plots of an evaluation."""

from __future__ import annotations

from covidmt.evaluation.plots import decision, instability, saliency, tasks
from covidmt.evaluation.result import Evaluation
from covidmt.pages.style import Plot, page_style


def draw_plots(evaluation: Evaluation) -> dict[str, Plot]:
    """Draw all plots that there is something to draw for.

    Args:
        evaluation: What was found.

    Returns:
        File stem -> plot.
    """
    runs, which = instability.channel_runs(evaluation)

    with page_style():
        plots = {
            "pi_by_channel": instability.draw_by_channel(runs, evaluation.pairs.channel, which),
            "pi_over_quality": instability.draw_over_quality(runs, which),
            "probabilities": instability.draw_probabilities(evaluation),
            "pi_over_threshold": instability.draw_over_threshold(evaluation),
            "ols_controls": saliency.draw_controls(evaluation),
            "iol_histogram": saliency.draw_histogram(evaluation),
            "ols_over_eta": saliency.draw_over_eta(evaluation),
            "ols_over_region_threshold": saliency.draw_over_region_threshold(evaluation),
            "roc": decision.draw_roc(evaluation),
            "precision_recall": decision.draw_precision_recall(evaluation),
            "reliability": decision.draw_reliability(evaluation),
            "confusion": decision.draw_confusion(evaluation),
            "task_scores": tasks.draw_task_scores(evaluation),
            "task_confusion": tasks.draw_task_confusion(evaluation.first),
            "task_roc": tasks.draw_task_roc(evaluation.first),
            "training": tasks.draw_training(evaluation),
        }
    return {name: plot for name, plot in plots.items() if plot}
