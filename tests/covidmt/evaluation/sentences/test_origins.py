"""What is said of where images are from, and of a total that the mix of classes makes."""

from dataclasses import replace

import numpy as np
import pytest

from covidmt.evaluation.findings import describe_findings
from covidmt.evaluation.result import Evaluation
from covidmt.evaluation.scores import mean_score
from covidmt.evaluation.sentences.origins import mix_sentences, source_sentences
from datamodules.evaluation import EvaluationDataModule
from metrics.bootstrap import PatientBootstrap
from metrics.paired import SIDES
from tests.helpers.evaluation import N, evaluation_of, make_answers, make_data

OUTSIDE = "maps out of the lungs are of images labelled"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationDataModule:
    return make_data(tmp_path_factory.mktemp("images"), ["normal", "COVID-19"])


def with_maps_outside(data: EvaluationDataModule, negatives: int, positives: int) -> Evaluation:
    """So many of twelve negatives and of twelve positives have maps right of the lungs."""
    own = make_answers(data, 0)
    maps = np.zeros((N, 4, 4), np.float32)
    maps[:, 1:3, 0] = 1
    outside = [*np.flatnonzero(own.labels == 0)[:negatives], *np.flatnonzero(own.labels == 1)[:positives]]
    maps[outside] = maps[outside][:, :, ::-1]
    return evaluation_of(data, replace(own, maps=dict.fromkeys(own.maps, dict.fromkeys(SIDES, maps))))


def test_an_origin_of_one_class_gives_it_away(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 0))
    assert source_sentences(evaluation) == []
    pairs = {"COVID-19": {"cohen": 12}, "not COVID-19": {"nih": 12}}
    task = {"COVID-19": {"cohen": 25}, "normal": {"nih": 22, "rsna": 22}}
    confounded = replace(evaluation, pairs_by_source=pairs, class_by_source=task)
    of_pairs, of_task, _ = source_sentences(confounded)
    assert of_pairs == (
        "Of these 24 pairs, all 12 labelled COVID-19 are from cohen and all 12 others from nih: these figures cannot "
        "tell the disease from the source."
    )
    assert of_task == (
        "Of the test images of task covidx, 25 of 25 labelled COVID-19 and 0 of 44 others are from cohen."
    )
    cards = {card.title: card.sentences for card in describe_findings(confounded)}
    assert of_pairs in cards["Is the answer right?"]
    assert of_pairs in cards["Could it be right for a wrong reason?"]
    (hardly, *_) = source_sentences(
        replace(confounded, pairs_by_source={"COVID-19": {"cohen": 11, "nih": 1}, "not COVID-19": {"nih": 12}})
    )
    assert "11 of 12 labelled COVID-19 are from cohen, and 0 of 12 others: these figures hardly tell" in hardly


def test_the_same_images_are_told_of_once(data: EvaluationDataModule):
    pairs = {"COVID-19": {"cohen": 12}, "not COVID-19": {"nih": 12}}
    task = {"COVID-19": {"cohen": 12}, "normal": {"nih": 12}}
    evaluation = evaluation_of(data, make_answers(data, 0))
    (said,) = source_sentences(replace(evaluation, pairs_by_source=pairs, class_by_source=task))
    assert said.startswith("Of these 24 pairs, all 12 labelled COVID-19 are from cohen")


@pytest.mark.parametrize(
    ("negatives", "positives", "said"),
    [
        (
            6,
            0,
            f"On originals, all 6 {OUTSIDE} negative (6 of 12; none of 12 positives), from nih: the total {{}} on",
        ),
        (
            0,
            2,
            f"On originals, all 2 {OUTSIDE} positive (2 of 12; none of 12 negatives), from cohen: the total {{}} on",
        ),
        (1, 0, None),
        (5, 4, None),
        (11, 1, None),  # of twelve patients a class nothing is judged
    ],
)
def test_maps_out_of_the_lungs_of_one_class(data: EvaluationDataModule, negatives, positives, said):
    evaluation = with_maps_outside(data, negatives, positives)
    told = replace(evaluation, pairs_by_source={"COVID-19": {"cohen": 12}, "not COVID-19": {"nih": 12}})
    found = mix_sentences(told)
    if said is None:
        assert found == []
        return
    # of twelve patients a class nothing is judged
    shown = evaluation.first.scores["ols/original/labelled_positive"].minus(
        evaluation.first.scores["ols/original/labelled_negative"]
    )
    assert shown.verdict == "unknown"
    assert found[0] == f"{said.format('may depend')} the mix of classes."
    assert (
        found[0]
        in {card.title: card.sentences for card in describe_findings(told)}["Does the heat map lie on the lungs?"]
    )
    assert "from nih" not in mix_sentences(evaluation)[0]  # all are of one data set, whose origins are not told apart


@pytest.mark.parametrize(
    ("negatives", "positives", "said"),
    [
        (
            6,
            0,
            f"all 6 {OUTSIDE} negative (6 of 22; none of 25 positives), from nih: the total depends on the mix",
        ),
        (15, 2, "2 of 25 labelled positive and 15 of 22 labelled negative lie outside: the total depends on the mix"),
        (3, 2, None),
    ],
)
def test_a_total_depends_on_the_mix_where_the_classes_differ(data: EvaluationDataModule, negatives, positives, said):
    """22 negatives and 25 positives, a patient each."""
    evaluation = evaluation_of(data, make_answers(data, 0))
    bootstrap, label = PatientBootstrap(np.arange(47).astype(str), 50), np.arange(47) >= 22
    out = np.zeros(47)
    out[:negatives] = out[22 : 22 + positives] = 1
    columns = {"labelled_negative": np.where(label, np.nan, out), "labelled_positive": np.where(label, out, np.nan)}
    for name, column in (columns | {"score": out}).items():
        evaluation.first.scores[f"ols/original/{name}"] = mean_score(column, bootstrap)
    told = replace(evaluation, pairs_by_source={"COVID-19": {"cohen": 25}, "not COVID-19": {"nih": 22}})
    assert mix_sentences(told) == ([f"On originals, {said} of classes."] if said else [])
