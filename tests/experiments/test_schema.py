from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from experiments import lungs_schema, schema, sweep_schema
from experiments.bounds import Bounds
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Data, Masks, SplitPolicy


def test_defaults_are_the_papers_settings():
    experiment = load_experiment(SHIPPED / "covidmt_resnet50_paper.yaml")
    assert experiment.data.image_size == 512
    assert experiment.data.split_policy is SplitPolicy.paper
    assert (experiment.optimizer.name, experiment.optimizer.lr) == ("Adam", 2e-4)
    assert experiment.scheduler.options["milestones"] == [8, 16, 20]
    assert experiment.trainer["max_epochs"] == 25
    assert [task.batch_size for task in experiment.active] == [4] * 6
    assert [task.name for task in experiment.active] == [
        "covidx", "rsna_boxes", "infiltration", "effusion", "atelectasis", "nodule",
    ]  # fmt: skip
    assert experiment.robustness.eta == 0.4
    augment = experiment.data.augment
    assert (augment.translate, augment.rotate, augment.zoom, augment.intensity, augment.jpeg) == (0.1, 10, 0.15, 0.1, 0)
    assert not experiment.model.boxes.objectness


def test_paths_are_absolute_where_they_are_used_and_as_written_where_they_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    masks = Masks(folders=["~/masks", "/m"], cache="mlruns/masks")
    assert masks.mask_folders == [Path("/home/someone/masks"), Path("/m")]
    assert masks.cache_folder == tmp_path / "mlruns/masks"
    assert (Data().cache_folder, Data(cache="c").cache_folder) == (None, tmp_path / "c")
    assert OmegaConf.to_container(OmegaConf.structured(masks))["folders"] == ["~/masks", "/m"]


def test_every_default_lies_within_its_bounds():
    count = 0
    for module in (schema, lungs_schema, sweep_schema):
        for cls in vars(module).values():
            for item in fields(cls) if is_dataclass(cls) else ():
                bounds = item.metadata.get("bounds")
                if isinstance(bounds, Bounds):
                    count += 1
                    assert item.default is None or bounds.allow(item.default), f"{cls.__name__}.{item.name}"
    assert count > 40
