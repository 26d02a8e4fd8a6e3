"""A training in several representations, and the picture of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidmt.comparison.panel import predictor_of
from covidmt.comparison.trained_runs import collect_runs
from covidmt.prediction.predictor import ExplainedImage
from covidmt.tracking.checkpoints import find_checkpoint
from covidmt.tracking.store import Store
from datamodules.images.decode import decode
from datamodules.images.mask_files import write_mask
from experiments.load import SHIPPED
from experiments.schema import Tracking
from lightning_modules.load import load_module

pytestmark = pytest.mark.slow


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
    store = Store.of(Tracking())
    trials = collect_runs(["tiny"], store).counted
    module = load_module(find_checkpoint(trials[0].run_id, store).path)
    image = str(next((demo_data / "covidx").rglob("*.*g")))
    ((_, found),) = predictor_of(module, None)([image])  # by the masks that the networks were trained with
    assert isinstance(found, ExplainedImage)
    cut = lungs[int(0.08 * 96) :]
    assert (found.lung == np.array(Image.fromarray(cut).resize((64, 64), Image.Resampling.NEAREST))).all()
    assert covidmt("panel", "tiny", "--network", "resnet1", "--out", "no.png") == 2
    assert "did you mean" in capsys.readouterr().err
