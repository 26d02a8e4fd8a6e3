"""README and docs name only what is there, and their blocks of code are right: links, files, commands, settings.

Blocks that a comment marks are run by the slow tests at the end (`tests.helpers.pages`).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from experiments.load import SHIPPED, load_experiment, load_lungs_experiment, load_pretrain_experiment
from experiments.trainer.arguments import check_arguments
from experiments.trials import load_sweep
from tests.conftest import REPO
from tests.helpers.pages import PAGES, ROOT, Block, Command, blocks, covidmt_words, lengthen, parse, statements

ROOMS = "benchmarks|callbacks|covidmt|datamodules|docs|experiments|explain|lightning_modules|metrics|tests"
LANGUAGES = {"bash", "python", "yaml", "text"}
PROGRAMS = {
    *("covidmt", "make", "python", "uv", "docker", "apptainer", "srun", "torchrun", "exec", "pre-commit", "curl"),
    *(".", "cd", "export", "source", "tests/cluster/slurm.sh"),
}
# What is spelt otherwise in British English, and what begins with it.
AMERICAN = (
    *("analyz", "behavior", r"center(?!\w)", "color", "favorite", "fulfill", "gray", "labeled", "modeling", "neighbor"),
    *("initializ", "localiz", "minimiz", "normaliz", "organiz", "recogniz", "regulariz", "summariz", "visualiz"),
)

SHELL = [block for page in PAGES for block in blocks(page, "bash")]
YAML = [block for page in PAGES for block in blocks(page, "yaml")]
STORIES = [page for page in PAGES if any(block.run is not None for block in blocks(page))]
PYTHON = [page for page in PAGES if blocks(page, "python") and page not in STORIES]


def named(item: Block | Path) -> str:
    return item.name if isinstance(item, Block) else str(item.relative_to(REPO))


each_page = pytest.mark.parametrize("page", PAGES, ids=named)


def test_there_are_pages_and_blocks():
    names = {str(page.relative_to(REPO)) for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "docs/studies.md", "docs/tutorials/first_run.md"} <= names
    assert len(SHELL) > 30
    assert len(YAML) > 8
    assert len(STORIES) >= 4
    assert len(PYTHON) >= 3


def test_the_readme_is_short():
    assert len((REPO / "README.md").read_text().splitlines()) <= 150


@each_page
def test_blocks_name_a_language_that_is_checked(page: Path):
    for block in blocks(page):
        assert block.language in LANGUAGES, block.name
        assert block.run is None or block.language == "bash", f"{block.name}: python is run anyway"


def _code(page: Path) -> list[str]:
    """Lines of code blocks, and what stands between single backticks."""
    text = page.read_text()
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line for block in blocks(page) for line in block.text.splitlines()] + inline


@each_page
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("https://", "http://", "#")):
            path = (page.parent / target.partition("#")[0]).resolve()
            made = path.is_relative_to(REPO / "docs" / "reference") and path.stem in ("cli", "settings")
            assert made or path.exists(), target


@each_page
def test_files_are_there(page: Path):
    for code in _code(page):
        for path in re.findall(rf"(?<![\w/.])(?:{ROOMS})/[\w./-]+\.(?:py|yaml|md|csv|sh|html|ckpt)\b", code):
            assert (REPO / path).exists(), path


@each_page
def test_commands_and_their_options_are_there(page: Path):
    for line in _code(page):
        for call in re.findall(r"(?:^|\s)covidmt ((?:[^#|&;]|\|(?=\S))*)", line):
            words = call.split()
            command = ROOT
            while words and hasattr(command, "commands") and not words[0].startswith("-"):
                name = words.pop(0).rstrip(".,:)")
                if name in ("...", "COMMAND"):
                    break
                assert name in command.commands, line
                command = command.commands[name]
            options = {option for parameter in command.params for option in parameter.opts} | {"--help", "--debug"}
            used = {word.strip("[].,:;)").partition("=")[0] for word in words if re.match(r"\[?--[a-z]", word)}
            assert used <= options, line


@each_page
def test_targets_are_there(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), flags=re.MULTILINE))
    for line in _code(page):
        for target in re.findall(r"(?:^|\s)make ([a-z-]+)", line):
            assert target in targets, line


@each_page
def test_pages_are_in_british_english(page: Path):
    text = re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|<[^>]*>", " ", page.read_text(), flags=re.DOTALL)
    text = re.sub(r'NIH Clinical Center|"[^"\n]*"', "", text)  # a name; what a paper is called
    american = re.findall(rf"\b(?:{'|'.join(AMERICAN)})\w*", text, flags=re.IGNORECASE)
    assert not american


def _write_yaml(block: Block, folder: Path) -> Path:
    """Write a block where its first line says, else as ``block.yaml``."""
    name = re.match(r"# (\S+\.yaml)\n", block.text)
    path = folder / (name[1] if name else "block.yaml")
    path.write_text(block.text)
    return path


def _load(command: Command) -> None:
    """Load the experiment or sweep that a command names, with its overrides; a mistake is a UserError."""
    overrides = command.parameters.get("overrides") or []
    match command.path:
        case ["train"] | ["data", "check" | "cache"]:
            check_arguments(load_experiment(command.parameters["experiment"], overrides).trainer)
        case ["sweep", "run"]:
            load_sweep(command.parameters["sweep"], overrides)
        case ["pretrain"]:
            load_pretrain_experiment(command.parameters["experiment"], overrides)
        case ["lungs", "train" | "cross-validate"]:
            load_lungs_experiment(command.parameters["experiment"], overrides)
        case ["lungs", "score"] if command.parameters["images"].endswith(".yaml"):
            load_lungs_experiment(command.parameters["images"], command.parameters["masks"])
        case ["evaluate" | "probe"]:
            settings = [text for text in overrides if "=" in text]  # a probe's shots stand among them
            load_experiment(SHIPPED / "covidmt_resnet50.yaml", settings)


@pytest.mark.parametrize("block", SHELL, ids=named)
def test_shell_blocks_are_right(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for page_block in blocks(block.page, "yaml"):
        _write_yaml(page_block, tmp_path)
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    script = re.search(r"^(for|while) ", block.text, flags=re.MULTILINE)  # its parts are no commands by themselves
    for statement in statements(block.text) if not script else ():
        program = next(word for word in statement if not re.match(r"[A-Z_]+=", word))
        assert program.removeprefix(".venv/bin/") in PROGRAMS, statement
        words = covidmt_words(statement)
        if words is not None:
            _load(parse(words))
        for script in (REPO / word for word in statement if word.startswith("benchmarks/")):
            for option in (word for word in statement if word.startswith("--")):
                assert f'"{option}"' in script.read_text(), statement


@pytest.mark.parametrize("block", YAML, ids=named)
def test_yaml_blocks_are_right(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path, values = _write_yaml(block, tmp_path), yaml.safe_load(block.text)
    if "experiment" in values:
        load_sweep(path)
    elif "apiVersion" in values:
        (container,) = values["spec"]["template"]["spec"]["containers"]
        (statement,) = statements(container["command"][-1])
        _load(parse(covidmt_words(statement)))
    else:
        check_arguments(load_experiment(path).trainer)


def _prepare(folder: Path, demo_data: Path) -> None:
    """What python blocks find where they run: the made-up data, a film."""
    shutil.copy(next((demo_data / "rsna" / "stage_2_train_images").glob("*.dcm")), folder / "film.dcm")


@pytest.mark.parametrize("page", PYTHON, ids=named)
def test_python_blocks_run(page: Path, demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _prepare(tmp_path, demo_data)
    (tmp_path / "demo-data").symlink_to(demo_data)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block.text, block.name, "exec"), names)
    if page.name == "README.md":
        assert names["received"].shape == names["image"].shape  # the phone makes small films no smaller
        assert {"covidmt", "experiment", "data", "module"} <= names.keys()


def _newest_run() -> str:
    runs = [path for path in Path("mlruns/checkpoints").glob("*") if list(path.glob("*.ckpt"))]
    return max(runs, key=lambda path: path.stat().st_mtime_ns).name if runs else "RUN"


@pytest.mark.slow
@pytest.mark.parametrize("page", STORIES, ids=named)
def test_stories_run(page: Path, demo_data: Path, tmp_path: Path, covidmt: Callable[..., int]):
    _prepare(tmp_path, demo_data)
    names: dict[str, object] = {}
    for block in blocks(page):
        text = re.sub(r"\bRUN\b", _newest_run(), block.text)
        if block.language == "python":
            exec(compile(text, block.name, "exec"), names)
        elif block.language == "yaml":
            _write_yaml(block, Path.cwd())
        for statement in statements(text) if block.run is not None else ():
            words = covidmt_words(statement)
            assert words is not None, f"{block.name}: is no command of covidmt"
            status = covidmt(*lengthen(parse(words), block.run or []))
            assert status == 0, f"{block.name}: {' '.join(statement)}"


def test_a_comment_adds_what_a_command_knows():
    command = parse(["train", "experiments/demo.yaml"])
    assert lengthen(command, ["seed=1", "--poses", "0"]) == ["train", "experiments/demo.yaml", "seed=1"]
    check = parse(["data", "check", "x.yaml"])
    assert lengthen(check, ["--poses", "0", "seed=1"]) == ["data", "check", "x.yaml", "--poses", "0", "seed=1"]
    assert lengthen(parse(["data", "demo", "x"]), ["seed=1"]) == ["data", "demo", "x"]


@pytest.mark.parametrize(
    "shell",
    [
        "covidmt trian experiments/demo.yaml",
        "covidmt train",
        "covidmt train experiments/demo.yaml --resum never",
        "covidmt train experiments/demo.yaml data.image_sise=64",
        "covidmt train experiments/demo.yaml trainer.devises=2",
        "covidmt sweep run experiments/sweeps/none.yaml",
        "covidmt evaluate RUN data.rot=/data",
        "srun covidmt --verbos",
    ],
)
def test_a_wrong_command_is_noticed(shell: str):
    (statement,) = statements(shell)
    with pytest.raises((Exception, AssertionError)):
        _load(parse(covidmt_words(statement) or []))


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path):
    command = [str(REPO / ".venv/bin/python"), "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        command, cwd=REPO, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    for page in ("index", "reference/cli", "reference/settings", "reference/python", "contributing", "statistics"):
        assert (tmp_path / "site" / f"{page}.html").stat().st_size > 5000, page
