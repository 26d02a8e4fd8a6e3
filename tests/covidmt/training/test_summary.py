"""The closing table, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from callbacks.epochs.history import MetricHistory
from covidmt.training.summary import DecisionCounts, decision_interval, one_answer, summary_table
from experiments.load import load_experiment
from experiments.schema import Experiment, Robustness, Task
from metrics.classification import ClassificationScores
from metrics.intervals import wilson
from tests.conftest import REPO


def table_rows(experiment: Experiment, history: MetricHistory, patients: float = 1.0) -> list[list[Any]]:
    """The table's cells, row by row, without its titles."""
    table = summary_table(experiment, history, "val/covidx/loss", patients).rich()
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def rows(experiment: Experiment, history: MetricHistory, patients: float = 1.0) -> dict[str, list[Any]]:
    """Name -> cells."""
    return {row[1]: row[2:] for row in table_rows(experiment, history, patients)}


def test_columns_are_the_best_and_the_last_epoch_and_the_test():
    history = MetricHistory()
    history.validations = [
        (0, {"val/covidx/loss": 0.25, "val/pi_score": 20.0, "val/pairs": 5.0, "val/covidx/accuracy": 0.5}),
        (1, {"val/covidx/loss": 0.75, "val/ols_score/received": 40.0, "val/rsna_boxes/map_50": 0.1}),
    ]
    history.test = {"test/pi_score": 12.5, "test/covidx/loss": 0.5}
    found = table_rows(load_experiment(REPO / "experiments" / "demo.yaml"), history)
    unknown = "- (no image with one known label)"
    assert found[0] == ["covidx", "accuracy", "0.500", unknown, unknown]
    assert [row[1] for row in found[1:5]] == [f"{name}, COVID-19" for name in ("sensitivity", "PPV", "F1", "AUROC")]
    assert found[5:] == [
        ["", "loss", "0.2500", "0.7500", "0.5000"],
        ["rsna_boxes", "mAP at IoU 0.5", "- (no true box)", "0.100", "- (no true box)"],
        ["PI", "PI score, %", "20.00", "- (no decision)", "12.50"],
        ["", "pairs", "5", "-", "-"],
        ["OLS, received (heart in)", "OLS score, %", "- (no image scored)", "40.00", "- (no image scored)"],
    ]


def test_a_best_epoch_that_is_the_last_is_one_column():
    history = MetricHistory()
    history.validations = [(0, {"val/covidx/loss": 0.5}), (1, {"val/covidx/loss": 0.25})]
    experiment = load_experiment(REPO / "experiments" / "demo.yaml")
    table = summary_table(experiment, history, "val/covidx/loss").rich()
    assert [column.header for column in table.columns] == ["", "", "best val\n(epoch 2)"]
    assert table.title == "demo: best = lowest val/covidx/loss; in brackets 95 % intervals"


def test_nothing_logged_is_an_empty_table():
    assert table_rows(load_experiment(REPO / "experiments" / "demo.yaml"), MetricHistory()) == []


@pytest.mark.parametrize(("unit", "titles"), [("image", ["an image", "a patient"]), ("patient", ["a patient"])])
def test_a_private_training_ends_with_what_it_spent(unit: str, titles: list[str]):
    history = MetricHistory()
    history.validations = [(0, {"val/covid/loss": 0.5, "val/epsilon": 2.25, "val/epsilon_patient": 9.5})]
    history.test = {"test/epsilon": 3.0, "test/epsilon_patient": 12.0}
    overrides = ["model.norm=group", "privacy.target_epsilon=3", f"privacy.unit={unit}"]
    experiment = load_experiment(REPO / "experiments" / "small_data.yaml", overrides)
    table = summary_table(experiment, history, "val/covid/loss").rich()
    cells = [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]
    values = {"an image": ["2.25", "3.00"], "a patient": ["9.50", "12.00"]}
    assert cells[-len(titles) :] == [
        ["privacy" if i == 0 else "", f"epsilon {title}, at delta 1e-05", *values[title]]
        for i, title in enumerate(titles)
    ]


def logged(prefix: str, task: str, metric: ClassificationScores) -> dict[str, float]:
    return {f"{prefix}{task}/{key}": float(value) for key, value in metric.compute().items()}


