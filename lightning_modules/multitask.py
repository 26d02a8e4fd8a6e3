"""The multi-task module: one base network, a head and a loss a task, their mean (paper: Mathematical formulation)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from experiments.batch import Batch
from experiments.errors import UserError
from experiments.load import from_dict, to_dict
from experiments.schema import Experiment, Gradients, Norm, Weighting
from explain.decision import Decision
from lightning_modules.checkpoint import fill, read_checkpoint
from lightning_modules.heads import BoxOutput
from lightning_modules.losses.attention import heat_outside
from lightning_modules.losses.consistency import consistency
from lightning_modules.losses.surgery import pcgrad_backward
from lightning_modules.losses.weighting import LossWeighting
from lightning_modules.networks.backbones import build_backbone
from lightning_modules.networks.norm import to_group_norm
from lightning_modules.optimizers import build_optimizer, build_scheduler
from lightning_modules.tasks import build_tasks

if TYPE_CHECKING:
    from lightning_modules.privacy import PrivateTraining

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet


class MultiTaskModule(LightningModule):
    """COVIDMT: the active tasks' heads on one base network.

    A training step sends all tasks' images through the base network at once, so that its batch statistics are shared;
    each head sees its own task's rows. With several processes each has its own images' statistics, and the first one's
    are kept for evaluation, unless ``trainer.sync_batchnorm`` joins them.

    Logged, besides ``train/loss``, ``train/<task>/loss`` and, of a softmax, ``train/<task>/accuracy``, after every
    validation or test epoch: ``<stage>/loss`` (combined as in training), ``<stage>/<task>/loss`` and the task's scores
    (:class:`.ClassificationScores`; :class:`.BoxScores`, and ``iou`` of the boxes at matched anchors). They are means
    over images, labels or anchors, not over batches: the same for any batch size and number of processes. What is not
    defined (no known label, one class only) is not logged, by all processes alike.

    Args:
        experiment: The experiment; only its active tasks get a head.
        pretrained: Load the weights that the experiment names; not needed when a checkpoint's follow.

    Raises:
        UserError: A base network, weights or a task name that cannot be used.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, experiment: Experiment, *, pretrained: bool = True) -> None:
        super().__init__()
        self.experiment = experiment
        model = experiment.model if pretrained else replace(experiment.model, pretrained=False, weights=None)
        self.backbone = build_backbone(model, experiment.data.image_size)
        self.tasks = build_tasks(experiment, self.backbone)
        if experiment.model.norm is Norm.group:
            to_group_norm(self.backbone)
            to_group_norm(cast("nn.Module", self.tasks))
        self.private: PrivateTraining | None = None  # set up for a fit with ``privacy``
        self._per_image: dict[str, Tensor] = {}  # gradients, between training_step and backward
        self.weighting = LossWeighting(experiment.active, experiment.losses.weighting)
        self._parts: Tensor | None = None  # of the loss, between training_step and backward
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        if experiment.model.channels_last:
            self.to(memory_format=torch.channels_last)

    @property
    def map_size(self) -> int:
        """Side of the last feature map, which heads and Grad-CAM read."""
        return self.backbone.map_size

    def head(self, task: str) -> nn.Module:
        """The task's head; a classification head maps the last feature map to logits."""
        return self.tasks[task].head

    def features(self, images: Tensor) -> list[Tensor]:
        """The base network's maps, of stride 4 to 32 where it has them.

        Args:
            images: (N, 1, S, S) uint8. Grey is repeated to three channels, scaled to 0-1 and normalised with ImageNet's
                mean and deviation, here on the device.
        """
        x = self._normalised(images)
        if self.experiment.model.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.backbone(x)

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std

    def forward(self, images: Tensor) -> dict[str, Tensor | BoxOutput]:
        """(N, 1, S, S) uint8 images to every task's output: logits (N, labels), or :class:`.BoxOutput`."""
        maps = self.features(images)
        return {name: task(maps) for name, task in self.tasks.items()}

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The losses of one batch, which holds all active tasks, as one: ``loss``; and what is logged, by its key."""
        if self.private is not None:
            return self._private_step(batch)
        settings, decider = self.experiment.losses, self.experiment.robustness.task
        n, images = len(batch.images), [batch.images] + ([] if batch.copies is None else [batch.copies])
        maps = self.features(torch.cat(images))
        losses, known, extra, logged = {}, {}, {}, {}
        for name, task in self.tasks.items():
            targets = batch.tasks[name]
            own = [m[targets.rows] for m in maps]
            output = task(own)
            losses[name], known[name] = task.loss_and_known(output, targets)
            logged |= {f"train/{name}/{key}": value for key, value in task.progress(output, targets).items()}
            if name == decider and batch.copies is not None:
                extra["consistency"] = consistency(output, task([m[n:] for m in maps]), task.task.kind)
            if name == decider and batch.lungs is not None:
                decision, target = Decision.of(task.task, self.experiment.robustness), self.experiment.robustness.target
                extra["attention"] = heat_outside(
                    own[-1], task.head, partial(decision.score, target=target), batch.lungs
                )
        factors = {"consistency": settings.consistency, "attention": settings.attention}
        weighted = [factors[name] * value for name, value in extra.items()]
        self._parts = torch.cat([self.weighting(losses, known), *(part[None] for part in weighted)])
        loss = self._parts.sum()
        logged |= {f"train/{name}/loss": task_loss for name, task_loss in losses.items()} | {"train/loss": loss}
        logged |= {f"train/{name}": value for name, value in extra.items()}
        if (weights := self.weighting.weights()) is not None:
            logged |= {f"train/{name}/weight": weight for name, weight in zip(losses, weights, strict=True)}
        return {"loss": loss} | {name: value.detach() for name, value in logged.items()}

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the steps that the loggers take, and an epoch's last: Lightning's notes of a step take milliseconds.

        So ``trainer.callback_metrics`` has the ``train/`` values of the last step that was logged.
        """
        if self.trainer._logger_connector.should_update_logs or self.trainer.is_last_batch:
            logged = {name: value for name, value in outputs.items() if name != "loss"}
            self.log_dict(logged, batch_size=max(len(batch.images), 1))

    def _private_step(self, batch: Batch) -> dict[str, Tensor]:
        """The mean loss of a batch of any size, the gradient of each image at hand for :meth:`backward`."""
        from lightning_modules.privacy import PerImage

        ((name, task),) = self.tasks.items()
        targets = batch.tasks[name]
        per_image = PerImage(self.backbone, task)
        self._per_image, losses, logits = per_image.gradients(self._normalised(batch.images), targets.targets)
        loss = losses.sum() / max(len(losses), 1)
        logged = {"train/loss": loss, f"train/{name}/loss": loss, "train/images": torch.tensor(float(len(losses)))}
        logged |= {f"train/{name}/{key}": value for key, value in task.progress(logits, targets).items()}
        return {"loss": loss} | {name: value.detach() for name, value in logged.items()}

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Plain, or with surgery in the base network (``losses.gradients``); private: the gradient of each image."""
        if self.private is not None:
            for name, parameter in self.named_parameters():
                if parameter.requires_grad:
                    setattr(parameter, "grad_sample", self._per_image[_per_image_name(name)])  # noqa: B010
            self._per_image = {}
            return
        parts, self._parts = self._parts, None
        if self.experiment.losses.gradients is Gradients.sum or parts is None:
            super().backward(loss, *args, **kwargs)
            return
        shared = [p for p in self.backbone.parameters() if p.requires_grad]
        own = [p for name, p in self.named_parameters() if p.requires_grad and not name.startswith("backbone.")]
        pcgrad_backward(loss, parts, shared, own)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add the batch's tasks, which need not be all, to the epoch's losses and scores."""
        maps = self.features(batch.images)
        for name, targets in batch.tasks.items():
            task = self.tasks[name]
            task.update(task([m[targets.rows] for m in maps]), targets)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """As in validation."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def on_validation_start(self) -> None:
        """Give every process the first one's batch statistics, those that are saved; and let them go on apart.

        DDP sends them round in each forward, also in evaluation: processes whose shares of the validation images differ
        by a batch would wait for each other for ever.
        """
        if isinstance(self.trainer.model, DistributedDataParallel):
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, 0)
            self.trainer.model.require_forward_param_sync = False

    def on_validation_end(self) -> None:
        """Undo :meth:`on_validation_start`."""
        if isinstance(self.trainer.model, DistributedDataParallel):
            self.trainer.model.require_forward_param_sync = True

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's losses and scores."""
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        """Log the epoch's losses and scores."""
        self._log_epoch("test")

    def configure_optimizers(self) -> Any:
        """The experiment's optimizer and scheduler."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = build_optimizer(parameters, self.experiment.optimizer)
        if self.experiment.privacy is not None:
            require_opacus()
        if self.private is not None:
            optimizer = self.private.optimizer(optimizer)
        scheduler = build_scheduler(optimizer, self.experiment.scheduler)
        return optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}

    def setup(self, stage: str) -> None:
        """Refuse strategies that this module cannot run under."""
        refuse_sharding(self.trainer)
        if self.experiment.losses.gradients is Gradients.pcgrad and self.trainer.world_size > 1:
            raise UserError(
                "losses.gradients: pcgrad projects each process's gradients for itself, before they are averaged; "
                "use one process (trainer.devices=1), or losses.gradients=sum"
            )

        if self.experiment.privacy is not None and stage == "fit":
            self._set_up_privacy()

    def _set_up_privacy(self) -> None:
        if self.trainer.world_size > 1:
            raise UserError("privacy: the sampling and the noise are those of one process; set trainer.devices=1")
        from lightning_modules.privacy import PrivateTraining, prepare_network

        assert self.experiment.privacy is not None
        trainer, (task,) = self.trainer, self.experiment.active
        images = getattr(trainer, "datamodule").training_images  # noqa: B009
        per_epoch = len(getattr(trainer, "datamodule").train_dataloader())  # noqa: B009
        steps = trainer.max_steps if trainer.max_steps > 0 else (trainer.max_epochs or 0) * per_epoch
        if steps < 1:
            raise UserError("privacy: a training without end has no epsilon; set trainer.max_epochs or max_steps")
        prepare_network(self.backbone)
        self.private = PrivateTraining(self.experiment.privacy, images, task.batch_size, steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The experiment goes with the weights, as plain containers; and what privacy was spent."""
        checkpoint["experiment"] = to_dict(self.experiment)
        if self.private is not None:
            checkpoint["privacy"] = {**self.private.accountant.state_dict(), "guarantee": self._guarantee}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another network or of other tasks, and to train on without its privacy."""
        saved = _architecture(_experiment(checkpoint, "the checkpoint"))
        for key, value in _architecture(self.experiment).items():
            if saved[key] != value:
                raise UserError(
                    f"the checkpoint is of another experiment: its {key} is {saved[key]}, this one's is {value}; "
                    "give the checkpoint's own experiment, or start a new run"
                )
        if self._trainer is not None and self._trainer.state.fn is TrainerFn.FITTING:  # not the best one's, in test
            self._resume_privacy(checkpoint.get("privacy"))

    @property
    def _guarantee(self) -> dict[str, float]:
        assert self.private is not None
        return {**self.private.guarantee, "seed": self.experiment.seed}

    def _resume_privacy(self, saved: dict[str, Any] | None) -> None:
        """Go on with the accounting, if what it holds for goes on."""
        advice = "resume with the run's own settings, or start a new run (--resume never)"
        if saved is None and self.private is None:
            return
        if saved is None:
            raise UserError(f"privacy: the checkpoint was trained without; what it has learnt is not private; {advice}")
        if self.private is None:
            raise UserError(f"privacy: the checkpoint was trained with it, and its guarantee would end here; {advice}")
        for name, value in self._guarantee.items():
            if saved["guarantee"][name] != value:
                raise UserError(
                    f"privacy: the checkpoint's {name} is {saved['guarantee'][name]}, this training's is {value}; the "
                    f"guarantee holds for one only; {advice}"
                )
        self.private.accountant.load_state_dict(saved)

    def _log_epoch(self, stage: str) -> None:
        """Every process computes, and logs the same keys; nothing is logged in the sanity check."""
        results = {name: task.compute() for name, task in self.tasks.items()}
        logged = {f"{stage}/{name}/{key}": score for name, scores in results.items() for key, score in scores.items()}
        losses = {name: scores["loss"] for name, scores in results.items() if "loss" in scores}
        if losses:
            logged[f"{stage}/loss"] = self.weighting.evaluate(losses)
        if self.private is not None:
            logged[f"{stage}/epsilon"] = torch.tensor(self.private.epsilon)
        for task in self.tasks.values():
            task.reset()
        if not self.trainer.sanity_checking:
            self.log_dict({key: float(value) for key, value in logged.items()}, batch_size=1)


def refuse_sharding(trainer: Trainer) -> None:
    """Let only strategies pass that keep the whole network on every device.

    Raises:
        UserError: FSDP, DeepSpeed or another strategy that shards parameters.
    """
    if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
        raise UserError(
            f"trainer.strategy: {type(trainer.strategy).__name__} shards the parameters, but Grad-CAM and the box loss "
            "use a head's parameters outside of the wrapped forward, where only shards of them are left; use ddp"
        )


def require_opacus() -> None:
    """Meet a missing package before anything is computed.

    Raises:
        UserError: It is not installed.
    """
    if find_spec("opacus") is None:
        raise UserError("privacy: needs the package opacus; install it with `pip install covidmt[privacy]`")


def _per_image_name(name: str) -> str:
    """A weight's name in :class:`.PerImage`: ``tasks.<task>.head`` is ``task.head`` there."""
    return name if name.startswith("backbone.") else f"task.{name.split('.', 2)[2]}"


