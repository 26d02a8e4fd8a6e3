import pytest

from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from experiments.loading.sources import kinds_first
from experiments.source_schema import CsvSource, NihSource, WacxrSource, source_kinds

DEMO = SHIPPED / "demo.yaml"
ALONE = ["tasks.covidx.upsample={}", "tasks.covidx.labels=[a]", "robustness.label=a"]  # labels that any data may have


def test_another_kind_keeps_the_root_and_nothing_else():
    overrides = ["data.root=d", "data.sources.wacxr.label=Mass", "data.sources.wacxr.kind=pairs"]
    before = load_experiment(DEMO, overrides[:2]).data.sources["wacxr"]
    after = load_experiment(DEMO, overrides[:1] + overrides[2:]).data.sources["wacxr"]
    assert before == WacxrSource(root="d/wacxr", label="Mass")
    assert (after.kind, after.root, after.originals) == ("pairs", "d/wacxr", "originals")


@pytest.mark.parametrize("kind", source_kinds())
def test_every_kind_takes_the_place_of_another(kind):
    if kind == "csv":
        with pytest.raises(UserError) as error:
            load_experiment(DEMO, ["data.sources.covidx.kind=csv"])
        assert "data.sources.covidx.table is not set: a source of kind csv needs it" in str(error.value)
    else:
        source = load_experiment(DEMO, [f"data.sources.wacxr.kind={kind}"]).data.sources["wacxr"]
        assert (source.kind, source.root) == (kind, "demo-data/wacxr")


@pytest.mark.parametrize("order", [1, -1])
def test_a_command_line_has_no_order(order):
    overrides = ["data.sources.covidx.kind=csv", "data.sources.covidx.table=a.csv", "data.sources.covidx.root=/d"]
    source = load_experiment(DEMO, [*overrides[::order], *ALONE]).data.sources["covidx"]
    assert source == CsvSource(root="/d", table="a.csv")


def test_layers_keep_their_order():
    layer = ("a sweep", {"data": {"sources": {"mine": {"kind": "csv"}}}})
    overrides = ["a=1", layer, "b=2", "data.sources.mine.kind=nih"]
    assert kinds_first(overrides) == ["a=1", layer, "data.sources.mine.kind=nih", "b=2"]


def test_the_same_kind_changes_nothing():
    source = load_experiment(DEMO, ["data.sources.nih.entries=E.csv", "data.sources.nih.kind=nih"]).data.sources["nih"]
    assert source == NihSource(root="demo-data/nih", entries="E.csv")
