"""What makes a configuration, and what is named where two differ."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from covidmt.tracking.identity import MACHINE, TASKS, differences, identity, is_machine_setting, same_but_seed
from experiments.keys import flatten, merge, nest
from experiments.load import SHIPPED, load_experiment, to_dict
from experiments.schema import Experiment

BASE = to_dict(load_experiment(SHIPPED / "covidmt_resnet50.yaml"))


def settings(*overrides: str, processes: int | None = None) -> dict[str, str]:
    values = copy.deepcopy(BASE)
    for text in overrides:
        key, _, value = text.partition("=")
        merge(values, nest({key: yaml.safe_load(value)}))
    return identity(values, processes)


ON_THE_MACHINE = [
    "name=other", "seed=7", "data.root=/scratch/cxr", "data.sources.nih.root=/elsewhere/nih", "data.num_workers=16",
    "data.cache=/tmp/cache", "data.masks.cache=/tmp/masks", "tracking.uri=http://server", "tracking.experiment=mine",
    "tracking.tags={who: me}", "checkpoint.every_n_steps=7", "trainer.accelerator=cpu", "trainer.strategy=ddp",
    "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false", "robustness.batch_size=4",
    "robustness.overlays=0", "trainer.default_root_dir=/tmp/here",
]  # fmt: skip


@pytest.mark.parametrize("override", ON_THE_MACHINE)
def test_the_seed_and_the_machine_make_no_configuration(override: str):
    assert settings(override) == settings()


OF_THE_TRAINING = [
    "trainer.max_epochs=2", "data.augment.jpeg=0.5", "robustness.threshold=0.3", "robustness.eta=0.5",
    "data.pairs.channel=telegram", "data.pairs.val=nih", "data.masks.segmenter=torchxrayvision", "data.split_seed=1",
    "data.masks.folders=[jsrt_masks]", "model.weights=/a/other.pth", "model.pretrained=false", "optimizer.lr=1e-3",
    "data.image_size=256", "data.crop_top=0.1", "losses.weighting=uncertainty", "trainer.precision=16-mixed",
    "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1", "optimizer.options={weight_decay: 0.1}",
    "trainer.callbacks=[{class_path: mine.Callback}]", "data.sources.covidx.train_list=train_v5.txt",
    "tasks.covidx.class_weights=[1, 1, 4]", "robustness.engine=eigencam", "tasks.covidx.batch_size=12",
    "trainer.devices=2", "data.val_fraction=0.2",
]  # fmt: skip


@pytest.mark.parametrize("override", OF_THE_TRAINING)
def test_whatever_else_differs_is_another_configuration_and_named(override: str):
    key = override.partition("=")[0]
    named = [each.key for each in differences(settings(override), settings())]
    if key in ("trainer.devices", "tasks.covidx.batch_size"):
        assert "tasks.covidx.global_batch" in named
    else:
        assert [name for name in named if name == key or name.startswith(f"{key}.")]


def test_devices_count_where_the_global_batch_does():
    two = settings("trainer.devices=2", *(f"tasks.{name}.batch_size=2" for name in settings()[TASKS].split(", ")))
    assert two == settings() == settings("trainer.devices=auto", processes=1)
    assert settings("trainer.devices=auto", processes=2) == settings("trainer.devices=[0, 3]")


def test_a_new_setting_counts_unless_it_is_listed():
    """Every setting of the schema but the listed ones is among those that make a configuration."""
    values = copy.deepcopy(BASE)
    known = {key for key in flatten(values) if not key.startswith(("tasks.", "trainer."))} - {"seed", "tasks"}
    assert {key for key in known if key not in identity(values)} == {key for key in known if is_machine_setting(key)}


def _keys(schema: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(schema):
        value = getattr(schema, field.name)
        yield f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{prefix}{field.name}.")


def test_what_is_listed_exists():
    keys = set(_keys(Experiment()))
    assert {key for key in MACHINE if "*" not in key and not key.startswith("trainer.")} <= keys


def test_a_setting_that_is_younger_than_a_run_has_its_default():
    old = copy.deepcopy(BASE)
    del old["losses"], old["data"]["augment"]["jpeg"], old["tasks"]["covidx"]["share_batch"]
    assert identity(old) == settings()


def test_of_a_task_that_one_lacks_nothing_more_is_named():
    one = settings("active_tasks=[covidx]", "trainer.max_epochs=1", "tasks.nodule.loss_weight=0.5")
    assert [str(each) for each in differences(settings(), one)] == [
        f"active_tasks {settings()[TASKS]} against covidx",
        "25 epochs against 1",
    ]


def test_a_data_set_that_only_one_has_read_is_no_difference():
    one, both = {"data.sources.a.content": "1"}, {"data.sources.a.content": "1", "data.sources.b.content": "2"}
    assert differences(both, one) == []
    assert [each.key for each in differences(both, {"data.sources.a.content": "3"})] == ["data.sources.a.content"]


def test_weights_of_another_network_go_without_saying():
    first, second = settings("model.weights=a.pth"), settings("model.weights=b.pth", "model.backbone=vgg19")
    assert [each.key for each in differences(first, second)] == ["model.backbone"]
    assert [each.key for each in differences(settings(), second)] == ["model.backbone", "model.weights"]


def test_numbers_are_equal_however_they_are_written():
    values = to_dict(Experiment(name="mine"))
    merge(values, nest({"optimizer.lr": 1}))
    assert identity(values)["optimizer.lr"] == "1"


def test_seeds_of_one_experiment():
    first = Experiment(seed=0, name="a")
    assert same_but_seed(first, dataclasses.replace(first, seed=1, name="b"))
    assert not same_but_seed(first, first)
    assert not same_but_seed(first, dataclasses.replace(first, seed=1, trainer={"max_epochs": 2}))
