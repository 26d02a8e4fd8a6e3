from dataclasses import replace

import numpy as np
import pytest

from covidmt.prediction.answer import ChannelAnswer, Prediction
from experiments.schema import DecisionRule
from explain.decision import Decision
from tests.helpers.tiny_experiment import SIZE

PREDICTION = Prediction(
    image="x.png",
    decision=Decision("COVID-19", 2),
    probability=0.5,
    positive=True,
    channels={"mms": ChannelAnswer(0.4, positive=False)},
    lung_share=0.3,
    heat_found=True,
    iol=0.8,
    eta=0.4,
    size=(SIZE, SIZE),
    input_size=SIZE,
    coloured=False,
)


@pytest.mark.parametrize(
    ("iol", "words"),
    [
        (0.397, "Only 39.7 % of the heat map's hottest region lies inside the lungs (expected: 40 %"),
        (0.392, "Only 39 %"),
        (0.4, "40 %"),
        (float(np.float32(0.4)), "40 %"),
        (0.39999, "Only 39.999 %"),
        (0.404, "40 %"),
    ],
)
def test_a_share_below_the_expected_one_never_reads_like_it(iol, words):
    prediction = replace(PREDICTION, channels={}, iol=iol)
    assert prediction.sentences()[1].text.startswith(words)


def test_a_probability_at_the_threshold_is_positive_and_the_record_says_what_survives():
    record = PREDICTION.record()
    assert (record["answer"], record["probability"], record["threshold"]) == ("COVID-19", 0.5, 0.5)
    assert record["channels"] == {"mms": {"answer": "not COVID-19", "probability": 0.4, "survives": False}}
    assert [sentence.warning for sentence in PREDICTION.sentences()] == ["", "other answer after mms", ""]
    assert PREDICTION.warnings() == ["other answer after mms"]


def test_what_is_missing_is_said_and_not_defined_in_the_record():
    nothing = replace(PREDICTION, channels={}, lung_share=0.0, heat_found=False, iol=float("nan"))
    assert nothing.warnings() == ["no lungs found", "empty heat map"]
    assert nothing.record()["iol"] is None
    unchecked = replace(PREDICTION, channels={}, lung_share=None, iol=float("nan"))
    assert unchecked.warnings() == []
    assert unchecked.sentences()[1].text == "Whether the network looked at the lungs was not checked."


def test_an_odd_image_is_said():
    odd = replace(PREDICTION, channels={}, lung_share=0.9, size=(SIZE, SIZE - 1), coloured=True)
    assert odd.warnings() == ["odd lungs", "small image", "image in colour"]


def test_another_disease_is_called_by_its_name():
    decision = Decision("tuberculosis", 0)
    prediction = replace(
        PREDICTION, decision=decision, channels={"telegram": ChannelAnswer(0.6, True)}, iol=0.1, lung_share=0.9
    )
    words = str(prediction.record())
    assert "not tuberculosis" not in words
    assert "The network answers tuberculosis: it gives tuberculosis a probability of 0.500" in words
    assert "covid" not in words.lower()
    assert "whatsapp" not in words.lower()


def test_by_argmax_the_answer_is_the_most_probable_class_whatever_the_threshold():
    decision = Decision("COVID-19", 2, rule=DecisionRule.argmax)
    likely = replace(PREDICTION, decision=decision, probability=0.4, channels={"mms": ChannelAnswer(0.6, False)})
    assert likely.answer == "COVID-19"
    assert "a probability of 0.400, the highest of its classes." in likely.sentences()[0].text
    assert likely.record()["channels"]["mms"] == {"answer": "not COVID-19", "probability": 0.6, "survives": False}
    assert likely.record()["decision"] == "argmax"
    assert "not the highest of its classes" in replace(likely, positive=False).sentences()[0].text


def test_an_answer_near_its_threshold_says_so():
    near = replace(PREDICTION, probability=0.48, positive=False, channels={"mms": ChannelAnswer(0.3, positive=False)})
    words = ", and within 0.02 of it, where a small change of the image can turn the answer."
    assert words in near.sentences()[0].text
    assert near.is_near("mms")
    assert near.survives("mms")
    far = replace(near, probability=0.47)
    assert words not in far.sentences()[0].text
    assert not far.is_near("mms")
    assert replace(far, channels={"mms": ChannelAnswer(0.499, positive=False)}).is_near("mms")  # after it
    assert near.record().keys() == far.record().keys()
    by_class = replace(near, decision=Decision("COVID-19", 2, rule=DecisionRule.argmax))
    assert not by_class.is_near("mms")
