from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils._python_dispatch import TorchDispatchMode

from experiments.batch import Batch, TaskBatch
from experiments.errors import UserError
from lightning_modules.load import load_module
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import NIH, SIZE, batch, experiment, loader, trainer

TASKS = ["covidx", "rsna_boxes", *NIH]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def evaluate(tmp_path, module, loaders, stage: str = "validate") -> dict[str, float]:
    run = trainer(tmp_path)
    getattr(run, stage)(module, loaders, verbose=False)
    return {key: float(value) for key, value in run.callback_metrics.items()}


def test_heads_are_those_of_the_active_tasks():
    module = MultiTaskModule(experiment("active_tasks=[covidx,nodule]"))
    assert list(module.tasks) == ["covidx", "nodule"]
    assert not any("rsna_boxes" in name or "pyramid" in name for name in module.state_dict())
    images = batch().images
    outputs, maps = module.eval()(images), module.features(images)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {"covidx": (6, 3), "nodule": (6, 1)}
    assert torch.equal(module.head("covidx")(maps[-1]), outputs["covidx"])
    assert [SIZE // m.shape[-1] for m in maps] == [4, 8, 16, 32]
    assert module.map_size == maps[-1].shape[-1] == 2


def test_images_are_normalised():
    module = MultiTaskModule(experiment("active_tasks=[covidx]", "model.channels_last=true"))
    seen = []
    module.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module.eval()(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, SIZE, SIZE))
    black, white = seen[0][:, :, 5, 5]
    torch.testing.assert_close(black, torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]))
    torch.testing.assert_close(white, torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("weighting", "divisor"), [("mean", 7), ("sum", 1)])
def test_one_forward_and_the_losses_as_one(weighting, divisor):
    module = MultiTaskModule(experiment("tasks.nodule.loss_weight=2.0", f"losses.weighting={weighting}"))
    forwards = []
    module.backbone.register_forward_hook(lambda *_: forwards.append(1))
    logged = module.training_step(batch(), 0)
    loss = logged.pop("loss")
    assert len(forwards) == 1
    assert set(logged) == {"train/loss", *(f"train/{name}/loss" for name in TASKS)}
    total = sum(logged[f"train/{name}/loss"] * (2 if name == "nodule" else 1) for name in TASKS)
    torch.testing.assert_close(loss, total / divisor)
    assert not any(value.requires_grad for value in logged.values())


def test_rows_belong_to_their_task():
    """A task's loss depends on its own rows alone (in eval mode: batch statistics mix the rows)."""
    module = MultiTaskModule(experiment()).eval()
    one = batch()
    other = Batch(one.images.clone(), one.tasks)
    other.images[one.tasks["covidx"].rows] = 0
    logs = [module.training_step(step, 0) for step in (one, other)]
    changed = {key for key in logs[0] if logs[0][key] != logs[1][key]}
    assert changed == {"train/covidx/loss", "train/loss", "loss"}


@pytest.mark.parametrize("overrides", [[], ["model.boxes.objectness=false"]])
def test_every_parameter_has_a_gradient_where_nothing_is_known(overrides):
    module = MultiTaskModule(experiment(*overrides))
    loss = module.training_step(batch(known=False), 0)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(
    "settings",
    [{"precision": "bf16-mixed", "accumulate_grad_batches": 2, "gradient_clip_val": 1.0}, {"precision": "bf16-true"}],
)
def test_trainer_flags(tmp_path, settings):
    module = MultiTaskModule(experiment())
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    trainer(tmp_path, **settings).fit(module, loader([batch(i) for i in range(4)]), [loader([batch(9)])])
    assert all(p.isfinite().all() for p in module.parameters())
    assert sum(not torch.equal(p, before[name].to(p.dtype)) for name, p in module.named_parameters()) > 50


