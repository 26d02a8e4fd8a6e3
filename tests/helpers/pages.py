"""The documentation's pages, and the blocks of code in them.

A comment before a block, ``<!-- test: run WORDS -->``, has the slow tests run it, in the page's order and with what the
page's earlier blocks have made. The words are added to its commands, so that they are done soon: ``key=value`` to those
that take overrides, options to those that know them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer
from markdown_it import MarkdownIt

from covidmt.cli import app
from tests.conftest import REPO

ROOT = typer.main.get_command(app)
PAGES = sorted([*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), *REPO.glob("benchmarks/*.md")])


class Block(NamedTuple):
    """A block of code.

    Attributes:
        page: Its page.
        line: Where it begins there.
        language: As it says.
        text: The code.
        run: What its tests add to the commands; None: it is checked, and not run.
    """

    page: Path
    line: int
    language: str
    text: str
    run: list[str] | None

    @property
    def name(self) -> str:
        """As a test's name."""
        return f"{self.page.relative_to(REPO).with_suffix('')}:{self.line}"


class Command(NamedTuple):
    """A command of covidmt with its arguments, as a block has it.

    Attributes:
        words: What stands behind ``covidmt``.
        path: The command and the groups that it is in.
        parameters: What the command line's own parser makes of the words; empty: a page of help.
    """

    words: list[str]
    path: list[str]
    parameters: dict[str, Any]


def blocks(page: Path, *languages: str) -> list[Block]:
    """A page's blocks of these languages, or all."""
    run, result = None, []
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        if token.type == "html_block":
            said = re.fullmatch(r"<!-- test: run(.*)-->", token.content.strip())
            run = shlex.split(said[1]) if said else None
        elif token.type == "fence":
            result.append(Block(page, (token.map or [0])[0] + 1, token.info, token.content, run))
            run = None
        elif token.nesting >= 0:
            run = None
    return [block for block in result if not languages or block.language in languages]


def statements(shell: str) -> Iterator[list[str]]:
    """The words of each simple command in a shell's text."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set(";&|"):
                yield words
                words = []
            else:
                words.append(word)
        if words:
            yield words


def covidmt_words(statement: list[str]) -> list[str] | None:
    """What stands behind ``covidmt``, or behind a container of it that is run; None: it is another program.

    A variable of the shell counts as the number that it is.
    """
    for place, word in enumerate(statement):
        container = "run" in statement[:place] and re.fullmatch(r"covidmt(:\w+|\.sif)", word)
        if word == "covidmt" or container:
            return [re.sub(r"\$\w+", "0", word) for word in statement[place + 1 :]]
    return None


def parse(words: list[str]) -> Command:
    """Read a command as the command line does; what it refuses is an error here."""
    command, path, rest = ROOT, [], list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        path.append(rest.pop(0))
        command = command.commands[path[-1]]
    if hasattr(command, "commands") or rest == ["--help"]:
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert rest, f"{words}: is a group of commands"
        assert set(rest) <= known, words
        return Command(words, path, {})
    arguments = [word for word in rest if word != "--debug"]
    return Command(words, path, command.make_context(" ".join(path), arguments).params)


def lengthen(command: Command, extra: list[str]) -> list[str]:
    """The command's words with what a block's comment adds: overrides and options, where it knows them."""
    known = ROOT
    for name in command.path:
        known = known.commands[name]
    options = {option for parameter in known.params for option in parameter.opts}
    words, rest = list(command.words), list(extra)
    while rest:
        word = rest.pop(0)
        value = [rest.pop(0)] if word.startswith("--") and rest and not rest[0].startswith("--") else []
        if word in options or ("=" in word and "overrides" in command.parameters):
            words += [word, *value]
    return words