def three_classes() -> Experiment:
    return Experiment("mine", tasks={"covidx": Task("covidx", "s", labels=["normal", "pneumonia", "COVID-19"])})


def test_the_decision_beside_its_auroc_with_intervals_of_the_test():
    metric = ClassificationScores(["normal", "pneumonia", "COVID-19"], softmax=False)
    truth = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2])
    called = torch.tensor([0, 2, 1, 1, 2, 2, 2, 0])
    metric.update(torch.eye(3)[called] * 4, torch.eye(3)[truth])
    history = MetricHistory()
    history.validations = [(0, logged("val/", "covidx", metric) | {"val/covidx/loss": 0.5})]
    history.test = logged("test/", "covidx", metric)
    found = rows(three_classes(), history, patients=0.5)
    expected = {
        "accuracy": (6 / 8, wilson(3, 4)),
        "sensitivity, COVID-19": (3 / 4, wilson(1.5, 2)),
        "PPV, COVID-19": (3 / 4, wilson(1.5, 2)),
    }
    for name, (value, (low, high)) in expected.items():
        assert found[name] == [f"{value:.3f}", f"{value:.3f} [{low:.3f}, {high:.3f}]"], name
    low, high = wilson(0.5 * 3, 0.5 * 5)  # J = 3 / 5
    assert found["F1, COVID-19"][1] == f"0.750 [{2 * low / (1 + low):.3f}, {2 * high / (1 + high):.3f}]"
    assert found["AUROC, COVID-19"][1] == "0.750 (not enough positives)"  # (3 x 3.5 + 1.5) of 16 pairs
    assert "AUROC" in found


@pytest.mark.parametrize("labels", [["tuberculosis"], ["tuberculosis", "cavity"]])
def test_a_task_whose_labels_do_not_exclude_each_other_has_its_decision_at_its_threshold(labels: list[str]):
    experiment = Experiment(
        "tb",
        tasks={"tb": Task("tb", "s", labels=labels)},
        robustness=Robustness(task="tb", label="tuberculosis", threshold=0.8),
    )
    metric = ClassificationScores(labels, softmax=False, decision=("tuberculosis", 0.8))
    logits = torch.tensor([0.9, 0.7, 0.85, 0.1, float("nan")]).logit()[:, None].repeat(1, len(labels))
    targets = torch.tensor([1.0, 1, 0, 0, 1])[:, None].repeat(1, len(labels))
    metric.update(logits, targets)
    scores: dict[str, Any] = {key: float(value) for key, value in metric.compute().items()}
    end = "/tuberculosis" if len(labels) > 1 else ""
    assert {scores[f"{name}{end}"] for name in ("sensitivity", "ppv", "f1")} == {0.5}
    assert (scores["accuracy"], scores["undefined"]) == (0.5, 1)
    assert scores["confusion/tuberculosis/not tuberculosis"] == 1
    history = MetricHistory()
    history.test = logged("test/", "tb", metric)
    words = ", tuberculosis" if end else ""
    low, high = wilson(1, 2)
    assert rows(experiment, history)[f"sensitivity{words}"] == [f"0.500 [{low:.3f}, {high:.3f}]"]


def test_a_dash_has_its_reason():
    metric = ClassificationScores(["normal", "pneumonia", "COVID-19"], softmax=False)
    metric.update(torch.eye(3)[[0, 1, 1]], torch.eye(3)[[0, 1, 0]])
    history = MetricHistory()
    history.validations = [(0, {"val/covidx/loss": 0.5})]
    history.test = logged("test/", "covidx", metric)
    found = rows(three_classes(), history)
    assert found["sensitivity, COVID-19"][1] == "- (no image with COVID-19)"
    assert found["PPV, COVID-19"][1] == "- (no image called COVID-19)"
    assert found["AUROC, COVID-19"][1] == "- (one class only)"
    assert found["accuracy"][0] == "- (no image with one known label)"


