"""Pages that need no other file."""

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
import pytest
from PIL import Image

from covidmt.pages.html import data_uri, page_environment, save_picture, save_plot
from covidmt.pages.style import Plot, new_figure


def content(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])


def test_pages_escape_what_goes_in_and_miss_nothing():
    page = page_environment().from_string("{{ name }}")
    assert page.render(name="<a>") == "&lt;a&gt;"
    with pytest.raises(jinja2.UndefinedError):
        page.render()


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
