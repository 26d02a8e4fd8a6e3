import pytest

from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from experiments.loading.sections import check_sections
from experiments.schema import Experiment


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tasks": {"new": []}}, r"tasks\.new: takes a mapping"),
        ({"data": {"masks": 1}}, r"data\.masks: takes a mapping"),
    ],
)
def test_a_plain_value_is_no_section(values, words):
    check_sections(Experiment, {"privacy": None, "tasks": {}, "seed": "three"}, "mine.yaml")
    with pytest.raises(UserError, match=words):
        check_sections(Experiment, values, "mine.yaml")


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("tasks.covidx.upsample={}", lambda experiment: experiment.tasks["covidx"].upsample),
        ("scheduler.options={}", lambda experiment: experiment.scheduler.options),
        ("trainer={}", lambda experiment: experiment.trainer),
    ],
)
def test_an_empty_mapping_empties(override, value):
    assert value(load_experiment(SHIPPED / "demo.yaml"))
    assert value(load_experiment(SHIPPED / "demo.yaml", [override])) == {}


@pytest.mark.parametrize("override", ["tasks={}", "tasks.covidx={}", "data.sources={}", "optimizer={}"])
def test_an_empty_section_changes_nothing(override):
    assert load_experiment(SHIPPED / "demo.yaml", [override]) == load_experiment(SHIPPED / "demo.yaml")
