"""Networks on each other's data."""

from dataclasses import replace
from pathlib import Path

import pytest

from covidmt.evaluation.networks import _like_first, _with_pairs, caution_notes, difference_notes, named_store
from covidmt.tracking.store import Store
from datamodules.evaluation import EvaluationDataModule
from experiments.errors import UserError
from experiments.schema import Masks, Robustness, Tracking, View
from tests.helpers.evaluation import network


def test_the_last_word_on_the_store():
    assert named_store(["data.root=x", "tracking.uri=sqlite:////a=b.db"]).database == Path("/a=b.db")
    assert named_store([]).uri == Store.of(Tracking()).uri


def test_another_network_keeps_what_it_sees_and_takes_the_first_ones_definitions(data: EvaluationDataModule):
    first = replace(data.experiment, robustness=Robustness(eta=0.3))
    other = replace(data.experiment, seed=1, data=replace(data.experiment.data, image_size=32, root="/lost"))
    own, experiment = _like_first(other, first, "other")
    assert experiment.data.image_size == own.data.image_size == 32
    assert (experiment.robustness.eta, own.robustness.eta) == (0.3, Robustness().eta)
    assert experiment.data.sources == first.data.sources
    assert experiment.seed == 1


def test_what_another_network_was_trained_with_is_named(data: EvaluationDataModule):
    first = network(data, "one")
    elsewhere = replace(data.experiment.data, root="/elsewhere", num_workers=9)
    moved = replace(network(data, "two", seed=1), trained=replace(data.experiment, seed=1, data=elsewhere))
    longer = network(data, "three", seed=1, trainer={"max_epochs": 1}, robustness=Robustness(threshold=0.3))
    (note,) = difference_notes([first, moved, longer])
    assert note == "three was trained otherwise than one: robustness.threshold 0.3 against 0.5; 1 epoch against 25"


def test_pairs_are_a_source_or_a_folder(data: EvaluationDataModule, tmp_path: Path):
    assert _with_pairs(data.experiment, "own").data.pairs.test == "own"
    with pytest.raises(UserError, match="neither a source of the experiment"):
        _with_pairs(data.experiment, str(tmp_path))
    for channel in ("signal", "telegram"):
        (tmp_path / f"covid_binary_test_{channel}").mkdir()
    with pytest.raises(UserError, match="several channels"):
        _with_pairs(data.experiment, str(tmp_path))
    (tmp_path / "covid_binary_test_telegram").rmdir()
    changed = _with_pairs(data.experiment, str(tmp_path))
    assert changed.data.sources[str(tmp_path)].received == "covid_binary_test_signal"
    assert changed.data.pairs.test == str(tmp_path)


def test_lungs_of_another_origin_are_noted_where_they_are_seen(data: EvaluationDataModule):
    assert caution_notes(network(data, "one"), data) == []
    elsewhere = replace(data.experiment.data, view=View.lungs_isolated, masks=Masks(folders=["/lost"]))
    hidden = replace(network(data, "one"), own=replace(data.experiment, data=elsewhere))
    here = replace(hidden, experiment=data.experiment)
    (note,) = caution_notes(here, data)
    assert note.startswith("one: its data.view=lungs_isolated is made of other lung masks here")
