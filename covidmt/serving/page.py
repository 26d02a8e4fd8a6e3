"""The page for a phone: choose or photograph a film, see the answer. No script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from covidmt.pages.html import data_uri, page_environment
from covidmt.prediction.answer import NOTICE, Prediction
from covidmt.serving.service import AnswerPicture
from explain.decision import NEAR
from explain.picture import LUNG, REGION


def form_page(network: str, with_token: bool, error: str = "") -> str:
    """Return the page that asks for a film.

    Args:
        network: The network's name, as a person knows it.
        with_token: It asks for the token too.
        error: What was wrong with the film before.

    Example:
        >>> page = form_page("demo (3fce2ff7)", with_token=True, error="<b>")
        >>> 'type="file"' in page, "&lt;b&gt;" in page
        (True, True)
    """
    template = page_environment().get_template("serve_form.html")
    return template.render(network=network, with_token=with_token, error=error, notice=NOTICE)


def answer_page(network: str, prediction: Prediction, pictures: Sequence[AnswerPicture]) -> str:
    """Return the page of an answer: stability by channel, other findings, heat maps, boxes, warnings, notice.

    Args:
        network: The network's name, as a person knows it.
        prediction: The answer.
        pictures: The film's, then each channel's; then those of boxes.
    """
    found = {each.text for each in (*prediction.findings, *prediction.boxes)}
    template = page_environment().get_template("serve_answer.html")
    return template.render(
        network=network,
        prediction=prediction,
        channels=[
            (
                name,
                prediction.decision.answer(sent.positive),
                sent.probability,
                prediction.survives(name),
                prediction.is_near(name),
            )
            for name, sent in prediction.channels.items()
        ],
        warnings=[sentence.text for sentence in prediction.sentences() if sentence.warning],
        findings=[
            (each.label, "yes" if each.answer.positive else "no", each.answer.probability, each.unstable, each.is_near)
            for each in prediction.findings
        ],
        boxes=[(each.task, len(each.original), each.unstable) for each in prediction.boxes],
        checks=[
            sentence.text
            for sentence in prediction.sentences()
            if not sentence.warning and sentence.text not in found  # the tables have these
        ],
        pictures=[(picture.title, data_uri("jpeg", picture.jpeg)) for picture in pictures],
        near=NEAR,
        notice=NOTICE,
        lung=LUNG,
        region=REGION,
    )
