"""README and docs name only what is there: links, files, commands with their options, make's targets."""

import re
import shutil
from pathlib import Path

import pytest
import typer

from covidmt.cli import app
from tests.conftest import REPO

PAGES = sorted([*REPO.glob("*.md"), *REPO.glob("docs/*.md"), *REPO.glob("benchmarks/*.md")])
ROOT = typer.main.get_command(app)
ROOMS = "benchmarks|callbacks|covidmt|datamodules|docs|experiments|explain|lightning_modules|metrics|tests"


def test_there_are_pages():
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "studies.md", "comparing.md"} <= {p.name for p in PAGES}


def _code(page: Path) -> list[str]:
    """Lines of code blocks, and what stands between single backticks."""
    text = page.read_text()
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, flags=re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line for block in blocks for line in block.splitlines()] + inline


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("https://", "http://", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_are_there(page: Path):
    for code in _code(page):
        for path in re.findall(rf"(?<![\w/.])(?:{ROOMS})/[\w./-]+\.(?:py|yaml|md|csv|sh|html|ckpt)\b", code):
            assert (REPO / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_are_there(page: Path):
    for line in _code(page):
        for call in re.findall(r"(?:^|\s)covidmt ((?:[^#|&;]|\|(?=\S))*)", line):
            words = call.split()
            command = ROOT
            while words and hasattr(command, "commands") and not words[0].startswith("-"):
                name = words.pop(0).rstrip(".,:)")
                if name == "...":
                    break
                assert name in command.commands, line
                command = command.commands[name]
            options = {option for parameter in command.params for option in parameter.opts} | {"--help", "--debug"}
            used = {word.strip("[].,:;)").partition("=")[0] for word in words if re.match(r"\[?--[a-z]", word)}
            assert used <= options, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_are_there(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), flags=re.MULTILINE))
    for line in _code(page):
        for target in re.findall(r"(?:^|\s)make ([a-z-]+)", line):
            assert target in targets, line


def test_the_readmes_python_runs(demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (code,) = re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(), flags=re.DOTALL)
    (tmp_path / "demo-data").symlink_to(demo_data)
    shutil.copy(next((demo_data / "rsna" / "stage_2_train_images").glob("*.dcm")), tmp_path / "film.dcm")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["received"].shape == names["image"].shape  # the phone makes small films no smaller
    assert {"covidmt", "experiment", "data", "module"} <= names.keys()
