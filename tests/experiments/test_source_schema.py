from pathlib import Path

import pytest

from experiments.load import to_dict
from experiments.source_schema import Source, source_class, source_kinds


def test_a_kind_is_named_by_its_class():
    kinds = source_kinds()
    assert [source_class(kind, "kind")().kind for kind in kinds] == kinds
    assert {"covidx", "rsna", "nih", "wacxr", "csv", "folder", "pairs", "chexpert", "vindr"} <= set(kinds)


def test_a_sources_folder_is_absolute_and_its_root_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    source = Source("nih", root="cxr/nih")
    assert source.folder == tmp_path / "cxr/nih"
    assert to_dict(source) == {"kind": "nih", "root": "cxr/nih"}
