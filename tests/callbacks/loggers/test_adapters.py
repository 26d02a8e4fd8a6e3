"""Numbers, pictures and tables of a training, read back from the files that the real loggers wrote."""

import csv
import json
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from callbacks.loggers.adapters import takers
from callbacks.loggers.contracts import LogsPictures, LogsTables
from callbacks.overlays import GradCamOverlays
from callbacks.robustness import RobustnessCallback
from experiments.schema import Robustness
from metrics.paired import PAIR_COLUMNS
from tests.helpers.tiny_module import TASK, Tiny, TinyData, trainer
from tests.helpers.wandb_files import read_history

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
STEPS = [2, 5]  # of the two validations, after three batches each: counted from 0


def train(logger) -> L.Trainer:
    """Two epochs of five pairs, and a test."""
    robustness = Robustness(overlays=1)
    callbacks = [RobustnessCallback(robustness, TASK), GradCamOverlays(robustness, TASK)]
    run = trainer(max_epochs=2, callbacks=callbacks, logger=logger, log_every_n_steps=1)
    module, data = Tiny(), TinyData()
    run.fit(module, data)
    run.test(module, data, verbose=False)
    return run


def test_csv_files(tmp_path: Path):
    logger = CSVLogger(tmp_path)
    train([logger])
    folder = Path(logger.log_dir)
    with (folder / "metrics.csv").open() as file:
        scored = [int(row["step"]) for row in csv.DictReader(file) if row["val/pi_score"]]
    assert scored == STEPS
    pictures = sorted((folder / "pictures/gradcam/00").iterdir())
    assert [int(path.stem) for path in pictures] == STEPS
    assert np.asarray(Image.open(pictures[0])).any()
    assert (folder / "pictures/gradcam/test/00/00000006.png").is_file()
    tables = sorted((folder / "robustness/val_pairs").iterdir())
    assert [path.name for path in tables] == ["000.csv", "001.csv"]
    assert list(pd.read_csv(folder / "robustness/test_pairs.csv").columns) == PAIR_COLUMNS


@pytest.mark.slow
def test_tensorboard(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    train([logger])
    events = EventAccumulator(logger.log_dir, {"images": 0, "tensors": 0, "scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("val/pi_score")] == STEPS
    pictures = events.Images("gradcam/00")
    assert [event.step for event in pictures] == STEPS
    assert pictures[0].encoded_image_string.startswith(b"\x89PNG")
    texts = events.Tensors("robustness/val_pairs/text_summary")
    assert [event.step for event in texts] == STEPS
    assert b"| chest 0.png |" in texts[0].tensor_proto.string_val[0]
    assert len(pd.read_csv(Path(logger.log_dir) / "robustness/val_pairs/001.csv")) == 5


@pytest.mark.slow
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    logger = WandbLogger(save_dir=tmp_path, offline=True, project="mine")
    train([logger])
    wandb.finish()
    wandb.teardown()  # its service, which processes started later would take for theirs
    history = read_history(next(tmp_path.rglob("run-*.wandb")))
    for key in ("val/pi_score", "gradcam/00", "robustness/val_pairs"):
        assert [row["trainer/global_step"] for row in history if key in row] == STEPS, key
    assert [row["trainer/global_step"] for row in history if "gradcam/test/00" in row] == [6]
    (files,) = tmp_path.rglob("files")
    rows = [row for row in history if "robustness/val_pairs" in row]
    table = json.loads((files / rows[0]["robustness/val_pairs"]["path"]).read_text())
    assert table["columns"] == PAIR_COLUMNS
    assert len(table["data"]) == 5
    assert len(list((files / "media/images/gradcam").glob("00_*.png"))) == 2


def test_all_of_them_take_both_and_a_strange_one_neither(tmp_path: Path):
    run = trainer(logger=[CSVLogger(tmp_path), TensorBoardLogger(tmp_path)])
    for contract in (LogsPictures, LogsTables):
        assert [type(taker).__name__ for taker in takers(run, contract)] == ["CsvTaker", "TensorBoardTaker"]
