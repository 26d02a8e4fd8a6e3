from __future__ import annotations

from dataclasses import asdict

import pytest

from experiments.errors import UserError
from experiments.load import SHIPPED, from_dict, load_experiment, to_dict
from experiments.models.schema import Model, Normalisation, Pyramid

PAPERS = {  # experiments of a paper, and what of the network is the paper's
    "covidmt_resnet50_paper.yaml": ("transition", Pyramid.paper),
    "hide_and_seek.yaml": ("native", None),
    "small_data.yaml": ("native", None),
}


def test_a_network_survives_the_way_to_plain_containers_and_back():
    model = Model(head="native", normalisation=Normalisation([0.5] * 3, [0.25] * 3))
    plain = to_dict(model)
    assert (plain["head"], plain["normalisation"]) == ("native", {"mean": [0.5] * 3, "std": [0.25] * 3})
    assert asdict(from_dict(Model, plain)) == asdict(model)
    assert from_dict(Model, to_dict(Model())).normalisation is None


def test_one_of_mean_and_deviation_leaves_the_other_at_imagenets():
    experiment = load_experiment(SHIPPED / "demo.yaml", ["model.normalisation={mean: [0.5, 0.5, 0.5]}"])
    assert experiment.model.normalisation == Normalisation([0.5] * 3)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_networks(name):
    head, pyramid = PAPERS[name]
    model = load_experiment(SHIPPED / name).model
    assert model.head == head
    assert pyramid in (None, model.boxes.pyramid)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.name)
def test_an_experiment_of_a_paper_says_whose_its_settings_are(path):
    head = path.read_text().partition("\n\n")[0].partition("To run it")[0]
    if "paper" in head:
        assert "ours" in head.lower(), f"{path.name}: which settings are the paper's, and which ours?"


def test_a_pyramid_that_there_is_not():
    with pytest.raises(UserError, match=r"model\.boxes\.pyramid"):
        load_experiment(SHIPPED / "demo.yaml", ["model.boxes.pyramid=bifpn"])
