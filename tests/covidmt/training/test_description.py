"""A run's description in the MLflow UI."""

from __future__ import annotations

from covidmt.training.description import describe_run, describe_settings
from covidmt.training.summary import ScoreTable
from experiments.load import SHIPPED, load_experiment

DEMO = SHIPPED / "demo.yaml"


def test_what_it_is():
    experiment = load_experiment(DEMO, ["active_tasks=[covidx]", "trainer.max_epochs=1", "seed=3"])
    assert describe_settings(experiment) == (
        "**demo**: resnet18, 1 task (covidx), 128 px; Adam, learning rate 0.001, 1 epoch; seed 3."
    )
    assert ", 5 epochs;" in describe_settings(load_experiment(DEMO))


def test_headlines_and_where_the_rest_is():
    sections = [
        [["covidx", "AUROC, COVID-19", "0.912", "0.9 [0.8, 0.95]"], ["covidx", "loss", "0.4", "0.5"]],
        [["PI", "PI score, %", "2.90 [1.00, 7.00]", "- (no decision)"], ["PI", "pairs", "79", "-"]],
    ]
    scores = ScoreTable("demo: best = lowest val/covidx/loss", ["", "", "best val", "test"], sections)
    first, table, rest = describe_run(load_experiment(DEMO), scores, "0123456789abcdef").split("\n\n")
    assert first.startswith("**demo**")
    assert table.splitlines()[2:] == [
        "| covidx | AUROC, COVID-19 | 0.912 | 0.9 [0.8, 0.95] |",
        "| PI | PI score, % | 2.90 [1.00, 7.00] | - (no decision) |",
    ]
    assert "`summary.md`" in rest
    assert "`covidmt evaluate 01234567`" in rest


def test_without_scores():
    assert "|" not in describe_run(load_experiment(DEMO), ScoreTable("", ["", ""], []), "4f0c")