def test_what_is_logged(tmp_path):
    """Sanity check: nothing. Training: each step. Validation: each epoch, what is defined."""
    module = MultiTaskModule(experiment())
    logger = CSVLogger(tmp_path, version=0)
    run = trainer(tmp_path, logger=logger, log_every_n_steps=1, num_sanity_val_steps=2)
    early = []
    module.log_dict, log_dict = (
        lambda values, **k: (early.append(run.sanity_checking), log_dict(values, **k)),
        module.log_dict,
    )
    run.fit(module, loader([batch(1), batch(2)]), [loader([batch(3, n=6), batch(4, known=False)])])
    assert not any(early)
    metrics = {key: float(value) for key, value in run.callback_metrics.items()}
    assert {f"val/{name}/loss" for name in TASKS} | {"val/loss"} <= set(metrics)
    mean = sum(metrics[f"val/{name}/loss"] for name in TASKS) / 6
    assert metrics["val/loss"] == pytest.approx(mean)
    assert {"val/covidx/auroc", "val/covidx/auroc/COVID-19", "val/covidx/ap", "val/covidx/accuracy"} <= set(metrics)
    assert {"val/effusion/auroc", "val/rsna_boxes/map", "val/rsna_boxes/map_50", "val/rsna_boxes/iou"} <= set(metrics)
    assert all(value == value for value in metrics.values())
    logger.save()
    header, *rows = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text().splitlines()
    assert "val/covidx/confusion/normal/normal" in metrics
    assert "confusion" not in header  # of a validation for the callbacks alone
    column = header.split(",").index("train/rsna_boxes/loss")
    assert sum(bool(row.split(",")[column]) for row in rows) == 2


def test_validation_losses_do_not_depend_on_the_batches(tmp_path):
    module = MultiTaskModule(experiment())
    whole = batch(5, n=4)

    def part(rows: slice) -> Batch:
        tasks = {
            name: TaskBatch(slice(0, 2), task.targets[rows], task.boxes[rows]) for name, task in whole.tasks.items()
        }
        groups = [{n: t for n, t in tasks.items() if n in names} for names in (["covidx"], ["rsna_boxes"], NIH)]
        first = [whole.tasks[next(iter(group))].rows.start for group in groups]
        return [Batch(whole.images[f + rows.start : f + rows.stop], g) for f, g in zip(first, groups, strict=True)]

    halves = part(slice(0, 2)) + part(slice(2, 4))
    at_once = evaluate(tmp_path, module, [loader([whole])])
    assert {"val/loss", "val/rsna_boxes/map", "val/covidx/accuracy"} <= set(at_once)
    in_parts = evaluate(tmp_path, module, [loader(halves[:3]), loader(halves[3:])])
    assert in_parts == pytest.approx(at_once, rel=1e-5)
    tested = evaluate(tmp_path, module, [loader(halves)], "test")
    assert {key.replace("test/", "val/"): value for key, value in tested.items()} == pytest.approx(at_once, rel=1e-5)


def test_fit_after_validate(tmp_path):
    """trainer.validate runs in inference mode, whose tensors cannot be changed in fit."""
    module = MultiTaskModule(experiment())
    evaluate(tmp_path, module, [loader([batch()])])
    trainer(tmp_path).fit(module, loader([batch()]), [loader([batch()])])


@pytest.mark.parametrize("objectness", ["true", "false"])
def test_what_is_not_known_is_not_logged(tmp_path, objectness):
    module = MultiTaskModule(experiment(f"model.boxes.objectness={objectness}"))
    metrics = evaluate(tmp_path, module, [loader([batch(known=False)])])
    # That there is no box is known, and the objectness branch answers it.
    assert set(metrics) == ({"val/rsna_boxes/loss", "val/loss"} if objectness == "true" else set())


class Shares(LightningDataModule):
    """Own batches for each process, unknown ones among them; validation images dealt without padding."""

    def __init__(self, world: int) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.world = world

    def train_dataloader(self):
        rank = self.trainer.global_rank
        return loader([batch(rank), batch(2 + rank, known=False), batch(4 + rank, known=rank == 0)])

    def val_dataloader(self):
        """Five single images for COVIDx, three for RSNA, one for NIH: none for the second process."""
        loaders = []
        for names, n in ((["covidx"], 5), (["rsna_boxes"], 3), (NIH, 1)):
            whole = batch(11, n=max(n, 2))
            singles = []
            for i in range(n):
                tasks = {
                    name: TaskBatch(slice(0, 1), whole.tasks[name].targets[[i]], whole.tasks[name].boxes[i : i + 1])
                    for name in names
                }
                start = whole.tasks[names[0]].rows.start
                singles.append(Batch(whole.images[start + i : start + i + 1], tasks))
            loaders.append(loader(singles[self.trainer.global_rank :: self.world]))
        return loaders


