"""The module of an experiment with ``privacy``: one classification task, trained by DP-SGD.

What is different from :class:`.MultiTaskModule` stands here: a training step gives the gradient of each image, the
optimizer clips them and adds noise, and what was spent of the privacy is logged, saved and resumed. Validation and test
are those of any module. :mod:`.privacy` has the method and what its guarantee is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from experiments.batch import Batch
from experiments.errors import UserError
from experiments.schema import Experiment, PrivacyUnit
from lightning_modules.checkpoint import PRIVACY, Checkpoint
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.privacy import PerImage, PrivateTraining, by_patient, prepare_network, require_opacus


class PrivateMultiTaskModule(MultiTaskModule):
    """A :class:`.MultiTaskModule` of one classification task whose training is differentially private.

    Logged besides the metrics of the plain module: ``train/images``, how many a step drew, and ``<stage>/epsilon``,
    what was spent until then at ``privacy.delta``; ``<stage>/epsilon_patient``, the same for a patient with all images.

    Args:
        experiment: An experiment with ``privacy``.
        pretrained: Load the weights that the experiment names; not needed when a checkpoint's follow.

    Attributes:
        private: Noise and accounting; None before the fit.

    Raises:
        UserError: A base network, weights or a task name that cannot be used.

    Example:
        >>> from experiments.batch import TaskBatch
        >>> from experiments.load import SHIPPED, load_experiment
        >>> settings = ["model.backbone=timm:test_resnet", "model.pretrained=false", "model.norm=group"]
        >>> settings += ["model.head=transition"]
        >>> experiment = load_experiment(SHIPPED / "small_data.yaml", [*settings, "privacy.noise_multiplier=1.0"])
        >>> module = PrivateMultiTaskModule(experiment)
        >>> name, labels = experiment.active[0].name, len(experiment.active[0].labels)
        >>> task = TaskBatch(slice(0, 2), torch.eye(labels)[:2], [])
        >>> batch = Batch(torch.zeros(2, 1, 64, 64, dtype=torch.uint8), {name: task})
        >>> module.backward(module.training_step(batch, 0)["loss"])
        >>> bias = module.head(name)[-1].bias
        >>> tuple(bias.shape), tuple(bias.grad_sample.shape)  # a gradient for each of the two images
        ((2,), (2, 2))
    """

    is_private = True

    def __init__(self, experiment: Experiment, *, pretrained: bool = True) -> None:
        super().__init__(experiment, pretrained=pretrained)
        self.private: PrivateTraining | None = None
        self._gradients: dict[str, Tensor] = {}  # by parameter, between training_step and backward
        self._by_patient = experiment.privacy is not None and experiment.privacy.unit is PrivacyUnit.patient

    def setup(self, stage: str) -> None:
        """Choose the noise before a fit, and take out of the network what cannot be private.

        Raises:
            UserError: Several processes, a training without end, or settings that no guarantee is possible for.
        """
        super().setup(stage)
        if stage != "fit":
            return
        if self.trainer.world_size > 1:
            raise UserError("privacy: the sampling and the noise are those of one process; set trainer.devices=1")

        # the whole training's steps, for `privacy.target_epsilon`
        datamodule = getattr(self.trainer, "datamodule")  # noqa: B009
        per_epoch = len(datamodule.train_dataloader())
        steps = self.trainer.max_steps if self.trainer.max_steps > 0 else (self.trainer.max_epochs or 0) * per_epoch
        if steps < 1:
            raise UserError("privacy: a training without end has no epsilon; set trainer.max_epochs or max_steps")

        prepare_network(self.backbone)
        assert self.experiment.privacy is not None
        (task,) = self.experiment.active
        self.private = PrivateTraining(self.experiment.privacy, datamodule.training_patients, task.batch_size, steps)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the mean loss of a batch of any size, and what is logged; :meth:`backward` gets what is clipped.

        Args:
            batch: Images that were drawn by Poisson sampling, perhaps none.
            batch_idx: Not used.
        """
        ((name, task),) = self.tasks.items()
        targets = batch.tasks[name]
        per_image = PerImage(self.backbone, task)
        self._gradients, losses, logits = per_image.gradients(self.normalise(batch.images), targets.targets)
        if self._by_patient:
            assert batch.patients is not None
            self._gradients = by_patient(self._gradients, batch.patients)

        loss = losses.sum() / max(len(losses), 1)
        logged = {"loss": loss, f"{name}/loss": loss, "images": torch.tensor(float(len(losses)))}
        logged |= {f"{name}/{key}": value for key, value in task.progress(logits, targets).items()}
        return {"loss": loss} | {f"train/{key}": value.detach() for key, value in logged.items()}

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Hand each image's (patient's) gradient to the optimizer, where Opacus looks for it."""
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                setattr(parameter, "grad_sample", self._gradients[name])  # noqa: B010
        self._gradients = {}

    def build_optimizer(self) -> torch.optim.Optimizer:
        """Return the experiment's optimizer, in a fit behind clipping and noise.

        Raises:
            UserError: Opacus is not installed, or the optimizer or an option of it does not exist.
        """
        require_opacus()
        optimizer = super().build_optimizer()
        return optimizer if self.private is None else self.private.optimizer(optimizer)

    def epoch_metrics(self) -> dict[str, Tensor]:
        """Return the epoch's losses and scores, and the epsilons that were spent until now, without infinite ones."""
        if self.private is None:
            return super().epoch_metrics()
        spent = {"epsilon": self.private.epsilon, "epsilon_patient": self.private.epsilon_patient}
        return super().epoch_metrics() | {name: torch.tensor(v) for name, v in spent.items() if math.isfinite(v)}

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save what was spent of the privacy too, and what the guarantee holds for."""
        super().on_save_checkpoint(checkpoint)
        if self.private is not None:
            checkpoint[PRIVACY] = {**self.private.accountant.state_dict(), "guarantee": self._guarantee(self.private)}

    def resume_privacy(self, checkpoint: Checkpoint) -> None:
        """Resume the accounting, if this training keeps everything that the guarantee holds for.

        Raises:
            UserError: The checkpoint was trained without privacy, or under another guarantee.
        """
        advice = "resume with the run's own settings, or start a new run (--resume never)"
        saved = checkpoint.get(PRIVACY)
        if saved is None:
            raise UserError(f"privacy: the checkpoint was trained without; what it has learnt is not private; {advice}")

        assert self.private is not None
        for name, value in self._guarantee(self.private).items():
            before = saved["guarantee"].get(name)
            if before != value:
                raise UserError(
                    f"privacy: the checkpoint's {name} is {before}, this training's is {value}; the "
                    f"guarantee holds for one only; {advice}"
                )
        self.private.accountant.load_state_dict(saved)

    def _guarantee(self, private: PrivateTraining) -> dict[str, float | str]:
        """What must not change in the course of a training, by its name."""
        return {**private.guarantee, "seed": self.experiment.seed}
