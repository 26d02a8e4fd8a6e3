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
    pairs, others, channels, *groups = datamodule.test_dataloader()
    batches = list(others)
    assert {name for batch in batches for name in batch.tasks} == {task.name for task in datamodule._tasks} - {"covidx"}
    assert not any(batch.decides for batch in batches)
    assert sum(len(batch.pair.id) for batch in batches) == 2 * 5  # of RSNA's and of NIH's images
    assert len(pairs.dataset) == len(datamodule.pair_dataset("test"))
    assert len(channels.dataset) == 5
    assert datamodule.channel_rows == sorted(set(datamodule.channel_rows))
    assert len(groups) == len(datamodule.groups)
    for index, group in enumerate(datamodule.groups):
        patients = datamodule.patients(index)
        assert len(patients) == len(group.images[group.rows("test")])
        assert patients.dtype.type is np.str_


def test_random_channels_are_drawn_several_times(demo_data: Path) -> None:
    channels = ["telegram", "jpeg:30..90"]
    drawn = ["jpeg:30..90", "jpeg:30..90 #2", "jpeg:30..90 #3"]
    assert module(demo_data, "val", channels=channels, draws=3).channels == ["telegram", *drawn]

    # the pairs' own, where it is simulated
    settings = "data.pairs={channel: 'webp:5..90', draws: 2}"
    own = module(demo_data, "val", settings, channels=["telegram"])
    assert own.channels == ["telegram", "webp:5..90", "webp:5..90 #2"]
    _, _, loader, *_ = own.test_dataloader()
    assert next(iter(loader)).images.shape[1] == 3
    assert module(demo_data, "test", settings).channels == []  # WaCXR's came as they are


def test_a_data_set_that_is_missing_is_left_out_and_noted(demo_data: Path) -> None:
    datamodule = module(demo_data, "val", "data.sources.rsna.root=/nowhere")
    assert "task rsna_boxes is left out: no folder /nowhere" in datamodule.notes
    assert any(note.startswith("not read: rsna;") for note in datamodule.notes)
    assert "rsna_boxes" not in [task.name for group in datamodule.groups for task in group.tasks]


def test_named_sources_of_pairs_are_taken_before_those_that_are_made(demo_data: Path) -> None:
    source = "{kind: pairs, root: '${data.root}/nih_whatsapp', originals: null, labels_of: nih}"
    several = (f"data.sources.nih_whatsapp={source}", "data.pairs.test=[wacxr, nih_whatsapp]")
    datamodule = module(demo_data, "test", *several, channel_limit=5)
    groups = {group.source: group.pairs for group in datamodule.pair_groups("test")}
    assert list(groups) == ["nih_whatsapp", "rsna"]
    assert len(groups["nih_whatsapp"]) == 5
    assert groups["nih_whatsapp"].received
    assert not groups["rsna"].received  # sent through the simulated channel
    assert datamodule.pair_source == "wacxr"

    # what was received has no draws
    settings = "data.pairs={channel: 'webp:5..90', draws: 2, test: nih_whatsapp}"
    assert module(demo_data, "test", several[0], settings).channels == []


def test_no_test_pairs(demo_data: Path) -> None:
    with pytest.raises(UserError, match=r"data.pairs.test is null"):
        module(demo_data, "test", "data.pairs.test=null")