class Keep(Callback):
    """Writes what this process ended with."""

    def on_fit_end(self, trainer, pl_module):
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        state = {"weights": pl_module.state_dict(), "metrics": metrics}
        torch.save(state, f"{trainer.default_root_dir}/rank{trainer.global_rank}.pt")


@pytest.mark.slow
def test_two_processes_stay_in_step_and_score_as_one(tmp_path):
    torch.set_num_threads(1)
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=False, process_group_backend="gloo")
    run = trainer(
        tmp_path,
        devices=2,
        strategy=strategy,
        use_distributed_sampler=False,
        callbacks=[Keep(), ModelCheckpoint(tmp_path, "end", monitor="val/covidx/loss")],
        enable_checkpointing=True,
        num_sanity_val_steps=1,
        max_epochs=2,
    )
    run.fit(MultiTaskModule(experiment()), datamodule=Shares(2))
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    differ = [key for key, value in first["weights"].items() if not torch.equal(value, second["weights"][key])]
    assert differ == []
    assert first["metrics"] == second["metrics"]
    assert {"val/loss", "val/covidx/auroc", "val/rsna_boxes/map", "val/nodule/loss"} <= set(first["metrics"])

    module = MultiTaskModule(experiment())
    module.load_state_dict(first["weights"])
    run = trainer(tmp_path)
    run.validate(module, datamodule=Shares(1), verbose=False)
    alone = {key: float(value) for key, value in run.callback_metrics.items()}
    assert alone == pytest.approx(first["metrics"], rel=1e-5)


EXTRAS = [
    "losses.weighting=uncertainty",
    "losses.gradients=pcgrad",
    "losses.consistency=1.0",
    "losses.attention=0.5",
]


