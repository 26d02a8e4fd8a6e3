"""The page in a real Chromium with a phone's screen; screenshots go to the test's folder, to be looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from covidmt.prediction.answer import NOTICE, ChannelAnswer, Prediction
from covidmt.prediction.findings import FindingAnswer, LabelFinding
from covidmt.serving.page import answer_page
from explain.decision import Decision
from tests.helpers.chromium import BROWSER, Tab, phone
from tests.helpers.mlflow_server import save_checkpoint
from tests.helpers.service_process import Service, film, serving

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("page")
    boxes = ("robustness.box_score=0.5", "model.boxes.score_threshold=0.5")
    save_checkpoint(folder / "best.ckpt", 0, "active_tasks=[covidx,rsna_boxes,effusion]", *boxes)
    channels = ("--channel", "whatsapp", "--channel", "telegram")
    with serving(folder / "best.ckpt", folder / "here", "--segmenter", "covidmt", *channels) as service:
        yield service


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with phone(tmp_path / "profile") as tab:
        yield tab


def require_phone_width(tab: Tab) -> None:
    width, shown = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert (width, shown) == (390, 390)  # nothing hangs over


def test_a_film_is_chosen_and_answered(service: Service, tab: Tab, demo_data: Path, tmp_path: Path):
    tab.open(f"{service.address}/")
    require_phone_width(tab)
    assert NOTICE in tab.text
    tab.screenshot(tmp_path / "form.png")
    height = tab.evaluate("document.querySelector('button').getBoundingClientRect().height")
    assert height >= 44  # a finger's

    chest = sorted((demo_data / "wacxr/covid_binary_test").glob("*/*"))[0]
    tab.choose("input[type=file]", chest)
    tab.click("button")
    tab.wait_for(
        "document.querySelectorAll('figure img').length === 6"
    )  # heat maps and boxes, on the film and after both
    tab.wait_for("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    require_phone_width(tab)
    text = tab.text
    assert re.search(r"^(not )?COVID-19\n", text)
    assert re.search(r"Probability of COVID-19: 0\.\d{3}", text)
    for words in ("whatsapp", "telegram", "After whatsapp (simulated)", NOTICE, "Where the network looks"):
        assert words in text
    rows = re.findall(
        r"^[^\t\n]+\t.*\b(?:stable|near the threshold|changes)\b.*$", text, flags=re.MULTILINE
    )  # of both tables
    assert [row.split()[0] for row in rows] == ["whatsapp", "telegram", "normal", "pneumonia", "Effusion", "rsna_boxes"]
    assert "Boxes on the film after telegram (simulated)" in text
    assert chest.name not in tab.evaluate("document.documentElement.outerHTML")
    tab.screenshot(tmp_path / "answer.png")

    tab.click("a.again")
    tab.wait_for("document.querySelector('input[type=file]') !== null")
    assert all(address.startswith((service.address, "data:", "about:")) for address in tab.requested)
    assert tab.evaluate("document.scripts.length") == 0


def test_an_answer_that_stays_near_its_threshold_is_not_called_stable():
    near, far = (LabelFinding("f", name, FindingAnswer(0.4, False), {}, name == "Near") for name in ("Near", "Far"))
    prediction = Prediction(
        "x.png", Decision("COVID-19", 2), 0.499, False, {"mms": ChannelAnswer(0.49, positive=False)}, 0.3, True, 0.8,
        0.4, (64, 64), 64, False, findings=(near, far),
    )  # fmt: skip
    row = r'<tr><td class="wraps">(\w+)</td>.*<td class="wraps">(.*)</td></tr>'
    rows = dict(re.findall(row, answer_page("demo (3fce2ff7)", prediction, [])))
    assert rows == {"mms": "near the threshold", "Near": "near the threshold", "Far": "stable"}
    assert "a probability is within 0.02 of the threshold" in answer_page("demo (3fce2ff7)", prediction, [])


def test_a_mistake_is_said_on_the_page(service: Service, tab: Tab, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(film()[:80])
    (tmp_path / "note.png").write_text("<script>alert(1)</script>")
    for name, words in (("broken.png", "not a readable image"), ("note.png", "no PNG, JPEG or DICOM file")):
        tab.open(f"{service.address}/")
        tab.choose("input[type=file]", tmp_path / name)
        tab.click("button")
        tab.wait_for("document.querySelector('[role=alert]') !== null")
        assert words in tab.evaluate("document.querySelector('[role=alert]').innerText")
        require_phone_width(tab)
    tab.screenshot(tmp_path / "error.png")


def test_it_works_without_a_script(service: Service, tab: Tab, tmp_path: Path):
    (tmp_path / "film.png").write_bytes(film())
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.call("Page.navigate", url=f"{service.address}/")
    tab.wait_for("document.querySelector('button') !== null")
    tab.choose("input[type=file]", tmp_path / "film.png")
    tab.click("button")
    tab.wait_for("document.querySelectorAll('figure img').length === 6")
