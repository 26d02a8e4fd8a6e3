import re

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


@pytest.mark.parametrize("value", ["-1", "3", "'7'", "1_0", "0.5", "2.0", ".nan", "[]"])
@pytest.mark.parametrize("key", ["tasks.covidx.share_batch", "model.pretrained", "tracking.enabled"])
def test_a_number_is_no_switch(key, value):
    with pytest.raises(UserError, match=re.escape(key)):
        load_experiment(SHIPPED / "demo.yaml", [f"{key}={value}"])


@pytest.mark.parametrize(("value", "read"), [("0", False), ("1", True), ("yes", True), ("off", False), ("TRUE", True)])
def test_what_a_switch_takes(value, read):
    assert load_experiment(SHIPPED / "demo.yaml", [f"model.pretrained={value}"]).model.pretrained is read


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
