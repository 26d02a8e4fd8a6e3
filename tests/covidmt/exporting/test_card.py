from __future__ import annotations

import json

from covidmt.exporting.card import model_card
from covidmt.exporting.facts import ModelFacts
from covidmt.prediction.answer import NOTICE
from tests.helpers.tiny_experiment import experiment


def test_a_card_says_what_is_known():
    profile = json.dumps({"num_rows": 5, "train": {"images": 4, "COVID-19": 1}, "test": {"images": 1, "COVID-19": 0}})
    datasets = [{"name": "covidx", "digest": "d", "profile": profile}]
    facts = ModelFacts(experiment(), "4f0c", 7, "| PI | 2.5 |", datasets, ["COVID-19 is given away by source."], {})
    card = model_card(facts)
    for words in (NOTICE, "of epoch 8", "| covidx | test | 1 | COVID-19 0 |", "| PI | 2.5 |", "given away by source"):
        assert words in card
    assert "covidmt serve 4f0c" in card
    assert "nodule (nodule)" in card or "nodule (Nodule)" in card


def test_a_card_says_what_is_not_known():
    card = model_card(ModelFacts(experiment()))
    assert card.count("ot known") >= 3
    assert "They were not looked for." in card
    assert "No class of the first task is given away" in model_card(ModelFacts(experiment(), shortcuts=[]))
