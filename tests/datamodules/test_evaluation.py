from pathlib import Path

import numpy as np
import pytest

from datamodules.evaluation import EvaluationDataModule
from experiments.errors import UserError
from experiments.load import load_experiment
from tests.conftest import REPO


def module(data: Path, split: str, *overrides: str, **settings) -> EvaluationDataModule:
    overrides = (f"data.root={data}", "data.image_size=32", "data.num_workers=0", *overrides)
    datamodule = EvaluationDataModule(load_experiment(REPO / "experiments" / "demo.yaml", overrides), split, **settings)
    datamodule.setup()
    return datamodule


def test_pairs_channels_and_each_group(demo_data: Path) -> None:
    datamodule = module(demo_data, "test", channels=["telegram"], channel_limit=5)
    pairs, channels, *groups = datamodule.test_dataloader()
    assert len(pairs.dataset) == len(datamodule.pair_dataset("test"))
    assert len(channels.dataset) == 5
    assert datamodule.channel_rows == sorted(set(datamodule.channel_rows))
    assert len(groups) == len(datamodule.groups)
    for index, group in enumerate(datamodule.groups):
        patients = datamodule.patients(index)
        assert len(patients) == len(group.images[group.rows("test")])
        assert patients.dtype.type is np.str_


def test_a_data_set_that_is_missing_is_left_out_and_noted(demo_data: Path) -> None:
    datamodule = module(demo_data, "val", "data.sources.rsna.root=/nowhere")
    assert "task rsna_boxes is left out: no folder /nowhere" in datamodule.notes
    assert any(note.startswith("not read: rsna;") for note in datamodule.notes)
    assert "rsna_boxes" not in [task.name for group in datamodule.groups for task in group.tasks]


def test_no_test_pairs(demo_data: Path) -> None:
    with pytest.raises(UserError, match=r"data.pairs.test is null"):
        module(demo_data, "test", "data.pairs.test=null")
