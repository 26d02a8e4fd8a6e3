import pytest
import torch

from experiments.schema import DecisionRule, Robustness, Target, Task, TaskKind
from explain.decision import Decision
from explain.task_decisions import TaskDecisions

THREE = ["normal", "pneumonia", "COVID-19"]
LOGITS = torch.tensor([[2.0, 1.0, 0.3], [-1.0, -2.0, -0.1], [0.0, float("nan"), 1.0]])


def test_the_deciding_label_is_decided_as_pi_decides():
    task, robustness = Task("covidx", "covidx", labels=THREE), Robustness(threshold=0.6)
    decisions = TaskDecisions.of(task, robustness, {"COVID-19": 0.1, "pneumonia": 0.9})
    own = Decision.of(task, robustness)
    assert torch.equal(decisions.decided(LOGITS)[:, 2], own.decided(LOGITS))  # no chosen threshold moves it
    assert [each.threshold for each in decisions.decisions] == [0.5, 0.9, 0.6]
    assert decisions.explained == (own, Target.decision)


def test_classes_that_exclude_each_other_are_decided_by_the_largest():
    task = Task("other", "covidx", kind=TaskKind.multiclass, labels=THREE)
    decided = TaskDecisions.of(task, Robustness()).decided(LOGITS[:2])
    assert decided.tolist() == [[1, 0, 0], [0, 0, 1]]
    by_threshold = TaskDecisions.of(task, Robustness(), dict.fromkeys(THREE, 0.2)).decided(LOGITS[:1])
    assert by_threshold.tolist() == [[1, 1, 0]]  # softmax: 0.65, 0.24, 0.12


def test_chosen_thresholds_hold_for_their_labels_and_others_have_a_half():
    decisions = TaskDecisions.of(Task("other", "nih", labels=THREE), Robustness(), {"pneumonia": 0.2})
    expected = [Decision(label, index, threshold=(0.5, 0.2, 0.5)[index]) for index, label in enumerate(THREE)]
    assert list(decisions.decisions) == expected
    assert (decisions.task, decisions.labels) == ("other", THREE)
    softmax = TaskDecisions.of(Task("other", "nih", kind=TaskKind.multiclass, labels=THREE), Robustness())
    assert {each.rule for each in softmax.decisions} == {DecisionRule.argmax}
    assert softmax.probability(LOGITS[:1])[0].tolist() == pytest.approx(LOGITS[0].softmax(0).tolist())


def test_the_deciding_task_is_explained_by_its_setting():
    task = Task("covidx", "covidx", labels=THREE)
    for target in Target:
        decisions = TaskDecisions.of(task, Robustness(target=target))
        assert decisions.explained == (Decision("COVID-19", 2), target)
        assert torch.equal(decisions.score(LOGITS[:2]), Decision("COVID-19", 2).score(LOGITS[:2], target))
    single = TaskDecisions.of(Task("nodule", "nih", labels=["Nodule"]), Robustness(target=Target.positive))
    assert single.explained == (Decision("Nodule", 0), Target.positive)


def test_the_rule_of_the_decision_holds_for_all_its_labels():
    task, robustness = Task("covidx", "covidx", labels=THREE), Robustness(decision=DecisionRule.argmax)
    decisions = TaskDecisions.of(task, robustness)
    assert decisions.decided(LOGITS[1:2]).tolist() == [[0, 0, 1]]
    assert {each.rule for each in decisions.decisions} == {DecisionRule.argmax}
    by_threshold = TaskDecisions.of(task, Robustness())
    assert {each.rule for each in by_threshold.decisions} == {DecisionRule.threshold}


@pytest.mark.parametrize(
    ("labels", "expected"), [(["Nodule"], Target.decision), (["Nodule", "Mass"], Target.predicted)]
)
def test_what_a_heat_map_explains(labels, expected):
    decisions = TaskDecisions.of(Task("nodule", "nih", labels=labels), Robustness())
    assert decisions.explained[1] is expected
    logits = torch.tensor([[-1.0, -3.0][: len(labels)]])
    assert decisions.score(logits).tolist() == [1.0 if len(labels) == 1 else -1.0]  # evidence against; of the largest


def test_a_label_without_a_number_has_no_decision():
    decided = TaskDecisions.of(Task("t", "s", labels=THREE), Robustness()).decided(LOGITS[2:])
    assert decided.isnan().tolist() == [[False, True, False]]
