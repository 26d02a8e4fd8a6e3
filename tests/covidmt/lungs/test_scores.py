import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidmt.lungs.scores import dice, summarise

pytestmark = pytest.mark.slow


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
            "dice_in": [0.9, 0.9, 0.8, 0.0],
            "dice_out": [0.7, float("nan"), float("nan"), float("nan")],
            "dice_heart": [float("nan")] * 4,
            "empty": [False, False, False, True],
        }
    )
    summary = summarise(scores)
    assert list(summary) == ["all", "x", "y"]
    both = ["dice_in", "dice_out"]
    assert [list(areas) for areas in summary.values()] == [both, both, ["dice_in"]]
    assert summary["x"]["dice_out"]["images"] == 1
    every, x = summary["all"]["dice_in"], summary["x"]["dice_in"]
    assert (every["images"], every["patients"], every["empty"], every["lowest"]) == (4, 3, 1, 0.0)
    assert every["dice"] == pytest.approx(0.65)
    assert 0 < every["low"] < 0.2 < 0.65 < 0.95 < every["high"] < 1  # three patients tell little
    assert every["low"] < x["low"] < x["dice"] < x["high"] < 1


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
    assert json.loads((out / "summary.json").read_text())["all"]["dice_in"]["images"] == len(scores)
    assert "2 folds by patient" in capsys.readouterr().out
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


def test_any_folder_of_images_and_masks_is_scored(
    covidmt: Callable[..., int], trained: Path, demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Two films with masks of a suffix, one without; one that cannot be read is named at the end."""
    images, masks = tmp_path / "films", tmp_path / "drawn"
    images.mkdir(), masks.mkdir()
    for source in sorted((demo_data / "lungs/images").iterdir())[:3]:
        (images / source.name).write_bytes(source.read_bytes())
        (masks / f"{source.stem}_mask.png").write_bytes((demo_data / "lungs/masks" / source.name).read_bytes())
    first, *_, last = sorted(images.iterdir())
    (masks / f"{first.stem}_mask.png").unlink()
    last.write_bytes(b"no film")
    arguments = ["lungs", "score", str(images), str(masks), "--segmenter", str(trained), "--suffix", "_mask"]
    assert covidmt(*arguments, "--out", str(tmp_path / "scores.csv")) == 2
    shown = capsys.readouterr()
    assert "2 of 3 images have a mask" in shown.out
    assert "1 of 2 images could not be read" in shown.err
    assert last.name in shown.err
    (row,) = pd.read_csv(tmp_path / "scores.csv").to_dict("records")
    assert 0 <= row["dice_in"] <= 1
    assert np.isnan(row["dice_out"])  # this segmenter and these masks know no heart
