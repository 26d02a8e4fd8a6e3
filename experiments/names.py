"""Foreign names made harmless: file names, labels and patients that others chose, in messages, tables and CSV cells.

Also the terminal that results are printed on, which is safe from them.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

if TYPE_CHECKING:
    import pandas as pd

_WIDE = 1000  # columns, where no terminal shows them
_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what a spreadsheet runs, or a cell that was made harmless before


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with escapes in place of what would steer a terminal or break a line.

    These are control characters, escape sequences, line breaks, characters that turn the direction of writing, and
    bytes of a file name that are not UTF-8. Blanks of any width stay.

    Args:
        text: Anything, such as the name of a file.
        keep: Characters that stay as they are.

    Example:
        >>> print(printable("a\x1b[31mred\nline.png"))
        a\x1b[31mred\nline.png
        >>> printable("Röntgen 1.png")
        'Röntgen 1.png'
    """
    if text.isprintable():
        return text
    return "".join(letter if letter in keep or _is_harmless(letter) else _escape(letter) for letter in text)


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def name_key(name: str) -> str:
    r"""Return what two spellings of one file name have in common: case, and composed or decomposed letters aside.

    macOS writes ``ö`` as two characters, lists mostly as one; Windows and macOS do not tell ``A.PNG`` from ``a.png``.

    Example:
        >>> name_key("Ro\u0308ntgen.PNG") == name_key("RÖNTGEN.png")
        True
    """
    if name.isascii():  # nearly always
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def harmless_cell(text: str) -> str:
    """Return a CSV cell that no spreadsheet takes for a formula: an apostrophe before ``=``, ``+``, ``-`` and ``@``.

    :func:`restore_cell` takes it away again.

    Example:
        >>> harmless_cell("=1+1.png"), harmless_cell("film-1.png")
        ("'=1+1.png", 'film-1.png')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def restore_cell(text: str) -> str:
    """Return what a cell was before :func:`harmless_cell`.

    Example:
        >>> restore_cell("'=1+1.png"), restore_cell("film.png")
        ('=1+1.png', 'film.png')
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def harmless_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts are harmless cells; numbers, -0.5 too, stay numbers."""
    texts = table.select_dtypes(exclude=["number", "bool"]).columns
    cells = {name: [harmless_cell(cell) if isinstance(cell, str) else cell for cell in table[name]] for name in texts}
    return table.assign(**cells)


class Terminal(Console):
    r"""A console of rich on which foreign text cannot move the cursor, change colours or ring a bell.

    Rich's own styles and progress bars work as ever; control characters in printed text appear as escapes. In a file
    or pipe a table is as wide as it is, unless the environment has ``COLUMNS``.

    Example:
        >>> import io
        >>> screen = io.StringIO()
        >>> Terminal(file=screen).print("film\x1b]0;title\x07.png")
        >>> screen.getvalue()
        'film\\x1b]0;title.png\n'
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if not self.is_terminal and settings.get("width") is None and "COLUMNS" not in os.environ:
            self.width = _WIDE

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable, their text without control characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, keep="\n\t"))
