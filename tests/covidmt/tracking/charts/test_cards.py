from mlflow.entities import Param, Run, RunData, RunInfo, RunTag

from covidmt.tracking.charts.cards import AS_TAGS, flat_parameters, logged_parameters
from experiments.load import SHIPPED, load_experiment


def run_with(params: dict[str, str], tags: dict[str, str]) -> Run:
    data = RunData(params=[Param(*item) for item in params.items()], tags=[RunTag(*item) for item in tags.items()])
    return Run(RunInfo("4f0c", "1", "me", "FINISHED", 0, 1, "active"), data)


def test_the_parameters_of_a_run_fit_one_line_of_a_card():
    parameters = flat_parameters(load_experiment(SHIPPED / "demo.yaml"))
    line = ", ".join(f"{name}={value}" for name, value in parameters.items() if name not in AS_TAGS)
    assert line == "backbone=resnet18, n_tasks=6, seed=0, lr=0.001"


def test_parameters_are_found_where_older_runs_have_them_and_where_newer_ones_do():
    old = run_with({"backbone": "a", "tasks": "t", "channel": "signal"}, {})
    new = run_with({"backbone": "a"}, {"tasks": "t", "channel": "signal", "optimizer": "Adam"})
    assert logged_parameters(old) == logged_parameters(new) == {"backbone": "a", "tasks": "t", "channel": "signal"}


def test_a_view_and_starting_weights_are_among_them():
    overrides = ["data.view=lungs_removed", "model.init_from=models:/mine@best"]
    experiment = load_experiment(SHIPPED / "demo.yaml", overrides)
    parameters = flat_parameters(experiment)
    assert (parameters["view"], parameters["init_from"]) == ("lungs_removed", "models:/mine@best")
