"""Which of Lightning's strategies the six-task training can run under."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from experiments.errors import UserError


def refuse_sharding(trainer: Trainer) -> None:
    """Let only strategies pass that keep the whole network on every device.

    Raises:
        UserError: FSDP, DeepSpeed or another strategy that shards parameters.

    Example:
        >>> refuse_sharding(Trainer(accelerator="cpu", logger=False))  # one device: passes
    """
    if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
        raise UserError(
            f"trainer.strategy: {type(trainer.strategy).__name__} shards the parameters, but Grad-CAM and the box loss "
            "use a head's parameters outside of the wrapped forward, where only shards of them are left; use ddp"
        )
