from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from covidmt.lungs.masks import prepare_masks, resolve_segmenter, with_local_cache
from datamodules.images.mask_files import cache_path, write_mask
from datamodules.multitask import MultiTaskDataModule
from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Experiment, Masks
from lightning_modules.lungs.segmenters import segmenter_id


@pytest.fixture
def experiment(demo_data: Path, tmp_path: Path) -> Callable[[object], Experiment]:
    """The demo with a segmenter and a cache of its own."""

    def load(segmenter: object) -> Experiment:
        masks = f"data.masks={{folders: [], segmenter: {segmenter}, cache: {tmp_path}/masks}}"
        overrides = [f"data.root={demo_data}", "data.num_workers=0", "data.image_size=32", "data.pairs.limit=2", masks]
        return load_experiment(SHIPPED / "demo.yaml", overrides)

    return load


def test_a_name_or_a_checkpoint_is_its_own_answer(experiment: Callable[[object], Experiment], tmp_path: Path):
    assert resolve_segmenter(experiment("covidmt"), tmp_path) == "covidmt"
    assert resolve_segmenter(experiment("/models/lungs.ckpt"), tmp_path) == "/models/lungs.ckpt"


def test_a_checkpoint_must_not_start_a_training(experiment: Callable[[object], Experiment], tmp_path: Path):
    named = experiment(SHIPPED / "lungs_demo.yaml")
    with pytest.raises(UserError, match="a checkpoint must not choose what is run"):
        resolve_segmenter(named, tmp_path, may_train=False)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_here_stays(tmp_path: Path):
    here, elsewhere = Masks(cache=str(tmp_path)), Masks(cache=str(tmp_path / "gone"))
    assert with_local_cache(here) == here
    assert with_local_cache(elsewhere) == Masks()


def test_only_missing_masks_are_computed(experiment: Callable[[object], Experiment], tmp_path: Path):
    settings, segmenter = experiment("covidmt"), segmenter_id("covidmt")
    datamodule = MultiTaskDataModule(settings)
    datamodule.setup()
    image, *others = datamodule.images(["val"])
    there = cache_path(tmp_path / "masks", segmenter, image)
    write_mask(there, np.ones((4, 4), bool))
    before = there.stat().st_mtime_ns

    prepare_masks(settings, datamodule, ["val"])
    assert datamodule.mask_source.startswith(f"segmenter:{segmenter}")
    assert not datamodule.masks.missing([image, *others])
    assert there.stat().st_mtime_ns == before
    assert len(list((tmp_path / "masks" / segmenter).glob("*.png"))) == len({image, *others})
