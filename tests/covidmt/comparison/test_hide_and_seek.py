"""The report of a made-up Hide-and-Seek: shares and intervals known by hand, the paper's figures beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidmt.comparison.configurations import configurations
from covidmt.comparison.hide_and_seek import hide_and_seek
from covidmt.comparison.panel import _predictor
from covidmt.comparison.report import report
from covidmt.comparison.trials import collect
from covidmt.prediction.predictor import ExplainedImage
from covidmt.tracking.checkpoints import find_checkpoint
from covidmt.tracking.store import resolve_uri
from datamodules.images.decode import decode
from datamodules.images.masks import write_mask
from experiments.load import SHIPPED
from experiments.schema import Tracking
from lightning_modules.load import load_module
from metrics.intervals import wilson
from tests.helpers.sweeps import Store

CLASSES = ["normal", "pneumonia", "COVID-19"]


def scores(matrix: list[list[int]]) -> dict[str, float]:
    """What a test logs of these confusions, rows the true classes."""
    total = sum(map(sum, matrix))
    logged = {
        f"test/covidx/confusion/{a}/{b}": n
        for a, row in zip(CLASSES, matrix, strict=True)
        for b, n in zip(CLASSES, row, strict=True)
    }
    logged["test/covidx/accuracy"] = sum(matrix[i][i] for i in range(3)) / total
    return {"test/pi_score": 1.0} | logged


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("project"))
    parent = store.sweep("hidden")
    seen = {
        "original": [[[10, 0, 0], [0, 10, 0], [0, 0, 10]], [[9, 1, 0], [1, 9, 0], [1, 0, 9]]],
        "lungs_removed": [[[6, 4, 0], [0, 10, 0], [0, 2, 8]], [[8, 2, 0], [0, 10, 0], [0, 4, 6]]],
    }
    for view, matrices in seen.items():
        for seed, matrix in enumerate(matrices):
            store.trial(
                parent=parent, sweep="hidden", seed=seed, metrics=scores(matrix), overrides={"data.view": view},
                params={} if view == "original" else {"view": view},
            )  # fmt: skip
    return store


def test_shares_intervals_and_changes_by_hand(store: Store):
    rows = hide_and_seek(configurations(collect(["hidden"], store.uri)), "test")
    assert [(row.network, row.view, row.seeds, row.images) for row in rows] == [
        ("ResNet-50", "original", 2, 30),
        ("ResNet-50", "lungs_removed", 2, 30),
    ]
    original, removed = rows
    assert original.change is None
    # accuracy 24/30 and 24/30 against 30/30 and 27/30
    assert removed.scores["accuracy"].value == pytest.approx(80)
    low, high = wilson(24, 30)
    assert (removed.scores["accuracy"].low, removed.scores["accuracy"].high) == pytest.approx((100 * low, 100 * high))
    assert removed.change is not None
    assert removed.change[0] == pytest.approx(-15)  # -20 and -10 points
    assert removed.change[1:] == pytest.approx((-15 - 63.53, -15 + 63.53), abs=0.01)  # t(1) = 12.706, s / sqrt(2) = 5
    assert removed.scores["sensitivity/normal"].value == pytest.approx(70)
    assert removed.scores["ppv/pneumonia"].value == pytest.approx(100 * (10 / 16 + 10 / 16) / 2)
    paper = removed.paper["resnet50"]
    assert paper["accuracy"].value == pytest.approx(92.7)
    assert paper["sensitivity/COVID-19"].value == pytest.approx(93)
    assert paper["accuracy"].low == pytest.approx(100 * wilson(0.927 * 300, 300)[0])


def test_the_report_has_the_tables(store: Store, tmp_path: Path):
    page = report(["hidden"], tmp_path, store.uri).read_text()
    assert "ROI Hide-and-Seek" in page
    assert "paper, resnet50" in page
    assert "ResNet-50, 1 task, view lungs_removed" in page
    written = pd.read_csv(tmp_path / "hide_and_seek.csv").set_index(["view", "of", "score"])["value"]
    assert written["lungs_removed", "ours", "accuracy"] == pytest.approx(80)
    assert written["original", "paper, resnet50", "accuracy"] == pytest.approx(93.3)
    assert (tmp_path / "hide_and_seek.png").stat().st_size > 5000


def test_a_sweep_of_one_representation_has_none(store: Store):
    parent = store.sweep("whole")
    store.trial(parent=parent, sweep="whole", metrics=scores([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    assert hide_and_seek(configurations(collect(["whole"], store.uri)), "test") == []


def test_training_in_two_representations_and_their_panel(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A sweep over two representations, its report, and the picture of Fig 3 with a row a class."""
    lungs = np.zeros((96, 96), np.uint8)  # the segmenter would take a minute for all images
    lungs[30:70, 20:44] = lungs[30:70, 52:76] = 1
    for image in (demo_data / "covidx").glob("*/*.*"):
        scaled = Image.fromarray(lungs).resize(decode(image).shape[::-1], Image.Resampling.NEAREST)
        write_mask(tmp_path / "lungs" / f"{image.stem}.png", np.asarray(scaled, bool))
    (tmp_path / "tiny.yaml").write_text(
        f"""
experiment: {SHIPPED}/hide_and_seek.yaml
overrides:
  data: {{image_size: 64, num_workers: 0, pairs: {{limit: 2}}, masks: {{folders: [{tmp_path}/lungs], segmenter: null}}}}
  model: {{backbone: resnet18, pretrained: false, transition_channels: 16}}
  robustness: {{overlays: 1}}
  trainer: {{max_epochs: 1, limit_train_batches: 1, limit_val_batches: 1, accelerator: cpu}}
grid: {{data.view: [original, lungs_boxed_out]}}
seeds: [0]
launcher: {{processes: 1}}
"""
    )
    assert covidmt("sweep", "run", "tiny.yaml", f"data.root={demo_data}") == 0
    assert covidmt("report", "tiny") == 0
    assert "lungs boxed out" in (tmp_path / "report/report.html").read_text()
    assert covidmt("panel", "tiny", "--out", "fig3.png") == 0
    with Image.open(tmp_path / "fig3.png") as picture:
        assert picture.height > picture.width  # three rows, two columns
    uri = resolve_uri(Tracking())
    trials = collect(["tiny"], uri).counted
    module = load_module(find_checkpoint(trials[0].run_id, uri).path)
    image = str(next((demo_data / "covidx").rglob("*.*g")))
    ((_, found),) = _predictor(module, None)([image])  # by the masks that the networks were trained with
    assert isinstance(found, ExplainedImage)
    cut = lungs[int(0.08 * 96) :]
    assert (found.lung == np.array(Image.fromarray(cut).resize((64, 64), Image.Resampling.NEAREST))).all()
    assert covidmt("panel", "tiny", "--network", "resnet1", "--out", "no.png") == 2
    assert "did you mean" in capsys.readouterr().err