def load_module(path: str | Path) -> MultiTaskModule:
    """The module of a checkpoint with its experiment, in eval mode on the CPU; no ImageNet weights are needed.

    Raises:
        UserError: No such file, cut short, or not a checkpoint of ``covidmt train``.
    """
    checkpoint = read_checkpoint(path, "covidmt train")
    module = MultiTaskModule(_experiment(checkpoint, str(path)), pretrained=False)
    fill(module, checkpoint, path)
    return module.eval()


def _experiment(checkpoint: Any, where: str) -> Experiment:
    values = checkpoint.get("experiment") if isinstance(checkpoint, dict) else None
    if not isinstance(values, dict) or "tasks" not in values:
        raise UserError(f"{where}: is not of `covidmt train`: it holds no experiment with tasks")
    return from_dict(Experiment, values)


def _architecture(experiment: Experiment) -> dict[str, Any]:
    """What decides the names and shapes of the weights."""
    model = experiment.model
    return {
        "model.backbone": model.backbone,
        "model.norm": model.norm.value,
        "model.transition_channels": model.transition_channels,
        "model.boxes": (model.boxes.channels, model.boxes.objectness),
        "losses.weighting": "uncertainty" if experiment.losses.weighting is Weighting.uncertainty else "fixed",
        "active tasks": {task.name: (task.kind.value, task.labels) for task in experiment.active},
    }
