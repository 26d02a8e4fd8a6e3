"""Every accuracy says which answers, on which images, it is of."""

from dataclasses import replace

from covidmt.evaluation.answers import TaskAnswers
from covidmt.evaluation.findings import describe_findings
from covidmt.evaluation.report import score_tables
from covidmt.evaluation.sentences.accuracy import accuracy_sentence, two_accuracies
from datamodules.evaluation import EvaluationDataModule
from experiments.schema import DecisionRule
from tests.helpers.evaluation import evaluation_of, make_answers


def test_the_decision_and_the_task_are_told_apart(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 3))
    assert accuracy_sentence("decision/original/auroc", evaluation) == ""
    assert accuracy_sentence("decision/original/accuracy", evaluation) == (
        "COVID-19 or not, of the pairs of own (test): COVID-19 where its probability is at least 0.5."
    )
    assert accuracy_sentence("task/covidx/accuracy", evaluation) == (
        "normal, COVID-19, of the images of own (test): the most probable label is the answer."
    )
    assert accuracy_sentence("task/covidx/COVID-19/accuracy", evaluation) == (
        "COVID-19 or not, of the images of own (test): COVID-19 where it is the most probable label."
    )
    sentences = {row.text.title: row.text.sentence for table in score_tables(evaluation) for row in table.rows}
    assert sentences["accuracy of the most probable label"].startswith("normal, COVID-19, of the images")
    said = " ".join(describe_findings(evaluation)[2].sentences)
    assert "Accuracy of COVID-19 or not, on 24 originals: 1.00" in said


def test_why_two_accuracies_differ(data: EvaluationDataModule):
    own = make_answers(data, 0)
    assert two_accuracies(evaluation_of(data, own)) == (
        "The figures of covidx for COVID-19 are not those of the decision on the pairs: of other answers (the most "
        "probable label here; there COVID-19 where its probability is at least 0.5)."
    )

    # fewer images
    task = own.tasks["covidx"]
    fewer = TaskAnswers(task.patients[:10], task.targets[:10], task.logits[:10])
    said = two_accuracies(evaluation_of(data, replace(own, tasks={"covidx": fewer})))
    assert "of other images (10 of own here, 24 of own there) and of other answers" in said


def test_the_same_images_and_answers_need_no_word(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 0))
    network = evaluation.first.network
    robustness = replace(network.experiment.robustness, decision=DecisionRule.argmax)
    network = replace(network, experiment=replace(network.experiment, robustness=robustness))
    first = replace(evaluation.first, network=network)
    assert two_accuracies(replace(evaluation, runs=(first,))) == ""
    assert two_accuracies(replace(evaluation, runs=(replace(first, answers=replace(first.answers, tasks={})),))) == ""
