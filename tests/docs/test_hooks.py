"""The pages of the site that are made: nothing is missing on them, and what is said of it stands there."""

import doctest
from dataclasses import fields, is_dataclass

import pytest

from docs.hooks import commands, docstrings, pages, settings
from experiments.pairs.schema import Pairs
from experiments.schema import Augment, Experiment
from experiments.sweep_schema import Launcher
from tests.helpers.pages import ROOT


@pytest.mark.parametrize("module", [commands, docstrings, pages, settings], ids=lambda module: module.__name__)
def test_examples(module):
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed == 0


def test_every_command_and_option_is_on_its_page():
    page = commands.commands_page()
    for name, command in ROOT.commands.items():
        members = getattr(command, "commands", {name: command})
        for member, leaf in members.items():
            words = [name] if leaf is command else [name, member]
            _, heading, rest = page.partition(f"\n## `covidmt {' '.join(words)}`\n")
            if not heading:
                _, heading, rest = page.partition(f"\n### `covidmt {' '.join(words)}`\n")
            assert heading, words
            section = rest.partition("\n## ")[0].partition("\n### ")[0]
            assert leaf.help.splitlines()[0].split("<")[0] in section
            for parameter in leaf.params:
                assert not parameter.opts[0].startswith("--") or parameter.opts[0] in section, (words, parameter.opts)


def test_a_help_has_no_html():
    assert "<image stem>" not in commands.commands_page()


def test_every_setting_is_on_its_page():
    page = settings.settings_page()
    for section in fields(Experiment):
        assert f"`{section.name}" in page
    for item in fields(Launcher):
        assert f"| `launcher.{item.name}` |" in page
    for kind, cls in settings.own_sources().items():
        section = page.partition(f"### kind: {kind}\n")[2].partition("### ")[0]
        for item in fields(cls):
            assert item.name == "kind" or f"| `{item.name}` |" in section, (kind, item.name)


def test_a_setting_has_its_default_its_bounds_and_what_is_said_of_it():
    rows = {key: (default, text) for key, default, text in settings.rows(Experiment)}
    assert rows["robustness.eta"][0] == "`0.4`"
    assert "above 0" in rows["robustness.eta"][1]
    assert rows["data.num_workers"][0] == "`4`"
    assert "PI over so many draws" in rows["data.pairs.draws"][1]  # its class's docstring
    assert "degrees" in rows["data.augment.rotate"][1]  # the comment behind it
    assert "of the patients left after" in rows["data.val_fraction"][1]  # the comment above it
    assert "`stratified`: the same, drawn class by class" in rows["data.split_policy"][1]
    assert rows["tasks.<name>.source"][0] == "required"


def test_comments_and_attributes_are_of_their_own_field():
    assert set(settings.attributes(Pairs)) <= {item.name for item in fields(Pairs)}
    assert settings.comments(Augment)["blur"].startswith("largest sigma")
    assert all(is_dataclass(cls) for cls in settings.ROOTS.values())


def test_pages_end_where_links_look_for_them():
    assert pages.move_links("[x](../statistics.md#a)", "docs/how-to/evaluate.md") == "[x](../statistics.md#a)"
    assert pages.move_links("[x](../../CONTRIBUTING.md)", "docs/how-to/evaluate.md") == "[x](../contributing.md)"
    assert pages.move_links("[x](docs/dicom.md), [y](#z)", "CONTRIBUTING.md") == "[x](dicom.md), [y](#z)"
    assert pages.move_links("[x](Makefile)", "README.md") == "[x](Makefile)"  # the site has none: MkDocs says so


def test_docstrings_keep_what_stands_before_an_example():
    text = docstrings.to_markdown("Add.\n\n.. math:: \\frac{a}{b}\n\nArgs:\n    a: One.\n\nExample:\n    >>> 1\n    1")
    assert "<mfrac>" in text
    assert "Args:\n    a: One." in text
    assert "Examples:\n    >>> 1" in text
