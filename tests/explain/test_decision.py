import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.schema import DecisionRule, Robustness, Target, Task, TaskKind
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


def test_the_predicted_class_is_explained_whichever_it_is():
    logits = torch.tensor([[3.0, 0.0, 2.0], [0.0, 1.0, 4.0]])
    assert SIGMOID.score(logits, Target.predicted).tolist() == [3.0, 4.0]
    log_odds = [math.log(math.exp(3) / (1 + math.exp(2))), math.log(math.exp(4) / (1 + math.exp(1)))]
    assert SOFTMAX.score(logits, Target.predicted).tolist() == pytest.approx(log_odds)
    one = Decision("COVID-19", 0)  # of one label: the decision made
    assert one.score(torch.tensor([[2.0], [-3.0]]), Target.predicted).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("decision", [SIGMOID, SOFTMAX])
def test_the_predicted_classs_evidence_has_its_own_gradient(decision):
    logits = torch.tensor([[3.0, 0.0, 2.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(decision.score(logits, Target.predicted).sum(), logits)
    others = [0, -1 / (1 + math.exp(2)), -math.exp(2) / (1 + math.exp(2))]
    expected = [1, *others[1:]] if decision is SOFTMAX else [1, 0, 0]
    assert gradient[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("target", list(Target))
def test_a_perturbed_images_score_is_that_of_the_answer_to_the_image_itself(target):
    answered, perturbed = torch.tensor([[3.0, 0.0, -1.0]]), torch.tensor([[0.0, 9.0, 1.0]])
    expected = {Target.decision: -1.0, Target.positive: 1.0, Target.predicted: 0.0}
    assert SIGMOID.score(perturbed, target, answered).item() == expected[target]


def test_by_argmax_the_label_is_the_most_probable_one():
    by_argmax = Decision("COVID-19", 2, rule=DecisionRule.argmax)
    logits = torch.tensor([[1.0, 0.0, 0.5], [-3.0, -2.0, -1.0], [0.0, 0.0, math.nan]])
    assert SIGMOID.positive(logits).tolist() == [True, False, False]
    assert by_argmax.positive(logits).tolist() == [False, True, False]
    assert by_argmax.decided(logits)[:2].tolist() == [0.0, 1.0]
    assert by_argmax.decided(logits)[2].isnan()
    assert by_argmax.score(logits[:2]).tolist() == [-0.5, -1.0]  # the evidence for "not", then for COVID-19


def test_decisions_and_what_is_explained_in_words():
    assert (SIGMOID.answer(True), SIGMOID.answer(False)) == ("COVID-19", "not COVID-19")
    words = ["the decision made", "COVID-19, also where it is denied", "the most probable class"]
    assert [SIGMOID.explained(target) for target in (Target.decision, Target.positive, Target.predicted)] == words


def test_evidence_is_read_in_float32():
    logits = torch.tensor([[1.0, 0.0, 2.0]]).bfloat16()
    for decision in (SIGMOID, SOFTMAX):
        for target in Target:
            assert decision.score(logits, target).dtype == torch.float32
            assert torch.equal(decision.score(logits, target), decision.score(logits.float(), target))
        assert decision.decided(logits).dtype == decision.margin(logits).dtype == torch.float32


@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_margin_of_each_class_leaves_out_its_own_logit(index):
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    others = [math.exp(value) for column, value in enumerate((1.0, 3.0, 2.0)) if column != index]
    margin = Decision("c", index, TaskKind.multiclass).margin(logits).item()
    assert margin == pytest.approx(logits[0, index].item() - math.log(sum(others)))


@pytest.mark.parametrize(("threshold", "wrong"), [(0.0, True), (1.0, True), (1e-6, False), (1 - 1e-6, False)])
def test_a_threshold_lies_between_0_and_1(threshold, wrong):
    task = Task(name="t", labels=["COVID-19", "normal"])
    if wrong:
        with pytest.raises(UserError, match=r"robustness\.threshold"):
            Decision.of(task, Robustness(threshold=threshold))
    else:
        assert Decision.of(task, Robustness(threshold=threshold)).threshold == threshold
    assert Decision.of(task, Robustness(decision=DecisionRule.argmax)).rule is DecisionRule.argmax  # two labels suffice


def test_of_takes_the_labels_column_from_the_task():
    task = Task(name="covidx", kind=TaskKind.multiclass, labels=["normal", "pneumonia", "COVID-19"])
    assert Decision.of(task, Robustness(threshold=0.3)) == Decision("COVID-19", 2, TaskKind.multiclass, 0.3)


@pytest.mark.parametrize(
    ("task", "robustness", "says"),
    [
        (Task(name="nodule", labels=["Nodule", "Mass"]), Robustness(), "no label 'COVID-19'; it has: Nodule, Mass"),
        (Task(name="b", kind=TaskKind.boxes), Robustness(), "predicts boxes"),
        (Task(name="t", labels=["COVID-19"]), Robustness(threshold=1.5), "robustness.threshold: 1.5"),
        (Task(name="t", labels=["COVID-19"]), Robustness(decision=DecisionRule.argmax), "argmax needs two labels"),
    ],
)
def test_wrong_settings_name_their_key(task, robustness, says):
    with pytest.raises(UserError, match="robustness") as caught:
        Decision.of(task, robustness)
    assert says in str(caught.value)


@pytest.mark.parametrize("decision", [SIGMOID, SOFTMAX])
def test_what_is_no_finite_number_has_no_probability(decision: Decision):
    logits = torch.tensor([[0.0, 0.0, math.nan], [0.0, 0.0, math.inf], [0.0, 0.0, -math.inf], [0.0, 0.0, 0.0]])
    assert decision.probability(logits).isnan().tolist() == [True, True, True, False]
    assert not decision.positive(logits)[:3].any()


@pytest.mark.parametrize(
    ("probability", "near"), [(0.48, True), (0.52, True), (0.479, False), (0.53, False), (0.9, False)]
)
def test_near_the_threshold_is_two_hundredths(probability: float, near: bool):
    assert Decision("COVID-19", 0).is_near(probability) is near
    assert Decision("COVID-19", 0).is_near(0.9, probability) is near
    assert Decision("COVID-19", 0, rule=DecisionRule.argmax).is_near(probability) is False
