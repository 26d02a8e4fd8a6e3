"""The scores in words."""

from covidmt.evaluation.texts import sections
from datamodules.evaluation import EvaluationDataModule
from tests.helpers.evaluation import evaluation_of, make_answers


def test_every_score_has_a_text(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 3), make_answers(data, 0, 1))
    rows = [key for texts in sections(evaluation.score_keys).values() for key in texts]
    assert sorted(rows) == sorted(evaluation.score_keys)


def test_tasks_are_named_by_their_labels():
    texts = sections(["task/covidx/COVID-19/auroc", "task/covidx/COVID-19/ppv", "task/rsna_boxes/map"])
    assert list(texts) == ["Task covidx", "Task rsna_boxes"]
    auroc, ppv = texts["Task covidx"].values()
    assert (auroc.title, auroc.brief) == ("COVID-19: AUROC", True)
    assert not ppv.brief  # in the report alone
    assert ppv.sentence.startswith("Positive predictive value")


def test_an_accuracy_of_all_labels_says_so():
    several = sections(["task/covidx/accuracy", "task/covidx/normal/accuracy", "task/nodule/accuracy"])
    assert [text.title for text in several["Task covidx"].values()] == [
        "accuracy of the most probable label",
        "normal: accuracy",
    ]
    assert [text.title for text in several["Task nodule"].values()] == ["accuracy"]
