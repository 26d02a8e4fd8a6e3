import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.schema import Robustness, Target, Task, TaskKind
from explain.decision import Decision

SIGMOID = Decision("COVID-19", 2)
SOFTMAX = Decision("COVID-19", 2, TaskKind.multiclass)


def test_multilabel_reads_its_own_logit_alone():
    logits = torch.tensor([[9.0, -9.0, 0.0], [9.0, 9.0, math.log(3)]])
    assert SIGMOID.probability(logits).tolist() == pytest.approx([0.5, 0.75])
    assert SIGMOID.margin(logits).tolist() == pytest.approx([0.0, math.log(3)])


def test_exactly_one_half_is_positive():
    assert SIGMOID.positive(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -1e-6]])).tolist() == [True, False]
    # softmax over (0, -inf, 0): one half each
    assert SOFTMAX.positive(torch.tensor([[0.0, -torch.inf, 0.0]])).tolist() == [True]


def test_threshold_is_part_of_the_decision():
    logits = torch.tensor([[0.0, 0.0, math.log(3)]])
    assert [Decision("c", 2, threshold=t).positive(logits).item() for t in (0.7, 0.8)] == [True, False]


def test_bf16_logits_are_read_in_float32():
    assert SOFTMAX.probability(torch.zeros(1, 3, dtype=torch.bfloat16)).dtype == torch.float32


@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3))
@settings(max_examples=50, deadline=None)
def test_softmax_margin_is_the_log_odds_of_softmax(values):
    logits = torch.tensor([values])
    expected = logits.double().softmax(1)[0, 2].item()
    assert SOFTMAX.probability(logits).item() == pytest.approx(expected, abs=1e-6)


def test_score_explains_the_decision_made():
    logits = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, -3.0], [0.0, 0.0, 0.0]])
    assert SIGMOID.score(logits).tolist() == [2.0, 3.0, 0.0]
    assert SIGMOID.score(logits, Target.positive).tolist() == [2.0, -3.0, 0.0]


def test_of_takes_the_labels_column_from_the_task():
    task = Task(name="covidx", kind=TaskKind.multiclass, labels=["normal", "pneumonia", "COVID-19"])
    assert Decision.of(task, Robustness(threshold=0.3)) == Decision("COVID-19", 2, TaskKind.multiclass, 0.3)


@pytest.mark.parametrize(
    ("task", "robustness", "says"),
    [
        (Task(name="nodule", labels=["Nodule"]), Robustness(), "no label 'COVID-19'; it has: Nodule"),
        (Task(name="b", kind=TaskKind.boxes), Robustness(), "predicts boxes"),
        (Task(name="t", labels=["COVID-19"]), Robustness(threshold=1.5), "robustness.threshold: 1.5"),
    ],
)
def test_wrong_settings_name_their_key(task, robustness, says):
    with pytest.raises(UserError, match="robustness") as caught:
        Decision.of(task, robustness)
    assert says in str(caught.value)