def accompanied(seed: int) -> Batch:
    plain = batch(seed)
    rows = plain.tasks["covidx"].rows
    lungs = torch.rand(rows.stop - rows.start, SIZE, SIZE) < torch.linspace(0.2, 0.8, SIZE)  # some in every cell
    return plain._replace(received=plain.images[rows] // 2, lungs=lungs)


@pytest.mark.parametrize(("one", "precision"), [(EXTRAS[1], "32-true"), ("all", "32-true"), ("all", "bf16-mixed")])
def test_extra_losses_train(tmp_path, one, precision):
    module = MultiTaskModule(experiment(*(EXTRAS if one == "all" else [one])))
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    run = trainer(tmp_path, precision=precision, accumulate_grad_batches=2, max_epochs=1)
    run.fit(module, loader([accompanied(i) for i in range(2)]), [loader([batch(9)])])
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert len(changed) > 50
    assert ("weighting.log_variances" in changed) == (one == "all")
    metrics = run.callback_metrics
    assert ("train/covidx/weight" in metrics) == (one == "all")
    assert float(metrics["train/consistency"]) > 0
    assert 0 < float(metrics["train/attention"]) < 1


def test_extra_losses_add_up_and_reach_every_parameter():
    module = MultiTaskModule(experiment("losses.consistency=2.0", "losses.attention=0.5"))
    logged = module.training_step(accompanied(0), 0)
    loss = logged["loss"]
    tasks = sum(logged[f"train/{name}/loss"] for name in TASKS) / 6
    torch.testing.assert_close(loss, tasks + 2 * logged["train/consistency"] + 0.5 * logged["train/attention"])
    loss.backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


def test_surgery_needs_one_process():
    module = MultiTaskModule(experiment("losses.gradients=pcgrad"))
    module._trainer = SimpleNamespace(strategy=DDPStrategy(), world_size=2)
    with pytest.raises(UserError, match=r"losses\.gradients: pcgrad .* one process"):
        module.setup("fit")


class Waits(TorchDispatchMode):
    """Collects the operations whose result's value or shape the host must know: a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::")
        indices = args[1] if name.startswith("index") and len(args) > 1 and isinstance(args[1], list | tuple) else []
        masks = any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in indices)
        if masks or name in ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["multilabel", "multiclass"])
def test_a_training_step_waits_for_nothing(kind):
    module = MultiTaskModule(experiment(f"tasks.covidx.kind={kind}"))
    with Waits() as waits:
        module.training_step(batch(), 0)["loss"].backward()
    assert not waits.found
    with Waits() as waits:
        torch.tensor([1.0, 2.0])[torch.tensor([True, False])].sum().item()
    assert len(waits.found) >= 2  # what it would find


class Stops(Callback):
    """As a time limit does: after a step that is not one of those that are logged."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        trainer.should_stop = batch_idx == 4
        self.last = float(outputs["train/loss"])


def test_the_steps_that_are_logged(tmp_path):
    def steps(**settings) -> list[tuple[str, str]]:
        logger = CSVLogger(tmp_path, version=None)
        run = trainer(tmp_path, logger=logger, log_every_n_steps=3, **settings)
        run.fit(MultiTaskModule(experiment("active_tasks=[covidx]")), loader([batch(i) for i in range(8)]))
        with (tmp_path / logger.name / f"version_{logger.version}" / "metrics.csv").open() as file:
            return [(row["step"], row["train/loss"]) for row in csv.DictReader(file)]

    assert [step for step, _ in steps()] == ["2", "5"]
    stops = Stops()
    logged = steps(callbacks=[stops])
    assert [step for step, _ in logged] == ["2", "4"]
    assert float(logged[-1][1]) == pytest.approx(stops.last)  # this step's, not the last logged one's


class Asks(Callback):
    """Notes for each batch whether Lightning's loggers take its step, and which it is."""

    def __init__(self) -> None:
        self.batch = 0
        self.due: list[int] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.batch += 1
        if trainer._logger_connector.should_update_logs or trainer.is_last_batch:
            self.due.append(self.batch)


def test_the_logged_steps_are_lightnings_under_accumulation_too(tmp_path):
    asks, logged = Asks(), []
    module = MultiTaskModule(experiment("active_tasks=[covidx]", "model.backbone=timm:test_resnet"))
    module.log_dict = lambda values, **_: logged.append(asks.batch)
    run = trainer(tmp_path, log_every_n_steps=2, accumulate_grad_batches=2, max_epochs=2, callbacks=[asks])
    run.fit(module, loader([batch(i) for i in range(5)]))
    assert logged == asks.due
    assert logged == [3, 4, 5, 6, 7, 10]  # the batches of steps 2, 4 and 6, and the last of each epoch


@pytest.mark.slow
def test_a_compiled_base_network_gives_the_same_and_the_same_names():
    plain = MultiTaskModule(experiment("active_tasks=[covidx]")).eval()
    compiled = MultiTaskModule(experiment("active_tasks=[covidx]", "model.compile=true")).eval()
    compiled.load_state_dict(plain.state_dict())
    images = batch().images
    with torch.no_grad():
        torch.testing.assert_close(compiled(images)["covidx"], plain(images)["covidx"], rtol=1e-4, atol=1e-4)


def test_thresholds_are_chosen_on_the_validation_images_and_kept_with_the_checkpoint(tmp_path):
    """The deciding label keeps its own; what was chosen is in the checkpoint, and comes back with the weights."""

    class Choosing(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            pl_module.choose_thresholds()

    module = MultiTaskModule(experiment("robustness.thresholds=youden"))
    run = trainer(tmp_path, callbacks=[Choosing()])
    run.validate(module, loader([batch(seed, n=6) for seed in range(3)]), verbose=False)
    chosen = module.label_thresholds
    assert list(chosen) == ["covidx", *NIH]
    assert sorted(chosen["covidx"]) == ["normal", "pneumonia"]
    assert any(value != 0.5 for labels in chosen.values() for value in labels.values())

    path = tmp_path / "kept.ckpt"
    run.save_checkpoint(path, weights_only=True)
    assert load_module(path).label_thresholds == chosen
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["thresholds"]["effusion"]["Effusion"] = 2.0
    torch.save(checkpoint, path)
    with pytest.raises(UserError, match="no probabilities between 0 and 1"):
        load_module(path)

    fixed = MultiTaskModule(experiment("active_tasks=[covidx]"))
    fixed.choose_thresholds()
    assert fixed.label_thresholds == {}
