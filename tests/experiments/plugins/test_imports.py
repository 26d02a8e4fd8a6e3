import sys
from pathlib import Path

import pytest

from experiments.plugins.imports import import_user_module, make_importable, user_files
from tests.helpers.modules import write_module


def test_chosen_modules_and_what_they_import_are_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    layers = write_module(tmp_path, "WIDTH = 3")
    other = write_module(tmp_path, "")
    package = tmp_path / f"{layers}_package"
    package.mkdir()
    for file in ("__init__.py", "later.py", "weights.txt"):
        (package / file).write_text("")
    net = write_module(tmp_path, f"import {layers}, {package.name}")
    make_importable(tmp_path)
    import_user_module(net)

    places = {place for path, place in user_files().items() if path.is_relative_to(tmp_path)}
    wanted = {f"{layers}.py", f"{net}.py", *(f"{package.name}/{each}" for each in ("__init__.py", "later.py"))}
    assert wanted | {f"{package.name}/weights.txt"} == places
    assert f"{other}.py" not in places