def test_an_auroc_of_few_patients_of_a_class_has_no_interval():
    assert decision_interval("AUROC", 1.0, DecisionCounts(9, 1, 1, 1), 1.0) == " (not enough positives)"
    assert decision_interval("AUROC", 1.0, DecisionCounts(9, 8, 8, 8), 1.0) == " (not enough negatives)"
    assert decision_interval("AUROC", 1.0, DecisionCounts(50, 9, 9, 9), 1.0) == " (not enough positives)"
    assert decision_interval("AUROC", 1.0, DecisionCounts(50, 10, 9, 9), 0.9) == " (not enough positives)"
    assert decision_interval("AUROC", 1.0, DecisionCounts(50, 10, 9, 9), 1.0) == f" [{wilson(10, 10)[0]:.3f}, 1.000]"
    assert decision_interval("accuracy", float("nan"), DecisionCounts(9, 4, 4, 4), 1.0) == ""


def test_a_network_that_decides_all_images_alike_is_named():
    nan = float("nan")
    for answer, words in ((1, "(COVID-19)"), (0, "(not COVID-19)")):
        said = one_answer(np.array([[answer, answer], [answer, nan], [answer, answer]], float), "COVID-19")
        assert said.startswith(f"all 5 images of the pairs get the same answer {words}: ")
    assert one_answer(np.array([[1.0, 1], [1, 0]]), "COVID-19") == ""
    assert one_answer(np.array([[1.0, 1]]), "COVID-19") == ""  # two images alike are no sign of it
    assert one_answer(np.full((3, 2), nan), "COVID-19") == one_answer(np.empty((0, 2)), "COVID-19") == ""


@pytest.mark.parametrize(
    ("answer", "words"), [("b", "the most probable label"), ("not a", "a or not")], ids=["exclusive", "decision"]
)
def test_what_the_accuracy_is_of_stands_above(answer: str, words: str):
    experiment = Experiment(
        "mine", tasks={"covidx": Task("covidx", "s", labels=["a", "b"])}, robustness=Robustness(label="a")
    )
    history = MetricHistory()
    history.validations = [(0, {"val/covidx/loss": 0.5, f"val/covidx/confusion/a/{answer}": 3.0})]
    title = summary_table(experiment, history, "val/covidx/loss").title
    assert title.endswith(f"; accuracy, sensitivity, PPV and F1: of {words}")


def test_intervals_that_were_logged_stand_behind_their_scores():
    history = MetricHistory()
    values = {"pi_score": 12.5, "pi/ci_low": 4.0, "pi/ci_high": 30.25, "ols_score/received": 40.0}
    values |= {"ols/received/ci_low": 20.0, "ols/received/ci_high": 60.0, "pi/nodule": 4.0}
    values |= {"pi/nodule/ci_low": 1.0, "pi/nodule/ci_high": 9.0}
    history.validations = [(0, {"val/covidx/loss": 0.25} | {f"val/{key}": value for key, value in values.items()})]
    found = table_rows(load_experiment(REPO / "experiments" / "demo.yaml"), history)
    cells = {row[1]: row[2] for row in found if "[" in row[2]}
    assert cells == {
        "PI, %": "4.00 [1.00, 9.00]",
        "PI score, %": "12.50 [4.00, 30.25]",
        "OLS score, %": "40.00 [20.00, 60.00]",
    }


def test_every_tasks_stability_stands_with_the_task():
    history = MetricHistory()
    values = {"val/pi/covidx": 12.5, "val/pi/nodule": 4.0, "val/ols/nodule/received": 30.0}
    values |= {"val/li/rsna_boxes/0.75": 50.0, "val/li/rsna_boxes/0.75/localised": 75.0}
    history.validations = [(0, {"val/covidx/loss": 0.25} | values | {"val/ols/rsna_boxes/original": 20.0})]
    found = table_rows(load_experiment(REPO / "experiments" / "demo.yaml"), history)
    assert [row for row in found if row[1].startswith(("PI", "LI", "   loc", "boxes", "OLS"))] == [
        ["", "PI, any label, %", "12.50"],
        ["rsna_boxes", "LI at IoU 0.75, %", "50.00"],
        ["", "   localised on the original, %", "75.00"],
        ["", "boxes out of the lungs, original, %", "20.00"],
        ["nodule", "PI, %", "4.00"],
        ["", "OLS, received, %", "30.00"],
    ]
