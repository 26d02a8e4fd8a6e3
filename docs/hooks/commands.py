"""The page of the command line, from the commands themselves by typer's own writer."""

from __future__ import annotations

import re

import typer
from typer.cli import get_docs_for_click  # of `typer ... utils docs`; typer 0.29 has no public function for it

from covidmt.cli import command_line


def commands_page() -> str:
    """Return every command with its arguments and options, in Markdown."""
    command = command_line()
    context = typer.Context(command, info_name="covidmt")
    text = get_docs_for_click(obj=command, ctx=context, name="covidmt", title="The command line")

    # groups list their commands with shortened helps
    for group in (command, *command.commands.values()):
        for name, member in getattr(group, "commands", {}).items():
            first = (member.help or "").splitlines()[0]
            text = re.sub(rf"^\* `{name}`: .*$", lambda _, n=name, f=first: f"* `{n}`: {f}", text, flags=re.MULTILINE)

    # what stands in angle brackets would be HTML: <image stem>.png
    lines = [line if line.startswith(("$", "#")) else _escape(line) for line in text.splitlines()]
    return "\n".join(lines)


def _escape(line: str) -> str:
    """Return a line without HTML, code in it aside."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)
