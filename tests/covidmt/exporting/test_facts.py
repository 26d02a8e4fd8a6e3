from __future__ import annotations

from covidmt.exporting.facts import ModelFacts, linked_metrics
from tests.helpers.tiny_experiment import experiment


def test_metrics_are_measured_on_the_source_of_their_task_or_of_the_pairs():
    metrics = {
        "val/loss": 0.4,
        "val/nodule/auroc": 0.6,
        "val/nodule/confusion/a/b": 3.0,
        "val/covidx/ppv/COVID-19": 0.5,
        "val/ols_score/original": 20.0,
        "test/covidx/ppv/COVID-19": 0.5,
        "test/covidx/confusion/a/b": 3.0,
        "test/pi_score": float("nan"),
        "train/loss": 1.0,
    }
    assert linked_metrics(experiment(), metrics) == {
        "val/loss": "covidx",
        "val/nodule/auroc": "nih",
        "val/ols_score/original": "covidx",
        "test/covidx/ppv/COVID-19": "covidx",
    }


def test_the_best_is_of_the_first_task():
    assert ModelFacts(experiment("active_tasks=[covidx,nodule]")).monitor == "val/covidx/loss"
