"""Pages that need no other file."""

import base64
import io
import re
from pathlib import Path

import jinja2
import numpy as np
import pytest
from PIL import Image

from covidmt.pages.html import data_uri, fold_sections, page_environment, save_picture, save_plot
from covidmt.pages.style import Plot, new_figure
from tests.helpers.chromium import BROWSER, phone


def content(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])


def test_pages_escape_what_goes_in_and_miss_nothing():
    page = page_environment().from_string("{{ name }}")
    assert page.render(name="<a>") == "&lt;a&gt;"
    with pytest.raises(jinja2.UndefinedError):
        page.render()


def test_backticks_become_code_and_names_stay_harmless():
    page = page_environment().from_string("{{ text | code }}")
    assert page.render(text="`covidmt report` of <b>, `a<b`, `") == (
        "<code>covidmt report</code> of &lt;b&gt;, <code>a&lt;b</code>, `"
    )


def test_sections_fold_and_the_contents_lead_to_them():
    page = fold_sections("<body>\n<h1>t</h1>\n<h2>A</h2>a<h2>B &amp; b</h2>b<h2>C</h2>c<footer>end</footer></body>")
    assert re.findall(r'<a href="#(section-\d)">(.*?)</a>', page) == [
        ("section-1", "A"), ("section-2", "B &amp; b"), ("section-3", "C"),
    ]  # fmt: skip
    assert re.findall(r'<div id="(section-\d)">', page) == ["section-1", "section-2", "section-3"]
    assert page.count('<details class="section" open>') == 2
    assert page.count("<details") == page.count("</details>") == 3
    assert page.endswith("c</details><footer>end</footer></body>")
    assert fold_sections("<body><h2>A</h2>a</body>", opened=0).endswith("a</details></body>")
    assert "<details" not in fold_sections("<body></body>")


def test_a_data_uri_holds_the_file():
    assert data_uri("svg+xml", b"<svg/>").startswith("data:image/svg+xml;base64,")
    assert content(data_uri("png", b"\x00\xff")) == b"\x00\xff"


def test_a_plot_is_a_file_and_the_same_in_the_page(tmp_path: Path):
    figure, _ = new_figure((2, 1))
    shown = save_plot(tmp_path / "a.png", Plot(figure, "title", "caption", wide=True))
    assert content(shown.uri) == (tmp_path / "a.png").read_bytes()
    assert Image.open(tmp_path / "a.png").size == (300, 150)
    assert shown[1:] == ("title", "caption", True)


def test_a_picture_is_exact_in_its_file_and_small_in_the_page(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    shown = save_picture(tmp_path / "a.png", pixels, "title", "caption")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    page = Image.open(io.BytesIO(content(shown.uri)))
    assert (page.format, page.size) == ("WEBP", (30, 20))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_on_paper_headings_stay_with_what_they_head_and_pictures_lie_side_by_side(tmp_path: Path):
    body = """<h2>A</h2><p id="before">p</p><div class="plots"><figure id="a">a</figure><figure id="b">b</figure></div>
        <h3>Scores</h3><div class="scroll"><table><tr><th>x</th></tr><tr><td>1</td></tr></table></div>"""
    template = (
        f'{{% extends "base.html" %}}{{% block title %}}t{{% endblock %}}{{% block body %}}{body}{{% endblock %}}'
    )
    (tmp_path / "page.html").write_text(fold_sections(page_environment().from_string(template).render(), opened=0))
    with phone(tmp_path / "profile") as tab:
        tab.open((tmp_path / "page.html").as_uri())
        tab.call("Emulation.setEmulatedMedia", media="print")
        for selector in ("summary", "#before", "h3", "tr"):
            style = f"getComputedStyle(document.querySelector('{selector}')).breakAfter"
            assert tab.evaluate(style) == "avoid", selector
        first, second = (f"document.querySelector('#{name}').getBoundingClientRect()" for name in "ab")
        assert tab.evaluate(f"{first}.right < {second}.left && {first}.top === {second}.top")
