"""What a name means, and the one message where it means nothing."""

import sys
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.load import load_experiment
from experiments.plugins.choices import Choice
from experiments.plugins.registry import GROUPS, choose_function, find, instantiate, make, points
from tests.helpers.modules import write_module

DEMO = "experiments/demo.yaml"


@pytest.mark.parametrize("group", [group for group in GROUPS if points(group)])
def test_our_own_names_are_entry_points_that_load(group):
    for name in points(group):
        assert callable(find(group, name, "key"))


MISTAKES = {
    "model.backbone={name}_not_there.Net": ["there is no module '{name}_not_there'", "put {name}_not_there.py into"],
    "model.backbone={name}.Nett": ["{name}.py", "has no 'Nett'", "did you mean 'Net'?"],
    "model.backbone={name}.Net(widht=8)": ["has no argument 'widht'", "did you mean 'width'?"],
    "model.backbone={name}.NUMBER": ["it is a int"],
    "model.backbone={name}_broken.Net": ["NameError", "{name}_broken.py:2", "correct the file"],
    "model.backbone={name}_typo.Net": ["SyntaxError", "{name}_typo.py:1"],
    "model.backbone={name}_needs.Net": ["it imports 'nowhere_at_all', which is not installed", "{name}_needs.py:1"],
    "model.head={name}.Nett": ["model.head", "has no 'Nett'"],
    "tasks.covidx.kind={name}.Nett": ["tasks.covidx.kind", "has no 'Nett'"],
    "tasks.covidx.loss={name}.Nett": ["tasks.covidx.loss", "has no 'Nett'"],
    "tasks.covidx.loss=focal": ["tasks.covidx.loss", "no loss 'focal'"],
    "optimizer.name={name}.Nett": ["optimizer.name", "has no 'Nett'"],
    "robustness.engine={name}.Nett": ["robustness.engine", "has no 'Nett'"],
    "data.augment.extra=[{name}.Nett]": ["data.augment.extra[0]", "has no 'Nett'"],
    "data.masks.segmenter={name}.Nett": ["data.masks.segmenter", "has no 'Nett'"],
    "data.sources.covidx={{kind: {name}.Net, root: x}}": ["data.sources.covidx.kind", "has no method read"],
    "data.sources.covidx={{kind: {name}.Nett, root: x}}": ["data.sources.covidx.kind", "has no 'Nett'"],
}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, and broken ones beside it, in the working folder."""
    name = write_module(tmp_path, "class Net:\n    def __init__(self, width=1): ...\n\nNUMBER = 3\n")
    (tmp_path / f"{name}_broken.py").write_text("\nprint(nothing)\n")
    (tmp_path / f"{name}_typo.py").write_text("class Net(\n")
    (tmp_path / f"{name}_needs.py").write_text("import nowhere_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_imported_is_one_message(mistake: str, module: str):
    with pytest.raises(UserError) as error:
        load_experiment(DEMO, [mistake.format(name=module)])
    for words in MISTAKES[mistake]:
        assert words.format(name=module) in str(error.value), str(error.value)


def test_print_config_says_it_already(module: str, covidmt, capsys: pytest.CaptureFixture):
    assert covidmt("train", DEMO, f"model.backbone={module}.Nett", "--print-config") == 2
    assert "has no 'Nett'" in capsys.readouterr().err
    assert covidmt("train", DEMO, f"trainer.callbacks=[{module}.Nett]", "--print-config") == 2
    assert "trainer.callbacks[0]" in capsys.readouterr().err
    assert covidmt("train", DEMO, f"model.backbone={module}.Net(width=3)", "--print-config") == 0
    assert f"backbone: {module}.Net(width=3)" in capsys.readouterr().out


def test_the_yamls_folder_is_importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = write_module(tmp_path, "class Net: ...")
    (tmp_path / "mine.yaml").write_text(f"extends: {Path.cwd()}/{DEMO}\nmodel: {{backbone: {name}.Net}}\n")
    assert load_experiment(tmp_path / "mine.yaml").model.backbone == f"{name}.Net"


def test_nothing_of_the_users_hides_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "timm.py").write_text("raise RuntimeError('not this one')")
    (tmp_path / "mine.yaml").write_text(f"extends: {Path.cwd()}/{DEMO}\n")
    load_experiment(tmp_path / "mine.yaml")
    assert sys.path[-1] == str(tmp_path)


def test_objects_in_arguments_are_made():
    found = make(dict, Choice("builtins.dict", {"wait": {"class_path": "datetime.timedelta"}}), "key")
    assert type(found["wait"]).__name__ == "timedelta"
    assert instantiate({"a": [{"class_path": "collections.Counter"}]}, "key") == {"a": [{}]}


def test_a_function_keeps_its_arguments():
    assert choose_function("losses", "builtins.pow(exp=2, mod=5)", "key")(4) == 1
    with pytest.raises(UserError, match="cannot be called"):
        choose_function("losses", "collections.OrderedDict", "key")
