from dataclasses import replace
from hashlib import sha256
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.robustness import RobustnessCallback
from datamodules.multitask import MultiTaskDataModule
from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from lightning_modules.multitask import MultiTaskModule

TASKS = ["covidx", "rsna_boxes", "infiltration", "effusion", "atelectasis", "nodule"]


@pytest.fixture
def made(demo_data):
    """DataModules of the demo experiment, 32 px, with overrides."""

    def make(*overrides):
        data = [f"data.root={demo_data}", "data.image_size=32", "data.num_workers=0"]
        module = MultiTaskDataModule(load_experiment(SHIPPED / "demo.yaml", [*data, *overrides]))
        module.setup()
        return module

    return make


class Ranked:
    """What a loader asks a Trainer of two processes for."""

    overfit_batches = 0
    accumulate_grad_batches = 3

    def __init__(self, rank, world):
        self.global_rank, self.world_size = rank, world


def pairs_seen(module, split, world):
    seen = []
    for rank in range(world):
        module.trainer = Ranked(rank, world)
        for batch in module.pair_dataloader(split):
            seen += batch.id
    module.trainer = None
    return seen


def test_a_training_batch_of_six_tasks(made):
    module = made("tasks.covidx.batch_size=8")
    batch = next(iter(module.train_dataloader()))
    assert batch.images.shape == (16, 1, 32, 32)
    assert list(batch.tasks) == TASKS
    assert [batch.tasks[name].rows for name in TASKS] == [slice(0, 8), slice(8, 12)] + [slice(12, 16)] * 4
    assert module.global_batch == 16
    module.trainer = Ranked(0, 2)
    assert module.global_batch == 16 * 2 * 3


def test_evaluation_sees_every_image_once_unaugmented(made):
    module = made()
    for split, loaders in (("val", module.val_dataloader), ("test", module.test_dataloader)):
        alone = [torch.cat([batch.images for batch in loader]) for loader in loaders()]
        assert [len(images) for images in alone] == [len(group.rows(split)) for group in module.groups]
        shares = []
        for rank in range(3):
            module.trainer = Ranked(rank, 3)
            shares.append([torch.cat([batch.images for batch in loader]) for loader in loaders()])
        module.trainer = None
        for group, images in enumerate(alone):
            for rank in range(3):
                assert torch.equal(shares[rank][group], images[rank::3])


@pytest.mark.parametrize("split", ["val", "test"])
def test_every_pair_is_on_exactly_one_process(made, split):
    limit = 7 if split == "val" else None  # odd, and no multiple of the processes
    module = made(f"data.pairs.limit={limit or 'null'}", "robustness.batch_size=2")
    dataset = module.pair_dataset(split)
    assert pairs_seen(module, split, 1) == dataset.ids
    for world in (2, 3):
        assert sorted(pairs_seen(module, split, world)) == sorted(dataset.ids)
    assert len(dataset.ids) == len(dataset.labels) == limit or split == "test"
    assert set(dataset.labels) == {0, 1}
    assert all(bool(pair.lung.any()) for pair in (dataset[0], dataset[len(dataset) - 1]))


def test_pairs_stay_the_same_for_another_seed(made):
    one, other = (made("data.pairs.limit=6", f"seed={seed}").pair_dataset("val") for seed in (0, 1))
    assert one.ids == other.ids


def test_mask_source_and_segmenter(made):
    module = made()
    assert module.mask_source == "folders"
    module.segmenter = "unet-1"
    assert module.mask_source == "folders+segmenter:unet-1"


def test_no_pairs_is_said(made):
    module = made("data.pairs.test=null")
    with pytest.raises(UserError, match=r"data\.pairs\.test is null"):
        module.pair_dataset("test")
    module = made("data.sources.wacxr.root=nowhere")
    with pytest.raises(UserError, match=r"data\.sources\.wacxr\.root: there is no folder 'nowhere'"):
        module.pair_dataset("test")


@pytest.mark.parametrize("world", [1, 40])
def test_no_process_is_without_a_test_loader(made, world):
    module = made("active_tasks=[covidx]")
    module.groups = [replace(g, splits=np.where(g.splits == "test", "none", g.splits)) for g in module.groups]
    module.trainer = Ranked(world - 1, world)
    (loader,) = module.test_dataloader()
    assert list(loader) == []
    val = module.val_dataloader()
    assert len(val) == 1 + (len(module.groups[0].rows("val")) < world)


