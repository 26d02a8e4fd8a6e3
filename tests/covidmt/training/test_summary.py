from callbacks.history import MetricHistory
from covidmt.training.summary import summary_table
from experiments.load import load_experiment
from tests.conftest import REPO


def rows(history: MetricHistory) -> list[list[str]]:
    """The table's cells, row by row, without its titles."""
    experiment = load_experiment(REPO / "experiments" / "demo.yaml")
    table = summary_table(experiment, history, "val/covidx/loss")
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_columns_are_the_best_and_the_last_epoch_and_the_test():
    history = MetricHistory()
    history.validations = [
        (0, {"val/covidx/loss": 0.25, "val/pi_score": 20.0, "val/pairs": 5.0}),
        (1, {"val/covidx/loss": 0.75, "val/ols_score/received": 40.0, "val/rsna_boxes/map_50": 0.1}),
    ]
    history.test = {"test/pi_score": 12.5, "test/covidx/loss": 0.5}
    assert rows(history) == [
        ["covidx", "loss", "0.2500", "0.7500", "0.5000"],
        ["rsna_boxes", "mAP at IoU 0.5", "-", "0.100", "-"],
        ["PI", "PI score, %", "20.00", "-", "12.50"],
        ["", "pairs", "5", "-", "-"],
        ["OLS, received", "OLS score, %", "-", "40.00", "-"],
    ]


def test_a_best_epoch_that_is_the_last_is_one_column():
    history = MetricHistory()
    history.validations = [(0, {"val/covidx/loss": 0.5}), (1, {"val/covidx/loss": 0.25})]
    experiment = load_experiment(REPO / "experiments" / "demo.yaml")
    table = summary_table(experiment, history, "val/covidx/loss")
    assert [column.header for column in table.columns] == ["", "", "best val\n(epoch 1)"]
    assert table.title == "demo: best = lowest val/covidx/loss"


def test_nothing_logged_is_an_empty_table():
    assert rows(MetricHistory()) == []
