"""`covidmt init`: what it makes runs at once."""

import json
from pathlib import Path

import pytest

from tests.helpers.quick import QUICK, run

pytestmark = pytest.mark.slow


def test_a_new_project_trains(demo_data: Path, tmp_path: Path):
    run(tmp_path, "init", "mine")
    folder = tmp_path / "mine"
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "experiment.yaml", "mynets.py", "experiment.schema.json"),
    }
    assert json.loads((folder / "experiment.schema.json").read_text())["title"] == "covidmt: experiment"
    assert (folder / "README.md").read_text().startswith("# mine\n")

    (folder / "demo-data").symlink_to(demo_data)
    said = run(folder, "train", "experiment.yaml", *QUICK)
    assert "PI score" in said
    assert list(folder.glob("mlruns/checkpoints/*/best.ckpt"))


def test_no_folder_is_written_over(covidmt, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert covidmt("init", "mine") == 2
    assert "is there and not empty" in capsys.readouterr().err
