"""Our docstrings as the site's reader of them (griffe) needs them.

It knows a section ``Examples``, where we write ``Example`` or end with the example alone, and Markdown, where we write
Sphinx's roles and formulas.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from griffe import Extension, Object
from latex2mathml.converter import convert


def to_markdown(text: str) -> str:
    r"""Return a docstring with its examples in a section of their own, and with Markdown for Sphinx's marks.

    >>> to_markdown("Add.\n\nSee :class:`.Sum`.\n\n>>> 1 + 1\n2").splitlines()
    ['Add.', '', 'See `Sum`.', '', 'Examples:', '    >>> 1 + 1', '    2']
    """
    text = inspect.cleandoc(text)
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text)
    text = re.sub(r"^\.\. math::\s*((?:.*\n?)(?:[ ]{4}.*\n?)*)", _formula, text, flags=re.MULTILINE)
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    if re.search(r"^Examples:$", text, flags=re.MULTILINE):
        return text

    # the example alone, at the end
    text, mark, example = text.partition("\n>>> ")
    return f"{text}\nExamples:\n" + _indented(f">>> {example}") if mark else text


def _formula(match: re.Match[str]) -> str:
    return mathml(inspect.cleandoc("    " + match[1])) + "\n"


def mathml(latex: str) -> str:
    r"""Return a formula as browsers draw it by themselves: a page needs no script from elsewhere.

    >>> mathml(r"\frac{1}{N}").startswith('<div><math xmlns="http://www.w3.org/1998/Math/MathML" display="block">')
    True
    """
    return f"<div>{convert(latex.strip(), display='block')}</div>\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


class Docstrings(Extension):
    """Changes docstrings as they are read."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Change one object's docstring."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
