"""The multi-task module: one base network, a head and a loss a task, their mean (paper: Mathematical formulation)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from experiments.batch import Batch, TaskBatch
from experiments.errors import UserError
from experiments.load import to_dict
from experiments.models.schema import Norm
from experiments.plugins.imports import import_folders
from experiments.plugins.trust import foreign_classes
from experiments.schema import Experiment, Gradients, ThresholdRule
from experiments.secrets import hide_in_values
from explain.decision import Decision
from lightning_modules.checkpoint import (
    EXPERIMENT,
    IMPORTS,
    PRIVACY,
    THRESHOLDS,
    Checkpoint,
    require_same_network,
    saved_thresholds,
)
from lightning_modules.heads import BoxOutput
from lightning_modules.losses.attention import heat_outside
from lightning_modules.losses.consistency import divergence
from lightning_modules.losses.surgery import pcgrad_backward
from lightning_modules.losses.weighting import LossWeighting
from lightning_modules.networks.backbones import build_backbone
from lightning_modules.networks.layout import refuse_broken_channels_last
from lightning_modules.networks.norm import to_group_norm
from lightning_modules.networks.normalise import Normalise, network_normalisation
from lightning_modules.optimizers import build_optimizer, build_scheduler
from lightning_modules.strategies import refuse_sharding
from lightning_modules.tasks import build_tasks
from metrics.classification import ClassificationScores

TaskOutput: TypeAlias = Tensor | BoxOutput  # logits (N, labels), or what the box head says


class MultiTaskModule(LightningModule):
    """COVIDMT: the active tasks' heads on one base network.

    A training step sends all tasks' images through the base network at once, so that its batch statistics are shared;
    each head sees its own task's rows. With several processes each has its own images' statistics, and the first one's
    are kept for evaluation, unless ``trainer.sync_batchnorm`` joins them.

    Logged, besides ``train/loss``, ``train/<task>/loss`` and, of a softmax, ``train/<task>/accuracy``, after every
    validation or test epoch: ``<stage>/loss`` (combined as in training), ``<stage>/<task>/loss`` and the task's scores
    (:class:`.ClassificationScores`; :class:`.BoxScores`, and ``iou`` of the boxes at matched anchors).
    They are means over images, labels or anchors, not over batches: the same for any batch size and number of
    processes. What is not defined (no known label, one class only) is not logged, by all processes alike.

    Args:
        experiment: The experiment; only its active tasks get a head. One with ``privacy`` is trained by
            :class:`.PrivateMultiTaskModule` (:func:`.build_module` chooses).
        pretrained: Load the weights that the experiment names; not needed when a checkpoint's follow.

    Attributes:
        backbone: The base network (:class:`.Backbone`).
        tasks: By name, each active task's head, loss and scores (:class:`.TaskModule`).
        label_thresholds: Task -> label -> probability at and above which it is positive, as chosen on the validation
            set (``robustness.thresholds``); labels that are not named are positive from 0.5 on.
        weighting: How the task losses become one (:class:`.LossWeighting`).

    Raises:
        UserError: A base network, weights or a task name that cannot be used.

    Example:
        >>> from experiments.load import SHIPPED, load_experiment
        >>> settings = ["model.backbone=timm:test_resnet", "data.image_size=64", "active_tasks=[covidx,nodule]"]
        >>> module = MultiTaskModule(load_experiment(SHIPPED / "demo.yaml", settings)).eval()
        >>> logits = module(torch.zeros(2, 1, 64, 64, dtype=torch.uint8))
        >>> {name: tuple(output.shape) for name, output in logits.items()}
        {'covidx': (2, 3), 'nodule': (2, 1)}
    """

    is_private: ClassVar[bool] = False

    def __init__(self, experiment: Experiment, *, pretrained: bool = True) -> None:
        super().__init__()
        self.experiment = experiment
        model = experiment.model if pretrained else replace(experiment.model, pretrained=False, weights=None)

        # the network: images, maps, a head a task
        self.normalise = Normalise(network_normalisation(experiment.model))
        self.backbone = build_backbone(model, experiment.data.image_size)
        self.tasks = build_tasks(replace(experiment, model=model), self.backbone)
        if model.norm is Norm.group:
            to_group_norm(self.backbone)
            to_group_norm(cast("nn.Module", self.tasks))
        self.weighting = LossWeighting(experiment.active, experiment.losses.weighting)
        if model.channels_last:
            self.to(memory_format=torch.channels_last)
        if model.compile:
            self.backbone.compile()  # in place: the weights keep their names

        # task -> label -> probability at and above which it is positive, as chosen on the validation set
        self.label_thresholds: dict[str, dict[str, float]] = {}

        # what one hook leaves for a later one
        self._loss_parts: Tensor | None = None  # between training_step and backward
        self._step = 0  # the optimizer step that the batch belongs to, from 1 on
        self._fitting = False

    # the network

    @property
    def map_size(self) -> int:
        """Side of the last feature map, which heads and Grad-CAM read."""
        return self.backbone.map_size

    def head(self, task: str) -> nn.Module:
        """Return the task's head; a classification head maps the last feature map to logits."""
        return self.tasks[task].head

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the base network's maps, fine to coarse, of stride 4 to 32 where it has them.

        Args:
            images: (N, 1, S, S) uint8, normalised here on the device (:class:`.Normalise`).
        """
        x = self.normalise(images)
        if self.experiment.model.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.backbone(x)

    def forward(self, images: Tensor) -> dict[str, TaskOutput]:
        """Return every task's output for (N, 1, S, S) uint8 images: logits (N, labels), or :class:`.BoxOutput`."""
        maps = self.features(images)
        return {name: task(maps) for name, task in self.tasks.items()}

    # training

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the loss of one batch, which holds all active tasks, and what is logged.

        Returns:
            ``loss``, a scalar for the backward; and detached scalars by the key that they are logged under.
        """
        # one forward for all tasks
        images = batch.images if batch.received is None else torch.cat([batch.images, batch.received])
        maps = self.features(images)

        # task losses (Eq. 5)
        outputs = {name: task(_rows_of(maps, batch.tasks[name])) for name, task in self.tasks.items()}
        losses, known = {}, {}
        for name, task in self.tasks.items():
            losses[name], known[name] = task.loss_and_known(outputs[name], batch.tasks[name])

        # losses beyond the paper
        extra = self._extra_losses(outputs, maps, batch)
        factors = {"consistency": self.experiment.losses.consistency, "attention": self.experiment.losses.attention}
        weighted = [(factors[name] * value)[None] for name, value in extra.items()]

        # one loss, and what is logged
        self._loss_parts = torch.cat([self.weighting(losses, known), *weighted])
        loss = self._loss_parts.sum()
        logged = {"loss": loss} | extra | self._task_values(outputs, losses, batch)
        return {"loss": loss} | {f"train/{key}": value.detach() for key, value in logged.items()}

    def _extra_losses(self, outputs: dict[str, TaskOutput], maps: list[Tensor], batch: Batch) -> dict[str, Tensor]:
        """The losses beyond the paper, of the task that decides; each where the batch brings what it needs."""
        robustness = self.experiment.robustness
        name = robustness.task
        if name not in self.tasks:
            return {}
        task, extra = self.tasks[name], {}

        # the answer to what the phone received is the original's
        if batch.received is not None:
            received = task([m[len(batch.images) :] for m in maps])
            extra["consistency"] = divergence(cast("Tensor", outputs[name]), received, task.task.kind)

        # the decision's heat lies inside the lungs; last, since no pass of the head in train mode may follow
        if batch.lungs is not None:
            score = partial(Decision.of(task.task, robustness).score, target=robustness.target)
            extra["attention"] = heat_outside(maps[-1][batch.tasks[name].rows], task.head, score, batch.lungs)
        return extra

    def _task_values(
        self, outputs: dict[str, TaskOutput], losses: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """What is logged of each task in a training step, by ``<task>/<key>``."""
        values = {f"{name}/loss": loss for name, loss in losses.items()}
        for name, task in self.tasks.items():
            progress = task.progress(outputs[name], batch.tasks[name])
            values |= {f"{name}/{key}": value for key, value in progress.items()}

        weights = self.weighting.weights()
        if weights is not None:
            values |= {f"{name}/weight": weight for name, weight in zip(losses, weights, strict=True)}
        return values

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Add the loss's gradients, with surgery in the base network where ``losses.gradients`` says so."""
        parts, self._loss_parts = self._loss_parts, None
        if self.experiment.losses.gradients is Gradients.sum or parts is None:
            super().backward(loss, *args, **kwargs)
            return
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        shared = [p for name, p in trained.items() if name.startswith("backbone.")]
        separate = [p for name, p in trained.items() if not name.startswith("backbone.")]
        pcgrad_backward(loss, parts, shared, separate)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Count the optimizer step that the batch belongs to: accumulated batches belong to the next one."""
        self._step = self.trainer.global_step + 1

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the steps that the loggers take, and an epoch's last: Lightning's records of a step take milliseconds.

        So ``trainer.callback_metrics`` has the ``train/`` values of the last step that was logged.
        """
        trainer = self.trainer
        every = trainer.log_every_n_steps  # ty: ignore[missing-attribute]
        due = every > 0 and (self._step % every == 0 or trainer.should_stop)
        if due or trainer.is_last_batch:
            logged = {name: value for name, value in outputs.items() if name != "loss"}
            self.log_dict(logged, batch_size=max(len(batch.images), 1))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the experiment's optimizer and scheduler.

        Raises:
            UserError: One of them, or an option, does not exist.
        """
        optimizer = self.build_optimizer()
        scheduler = build_scheduler(optimizer, self.experiment.scheduler)
        return optimizer if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}

    def build_optimizer(self) -> torch.optim.Optimizer:
        """Return the experiment's optimizer of all parameters that are trained."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return build_optimizer(parameters, self.experiment.optimizer)

    # evaluation

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add the batch's tasks, which need not be all, to the epoch's losses and scores."""
        maps = self.features(batch.images)
        for name, targets in batch.tasks.items():
            task = self.tasks[name]
            task.update(task(_rows_of(maps, targets)), targets)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add the batch's tasks, as in validation."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's losses and scores."""
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        """Log the epoch's losses and scores."""
        self._log_epoch("test")

    def epoch_metrics(self) -> dict[str, Tensor]:
        """Return the epoch's losses and scores, over all processes' batches: ``loss``, ``<task>/<score>``."""
        results = {name: task.compute() for name, task in self.tasks.items()}
        metrics = {f"{name}/{key}": value for name, scores in results.items() for key, value in scores.items()}
        losses = {name: scores["loss"] for name, scores in results.items() if "loss" in scores}
        return metrics | ({"loss": self.weighting.evaluate(losses)} if losses else {})

    @torch.no_grad()
    def choose_thresholds(self) -> None:
        """Choose the labels' thresholds on this epoch's validation images, where ``robustness.thresholds`` asks for it.

        The deciding label keeps ``robustness.threshold``. All processes call it, and choose the same.
        """
        robustness = self.experiment.robustness
        if robustness.thresholds is ThresholdRule.fixed:
            return
        self.label_thresholds = {
            name: task.scores.choose_thresholds(robustness.thresholds, robustness.sensitivity)
            for name, task in self.tasks.items()
            if isinstance(task.scores, ClassificationScores)
        }
        if robustness.task in self.label_thresholds:
            self.label_thresholds[robustness.task].pop(robustness.label, None)

    def _log_epoch(self, stage: str) -> None:
        """Every process computes, and logs the same keys; nothing is logged in the sanity check."""
        metrics = self.epoch_metrics()
        for task in self.tasks.values():
            task.reset()
        if self.trainer.sanity_checking:
            return

        # A validation's confusions are for the callbacks alone: nobody looks at nine curves of counts.
        kept = {key for key in metrics if stage == "val" and "/confusion/" in key}
        for keys, logger in ((metrics.keys() - kept, True), (kept, False)):
            values = {f"{stage}/{key}": float(value) for key, value in metrics.items() if key in keys}
            self.log_dict(values, batch_size=1, logger=logger)

    def on_validation_start(self) -> None:
        """Give every process the first one's batch statistics, which are those that are saved; then let each run alone.

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

    # setup and checkpoints

    @classmethod
    def load_from_checkpoint(  # ty: ignore
        cls,
        checkpoint_path: str | Path,
        map_location: str | torch.device = "cpu",
        *,
        trust: bool = False,
        **_: Any,
    ) -> MultiTaskModule:
        """Return the module of a checkpoint, in eval mode; see :func:`.load_module`.

        Args:
            checkpoint_path: A checkpoint of ``covidmt train``.
            map_location: The device.
            trust: Import classes of the user's own that it names.

        Raises:
            UserError: As :func:`.load_module`.
        """
        from lightning_modules.load import load_module  # which knows the private module too

        return load_module(checkpoint_path, trust=trust).to(map_location)

    def setup(self, stage: str) -> None:
        """Refuse what this module cannot run under.

        Raises:
            UserError: A strategy that shards, surgery on several processes, a layout that breaks the network's training
                on a CPU, or an experiment with ``privacy`` here.
        """
        self._fitting = stage == "fit"
        refuse_sharding(self.trainer)
        if self.experiment.losses.gradients is Gradients.pcgrad and self.trainer.world_size > 1:
            raise UserError(
                "losses.gradients: pcgrad projects each process's gradients for itself, before they are averaged; "
                "use one process (trainer.devices=1), or losses.gradients=sum"
            )
        if self._fitting and self.experiment.model.channels_last and self.device.type == "cpu":
            refuse_broken_channels_last(self)
        if self._fitting and self.experiment.privacy is not None and not self.is_private:
            raise UserError("privacy: MultiTaskModule trains without; use PrivateMultiTaskModule or build_module")

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save the experiment and the labels' thresholds beside the weights, as plain containers.

        The experiment has the normalisation that the weights know; passwords in it are hidden.
        """
        model = replace(self.experiment.model, normalisation=self.normalise.settings)
        checkpoint[THRESHOLDS] = self.label_thresholds
        checkpoint[EXPERIMENT] = hide_in_values(to_dict(replace(self.experiment, model=model)))
        if foreign_classes(self.experiment):
            checkpoint[IMPORTS] = [str(folder) for folder in import_folders()]

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Refuse the checkpoint of another network or of other tasks; in a fit, resume its privacy.

        Raises:
            UserError: The checkpoint does not belong to this experiment.
        """
        require_same_network(self.experiment, checkpoint)
        self.label_thresholds = saved_thresholds(checkpoint)
        if self._fitting:
            self.resume_privacy(checkpoint)

    def resume_privacy(self, checkpoint: Checkpoint) -> None:
        """Refuse to train on without the privacy that a checkpoint was trained with.

        Raises:
            UserError: It was trained with privacy.
        """
        if PRIVACY in checkpoint:
            raise UserError(
                "privacy: the checkpoint was trained with it, and its guarantee would end here; "
                "resume with the run's own settings, or start a new run (--resume never)"
            )


def _rows_of(maps: list[Tensor], targets: TaskBatch) -> list[Tensor]:
    """The maps of a task's images."""
    return [m[targets.rows] for m in maps]
