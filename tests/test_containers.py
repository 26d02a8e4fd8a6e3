"""Dockerfile and apptainer.def: what they copy is there and suffices, and they install what `make env` installs."""

import re
import subprocess
import tomllib
from pathlib import Path

from covidmt.rooms import ROOMS
from tests.conftest import REPO

DOCKER = (REPO / "Dockerfile").read_text()
APPTAINER = (REPO / "apptainer.def").read_text()
NEEDED = {*ROOMS, "constraints.txt", "pyproject.toml", "README.md", "LICENSE"}


def _sections() -> dict[str, str]:
    parts = re.split(r"^%(\w+)\n", APPTAINER, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_both_copy_all_that_is_packaged_and_nothing_else():
    copied = {word for line in re.findall(r"^COPY (.*)", DOCKER, flags=re.MULTILINE) for word in line.split()[:-1]}
    files = {line.split()[0] for line in _sections()["files"].split("\n") if line.strip()}
    assert copied == files == NEEDED
    assert all((REPO / name).exists() for name in NEEDED)
    metadata = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert {metadata["readme"], *metadata["license-files"]} <= NEEDED


def test_the_build_sees_what_is_copied():
    lines = (REPO / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == NEEDED


def test_both_install_as_make_does():
    make = (REPO / "Makefile").read_text()
    for text in (DOCKER, _sections()["post"]):
        assert "python -m pip install --no-cache-dir --constraint constraints.txt uv" in text
        assert "uv pip install --system" in text
        assert "--constraint constraints.txt" in text
        assert "--torch-backend" in text
        assert "--torch-backend" in make


def test_their_shell_is_right(tmp_path: Path):
    runs = re.findall(r"^RUN ((?:.*\\\n)*.*)$", DOCKER, flags=re.MULTILINE)
    assert len(runs) == 2
    scripts = [*runs, *(_sections()[name] for name in ("post", "environment", "runscript", "test"))]
    for script in scripts:
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_the_backend_is_passed_on_only_where_it_is_named():
    (line,) = re.findall(r"\$\{TORCH:\+.*?\}\}?", DOCKER)
    for torch, words in (("", ""), ("cpu", "--torch-backend cpu")):
        said = subprocess.run(["sh", "-c", f"echo {line} "], env={"TORCH": torch}, capture_output=True, text=True)
        assert said.stdout.strip() == words

    choose = re.search(r"    backend=\n.*\n", _sections()["post"])
    for torch, words in (("auto", ""), ("cpu", "--torch-backend cpu")):
        script = choose[0].replace("{{ TORCH }}", torch) + 'echo "$backend"'
        said = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
        assert said.stdout.strip() == words
