"""HTML pages that need no other file: the templates, and plots and pictures inside the page."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from covidmt.pages.style import Plot, page_style


class PageFigure(NamedTuple):
    """A figure in a page.

    Attributes:
        uri: The picture itself, as a data URI.
        title: What it shows.
        caption: How to read it.
        wide: It takes the page's whole width.
    """

    uri: str
    title: str
    caption: str
    wide: bool = False


def page_environment() -> Environment:
    """Return the environment of the templates in ``covidmt/templates``.

    What goes into a page is escaped, and a name that it lacks is an error.

    Example:
        >>> page_environment().from_string("<b>{{ name }}</b>").render(name="<script>")
        '<b>&lt;script&gt;</b>'
    """
    environment = Environment(
        loader=PackageLoader("covidmt"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code_words
    return environment


def code_words(text: str) -> Markup:
    """Return a text for a page, what stands between backticks as code; the filter ``code`` of the templates.

    Example:
        >>> code_words("`covidmt report` adjusts; a < b")
        Markup('<code>covidmt report</code> adjusts; a &lt; b')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def fold_sections(page: str, opened: int = 2) -> str:
    r"""Return a page with a table of contents, its sections foldable; the first ones are open.

    A section begins with ``<h2>`` and ends before the next one, ``<footer>`` or the end. A link of the contents opens
    its section. On paper all are open.

    Args:
        page: HTML; sections do not stand inside of anything.
        opened: How many sections are open.

    Example:
        >>> page = fold_sections("<h1>Report</h1>\n<h2>First</h2>\n<p>a</p>\n<h2>Second</h2>\n<p>b</p>", opened=1)
        >>> print(page)
        <h1>Report</h1>
        <nav><a href="#section-1">First</a> <a href="#section-2">Second</a>
        <span>A click opens a section.</span></nav>
        <details class="section" open><summary><h2>First</h2></summary>
        <div id="section-1"></div>
        <p>a</p>
        </details>
        <details class="section"><summary><h2>Second</h2></summary>
        <div id="section-2"></div>
        <p>b</p></details>
    """
    head, *sections = page.split("<h2>")
    if not sections:
        return page
    sections[-1], mark, end = _split_end(sections[-1])

    links, folded = [], []
    for number, section in enumerate(sections, start=1):
        title, _, text = section.partition("</h2>")
        links.append(f'<a href="#section-{number}">{title}</a>')
        is_open = " open" if number <= opened else ""
        summary = f'<details class="section"{is_open}><summary><h2>{title}</h2></summary>'
        folded.append(f'{summary}\n<div id="section-{number}"></div>{text}</details>')
    hint = "\n<span>A click opens a section.</span>" if len(sections) > opened else ""
    return "".join([head, f"<nav>{' '.join(links)}{hint}</nav>\n", "\n".join(folded), mark, end])


def _split_end(section: str) -> tuple[str, str, str]:
    """Return what is of the last section, and what stands behind it."""
    for mark in ("<footer", "</body>"):
        if mark in section:
            return section.partition(mark)
    return section, "", ""


def data_uri(kind: str, content: bytes) -> str:
    """Return a picture as a URI that holds the picture itself.

    Args:
        kind: Of image, as in its media type: ``png``, ``svg+xml``.
        content: The picture's file.

    Example:
        >>> data_uri("png", b"abc")
        'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def save_plot(path: Path, plot: Plot) -> PageFigure:
    """Save a plot as PNG, and return it for a page."""
    with page_style():
        plot.figure.savefig(path, dpi=150)
    return PageFigure(data_uri("png", path.read_bytes()), plot.title, plot.caption, plot.wide)


def save_picture(path: Path, pixels: np.ndarray, title: str, caption: str, *, wide: bool = False) -> PageFigure:
    """Save a picture as PNG, and return it for a page, as a WebP of a tenth of the size.

    Args:
        path: The PNG file.
        pixels: (height, width, 3) uint8 RGB.
        title: What it shows.
        caption: How to read it.
        wide: It takes the page's whole width.
    """
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.save(path)
    image.save(buffer, format="webp", quality=80)
    return PageFigure(data_uri("webp", buffer.getvalue()), title, caption, wide)
