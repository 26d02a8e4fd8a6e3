"""The table of pairs, by hand."""

from dataclasses import replace

import numpy as np

from covidmt.evaluation.pair_table import REGION_THRESHOLDS, pair_table
from datamodules.evaluation import EvaluationDataModule
from experiments.schema import Robustness, Target
from tests.helpers.evaluation import N, make_answers


def test_answers_and_maps_are_columns(data: EvaluationDataModule):
    """Maps are hot in the left quarter's middle, and the lungs are the left half."""
    answers = make_answers(data, 3)
    logits = {name: values.copy() for name, values in answers.logits.items()}
    logits["received"][5] = np.nan
    table = pair_table(replace(answers, logits=logits), Robustness())
    assert len(table) == N
    assert np.isnan(table["flip"][5])
    assert table["flip"].sum() == 3
    margin = answers.logits["original"][:, 1].astype(float)
    np.testing.assert_allclose(table["margin_original"], margin)  # the default task is multilabel: its own logit
    np.testing.assert_allclose(table["p_original"], 1 / (1 + np.exp(-margin)), rtol=1e-6)
    assert (table["argmax_original"] == (margin > 0)).all()
    assert (table["lung_area"] == 0.5).all()
    assert (table["iol_original"] == 1).all()
    assert (table["shuffled_original"] == 0).all()
    assert not table["zero_original"].any()
    assert (table["positive_original"] == (table["p_original"] >= 0.5)).all()
    assert all((table[f"iol_original:{target.value}"] == table["iol_original"]).all() for target in Target)
    assert {f"iol_received@{threshold}" for threshold in REGION_THRESHOLDS} <= set(table)


def test_no_map_no_region(data: EvaluationDataModule):
    answers = make_answers(data, 0)
    blank = np.arange(N) != 2
    maps = {side: values * blank[:, None, None] for side, values in answers.maps[answers.target].items()}
    table = pair_table(replace(answers, maps=dict.fromkeys(answers.maps, maps)), Robustness())
    assert table["zero_original"].tolist() == [row == 2 for row in range(N)]
    assert table.loc[2, ["iol_original", "area_original", "disc_original"]].isna().all()
