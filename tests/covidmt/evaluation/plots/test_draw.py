"""Which plots there are of an evaluation."""

import matplotlib

from covidmt.evaluation.plots.draw import draw_plots
from datamodules.evaluation import EvaluationDataModule
from tests.helpers.evaluation import evaluation_of, make_answers


def test_what_cannot_be_drawn_is_left_out_and_the_style_does_not_stay(data: EvaluationDataModule):
    before = matplotlib.rcParams["axes.grid"]
    every = draw_plots(evaluation_of(data, make_answers(data, 3)))
    bare = draw_plots(evaluation_of(data, make_answers(data, 3, labelled=False, lungs=False)))
    assert matplotlib.rcParams["axes.grid"] == before
    assert len(every) == 15  # all but the training
    assert list(bare) == ["pi_by_channel", "pi_over_quality", "probabilities", "pi_over_threshold"]
