from __future__ import annotations

import pytest

from experiments.load import SHIPPED, load_experiment, to_dict
from experiments.pairs.schema import Pairs


@pytest.mark.parametrize(
    ("value", "sources"), [("wacxr", ["wacxr"]), ("[covidx, nih]", ["covidx", "nih"]), ("null", [])]
)
def test_one_source_or_several_are_a_list(value: str, sources: list[str]):
    pairs = load_experiment(SHIPPED / "demo.yaml", [f"data.pairs.test={value}"]).data.pairs
    assert pairs.test_sources == sources
    assert pairs.val_sources == ["covidx", "rsna", "nih"]


def test_a_list_survives_the_way_to_plain_containers():
    assert to_dict(Pairs(test=["a", "b"]))["test"] == ["a", "b"]
