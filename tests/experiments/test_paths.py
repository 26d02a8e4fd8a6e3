from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.paths import absolute, expand


def test_the_home_folder_is_put_in_place(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert expand("~/cxr") == absolute("~/cxr") == Path("/home/someone/cxr")


def test_a_relative_path_starts_at_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert (expand("cxr"), absolute("cxr"), absolute("/cxr")) == (Path("cxr"), tmp_path / "cxr", Path("/cxr"))


def test_an_unknown_user_has_no_home_folder():
    with pytest.raises(UserError, match="~nosuchuser/cxr: its '~' stands for no home folder here"):
        absolute("~nosuchuser/cxr")
