import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidmt.lungs.scores import dice, summarise


def test_dice_by_hand():
    """3 found, 4 wanted, 2 of both: 2 * 2 / 7."""
    found = np.array([[1, 1, 1, 0, 0]], bool)
    wanted = np.array([[0, 1, 1, 1, 1]], bool)
    assert dice(found, wanted) == pytest.approx(4 / 7)
    assert dice(found, ~found) == 0
    assert dice(found & ~found, wanted & ~wanted) == 1


def test_the_summary_counts_images_and_resamples_patients():
    scores = pd.DataFrame(
        {
            "patient": ["a", "a", "b", "c"],
            "source": ["x", "x", "x", "y"],
            "dice": [0.9, 0.9, 0.8, 0.0],
            "empty": [False, False, False, True],
        }
    )
    summary = summarise(scores)
    assert list(summary) == ["all", "x", "y"]
    every, x = summary["all"], summary["x"]
    assert (every["images"], every["patients"], every["empty"], every["lowest"]) == (4, 3, 1, 0.0)
    assert every["dice"] == pytest.approx(0.65)
    assert (every["low"], every["high"]) == (pytest.approx(0.0), pytest.approx(0.9))
    assert (x["low"], x["high"]) == (pytest.approx(0.8), pytest.approx(0.9))


def test_cross_validation_goes_on_where_it_stopped(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [
        "lungs", "cross-validate", "experiments/lungs_demo.yaml", f"data.root={demo_data}", "data.image_size=32",
        "data.num_workers=0", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.accelerator=cpu",
        "--folds", "2",
    ]  # fmt: skip
    assert covidmt(*arguments) == 0
    (out,) = (tmp_path / "mlruns/cross_validation").iterdir()
    scores = pd.read_csv(out / "scores.csv", dtype={"patient": str})
    assert (scores.groupby("patient")["fold"].nunique() == 1).all()
    assert scores["image"].is_unique
    assert json.loads((out / "summary.json").read_text())["all"]["images"] == len(scores)
    assert "mean Dice" in capsys.readouterr().out
    first, second = (out / "fold_0.ckpt").stat().st_mtime_ns, out / "fold_1.ckpt"
    second.unlink()
    assert covidmt(*arguments, "tracking.run_name=again") == 0
    assert (out / "fold_0.ckpt").stat().st_mtime_ns == first
    again = pd.read_csv(out / "scores.csv", dtype={"patient": str})
    pd.testing.assert_frame_equal(again, scores)


def test_a_split_is_scored(covidmt: Callable[..., int], demo_data: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["lungs", "score", "experiments/lungs_demo.yaml", f"data.root={demo_data}"]
    assert covidmt(*arguments, "--split", "val") == 0
    assert "covidmt on lungs_demo, val" in capsys.readouterr().out
    assert covidmt(*arguments, "--split", "exam") == 2
    assert "test, train, val" in capsys.readouterr().err
