from mlflow.entities import Param, Run, RunData, RunInfo, RunTag

from covidmt.tracking.charts.cards import card_parameters, flat_parameters, logged_parameters
from experiments.load import SHIPPED, load_experiment


def run_with(params: dict[str, str], tags: dict[str, str]) -> Run:
    data = RunData(params=[Param(*item) for item in params.items()], tags=[RunTag(*item) for item in tags.items()])
    return Run(RunInfo("4f0c", "1", "me", "FINISHED", 0, 1, "active"), data)


def test_the_parameters_of_a_run_can_break_into_the_lines_of_a_card():
    parameters = card_parameters(flat_parameters(load_experiment(SHIPPED / "demo.yaml")))
    assert list(parameters) == ["backbone", "tasks", "n_tasks", "seed", "lr", "image_size", "channel"]
    words = ", ".join(f"{name}={value}" for name, value in parameters.items()).split()
    assert max(map(len, words)) < 30


def test_parameters_are_found_where_older_runs_have_them_and_where_newer_ones_do():
    old = run_with({"backbone": "a", "tasks": "t,u", "channel": "signal"}, {})
    new = run_with({"backbone": "a", "tasks": "t, u", "channel": "signal"}, {"tasks": "t,u", "optimizer": "Adam"})
    assert logged_parameters(old) == logged_parameters(new) == {"backbone": "a", "tasks": "t,u", "channel": "signal"}


def test_a_view_and_starting_weights_are_among_them():
    overrides = ["data.view=lungs_removed", "model.init_from=models:/mine@best"]
    experiment = load_experiment(SHIPPED / "demo.yaml", overrides)
    parameters = flat_parameters(experiment)
    assert (parameters["view"], parameters["init_from"]) == ("lungs_removed", "models:/mine@best")
