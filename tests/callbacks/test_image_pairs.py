"""Pairs for a foreign DataModule."""

import ast
import runpy
import shutil
from pathlib import Path

import lightning as L
import pytest

from callbacks.image_pairs import image_pairs, with_pairs
from experiments.errors import UserError
from tests.conftest import REPO


@pytest.fixture
def films(demo_data: Path, tmp_path: Path) -> list[Path]:
    """Four made-up films, two of each class."""
    paths = sorted((demo_data / "covidx" / "train").iterdir())[:4]
    for number, path in enumerate(paths):
        target = tmp_path / ("sick" if number % 2 else "well") / f"{path.stem}.png"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    return sorted(tmp_path.glob("*/*.png"))


def test_lungs_are_found_by_the_shipped_segmenter(films: list[Path]):
    pairs = image_pairs(films, [1, 1, 0, 0], 64)
    data = with_pairs(L.LightningDataModule(), val=pairs, batch_size=3)
    batches = list(data.pair_dataloader("val"))
    assert [len(batch.id) for batch in batches] == [3, 1]
    assert batches[0].lung.flatten(1).any(dim=1).all()
    assert (batches[0].original != batches[0].received).any()
    assert data.pair_dataloader("test") is None


def test_wrong_numbers_are_one_message(films: list[Path]):
    with pytest.raises(UserError, match="4 images, 1 labels"):
        image_pairs(films, [1], 64)


def test_the_example_takes_few_lines():
    tree = ast.parse((REPO / "examples" / "foreign_module.py").read_text())
    (main,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert main.end_lineno - main.lineno < 25


def test_the_example_measures(films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    measured = runpy.run_path(str(REPO / "examples" / "foreign_module.py"))["main"](tmp_path)
    assert measured["val/pairs"] == 4
    assert measured["val/ols/original/no_lung"] == 0
    assert {"val/pi_score", "val/ols/original/n"} <= measured.keys()
