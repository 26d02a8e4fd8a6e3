"""Pages of the site that are made from other files: README, CONTRIBUTING, the commands, the settings.

MkDocs calls the functions named ``on_...`` (mkdocs.yml names this file). Links between pages stay right wherever a page
comes from, and those to files that the site does not have are left to MkDocs, which reports them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.hooks.commands import commands_page
from docs.hooks.docstrings import mathml
from docs.hooks.settings import settings_page

REPO = Path(__file__).parents[2]

# A file of the repository -> its place on the site.
BROUGHT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "LICENSE": "LICENSE.txt",
    "CITATION.cff": "CITATION.cff",
}


def site_place(path: str) -> str | None:
    """Return where a file of the repository lies on the site; None: nowhere.

    >>> site_place("README.md"), site_place("docs/studies.md"), site_place("docs"), site_place("Makefile")
    ('index.md', 'studies.md', 'index.md', None)
    """
    if path == "docs":
        return "index.md"
    return BROUGHT.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)


def move_links(text: str, path: str) -> str:
    """Return a page's Markdown with the relative links as its place on the site needs them.

    Args:
        text: The page.
        path: Of its file, below the repository.

    >>> move_links("[a](docs/studies.md#x), [b](LICENSE), [c](https://example.org)", "README.md")
    '[a](studies.md#x), [b](LICENSE.txt), [c](https://example.org)'
    >>> move_links("[README](../../README.md)", "docs/how-to/train.md")
    '[README](../index.md)'
    """
    folder = PurePosixPath(path).parent
    place = site_place(path) or path

    def move(link: re.Match[str]) -> str:
        target, anchor = link["target"], link["anchor"] or ""
        end = site_place(os.path.normpath(folder / target)) if target else None
        if end is None or ":" in target:
            return link[0]
        return f"]({os.path.relpath(end, PurePosixPath(place).parent)}{anchor})"

    return re.sub(r"\]\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)", move, text)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {place: (REPO / path).read_text() for path, place in BROUGHT.items()}
    made["reference/cli.md"] = commands_page()
    made["reference/settings.md"] = settings_page()
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Move the page's links, and draw its formulas."""
    of = {place: path for path, place in BROUGHT.items()}
    moved = move_links(markdown, of.get(page.file.src_uri, f"docs/{page.file.src_uri}"))
    return re.sub(r"^\$\$(.+?)\$\$$", lambda formula: mathml(formula[1]), moved, flags=re.DOTALL | re.MULTILINE)
