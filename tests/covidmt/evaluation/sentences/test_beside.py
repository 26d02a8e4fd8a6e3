"""What is said of a run beside another: of OLS with its control, and of answers without the lungs."""

from dataclasses import replace

import pytest

from covidmt.evaluation.result import Evaluation
from covidmt.evaluation.sentences.beside import beside_others, beside_sentences
from metrics.inference.differences import PairedDifference
from tests.helpers.evaluation import evaluation_of, make_answers, make_data

SHOWN, NOT_SHOWN = 0.01, 0.5


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    data = make_data(tmp_path_factory.mktemp("images"), ["normal", "COVID-19"])
    return evaluation_of(data, make_answers(data, 0), make_answers(data, 0, 1))


def with_differences(evaluation: Evaluation, differences: dict[str, tuple[float, float]]) -> Evaluation:
    """The second run with other differences to the first: key -> value and p."""
    made = {key: PairedDifference(value, -50.0, 50.0, p, 1, 24) for key, (value, p) in differences.items()}
    first, other = evaluation.runs
    return replace(evaluation, runs=(first, replace(other, differences=other.differences | made)))


def of_ols(score: float, shuffled: float, beyond: float) -> dict[str, tuple[float, float]]:
    return {
        "ols/received/score": (-17.0, score),
        "ols/received/shuffled": (-16.9, shuffled),
        "ols/received/score_minus_shuffled": (-0.1, beyond),
    }


def test_a_difference_of_ols_that_other_maps_have_too(evaluation: Evaluation):
    (said,) = beside_sentences(with_differences(evaluation, of_ols(SHOWN, SHOWN, NOT_SHOWN)))
    assert said == (
        "The difference in OLS as received is about as large with other patients' maps (\N{MINUS SIGN}16.9): that "
        "either follows the patient's lungs more is not shown, nor ruled out. It can come from the regions' usual "
        "place, from their size or shape, or from which answer is explained, which is not told apart."
    )
    assert beside_sentences(with_differences(evaluation, of_ols(NOT_SHOWN, SHOWN, NOT_SHOWN))) == []


def test_a_difference_of_ols_that_goes_beyond_its_control_or_is_not_told(evaluation: Evaluation):
    (beyond,) = beside_sentences(with_differences(evaluation, of_ols(SHOWN, NOT_SHOWN, SHOWN)))
    assert "is not that with other patients' maps" in beyond
    assert "that either decides by them is not shown" in beyond
    (unknown,) = beside_sentences(with_differences(evaluation, of_ols(SHOWN, NOT_SHOWN, NOT_SHOWN)))
    assert "is not shown to be more than that with other patients' maps" in unknown


@pytest.mark.parametrize("sign", [1, -1])
def test_who_tells_labels_better_without_the_lungs_has_no_merit(evaluation: Evaluation, sign: int):
    key = "shortcut/lungs_removed/auroc"
    changed = with_differences(evaluation, {key: (sign * 0.29, SHOWN)})
    (said,) = beside_sentences(changed)
    better, worse = [run.name for run in changed.runs][::sign]
    assert said.startswith(f"{better} tells the labels better with the lungs blacked out than {worse} (AUROC ")
    assert said.endswith("its outline, and lung that they miss, are not.")
    assert beside_others(changed)[0][key].shown
    assert beside_sentences(with_differences(evaluation, {key: (sign * 0.29, NOT_SHOWN)})) == []