def test_pairs_are_scored_without_a_test_image_of_the_tasks(made):
    data = made("active_tasks=[covidx]", "robustness.batch_size=64")
    data.groups = [replace(g, splits=np.where(g.splits == "test", "none", g.splits)) for g in data.groups]
    callback = RobustnessCallback(data.experiment.robustness, data.experiment.tasks["covidx"])
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_model_summary=False, use_distributed_sampler=False, callbacks=[callback]
    )
    (logged,) = trainer.test(MultiTaskModule(data.experiment), data, verbose=False)
    assert logged["test/pairs"] == len(data.pair_dataset("test"))
    assert callback.last.keys() <= logged.keys()


def test_mistakes_are_met_in_setup(made, demo_data):
    with pytest.raises(UserError, match=r"data\.augment\.rotate"):
        made("data.augment.rotate=181")
    with pytest.raises(UserError, match=r"tasks\.hernia: no training image of source 'nih' has Hernia"):
        made("tasks={hernia: {source: nih, labels: [Hernia]}}", "active_tasks=[covidx, hernia]")
    with pytest.raises(UserError, match="source 'covidx' has no labelled image in the val split"):
        made("data.sources.covidx.val_list=test_COVIDx.txt", "data.pairs.test=null", "active_tasks=[covidx]")


def test_home_is_expanded(made, demo_data, monkeypatch):
    monkeypatch.setenv("HOME", str(demo_data))
    assert "wacxr" in made("data.sources.wacxr.root=~/wacxr").tables


class Watcher(lightning.LightningModule):
    """Notes which batches it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(sha256(batch.images.numpy().tobytes()).hexdigest())
        return self.weight.square()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(module, checkpoints=None, resume=None, **options):
    watcher = Watcher()
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        use_distributed_sampler=False,
        callbacks=checkpoints or [],
        enable_checkpointing=bool(checkpoints),
        **quiet,
        **options,
    )
    trainer.fit(watcher, module, ckpt_path=resume)
    return watcher.seen


@pytest.mark.parametrize(("when", "workers"), [("step", 0), ("step", 1), ("validation", 1), ("epoch", 1)])
def test_a_resumed_run_goes_on_with_the_next_step(made, tmp_path, when, workers):
    overrides = ["data.epoch_length=4", f"data.num_workers={workers}", "active_tasks=[covidx]"]
    every: dict[str, Any] = {
        "step": {"every_n_train_steps": 3},
        "validation": {"every_n_epochs": 1, "save_on_train_epoch_end": False},
        "epoch": {"every_n_epochs": 1, "save_on_train_epoch_end": True},
    }[when]
    keep = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **every)
    whole = fit(made(*overrides), [keep], limit_val_batches=1)
    assert len(set(whole)) == 12
    saved = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.partition("=")[2]))
    for path in saved[:-1]:
        step = int(path.stem.partition("=")[2])
        assert fit(made(*overrides), resume=path, limit_val_batches=1) == whole[step:], path.name


def test_accumulation_and_overfitting(made):
    overrides = ["data.epoch_length=4", "active_tasks=[covidx]"]
    plain = fit(made(*overrides), limit_val_batches=0)
    assert fit(made(*overrides), limit_val_batches=0, accumulate_grad_batches=2) == plain
    assert fit(made(*overrides), limit_val_batches=0, overfit_batches=2) == plain[:2] * 3


def test_real_x_rays(mini_cxr):
    overrides = [f"data.root={mini_cxr}", "data.num_workers=0", "data.image_size=64"]
    module = MultiTaskDataModule(load_experiment(SHIPPED / "mini_cxr.yaml", overrides))
    module.setup()
    assert list(next(iter(module.train_dataloader())).tasks) == TASKS
    assert len(module.pair_dataset("test")) == 49
    pair = module.pair_dataset("val")[0]
    assert (pair.original.float() - pair.received.float()).abs().mean() < 3


def test_the_cache_gives_the_same_batches(made, tmp_path):
    plain, cached = made("data.num_workers=1"), made("data.num_workers=1", f"data.cache={tmp_path / 'cache'}")
    assert {path.name.split("-")[0] for path in (tmp_path / "cache").glob("*.pixels")} == {"covidx", "rsna", "nih"}
    loaders = zip(
        [plain.train_dataloader(), *plain.val_dataloader()],
        [cached.train_dataloader(), *cached.val_dataloader()],
        strict=True,
    )
    for one, other in loaders:
        for expected, batch in zip(one, other, strict=True):
            assert torch.equal(batch.images, expected.images)
            for name, task in expected.tasks.items():
                assert all(torch.equal(a, b) for a, b in zip(batch.tasks[name].boxes, task.boxes, strict=True))
