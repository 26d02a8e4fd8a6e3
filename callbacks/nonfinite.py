"""A training whose loss is no number any more stops, and says where: what follows would be no network."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from typing_extensions import override

from experiments.errors import UserError

log = logging.getLogger("covidmt")

ADVICE = (
    "Lower optimizer.lr, set trainer.gradient_clip_val, or train in trainer.precision=32; checkpoints that were "
    "written before are kept; trainer.detect_nonfinite=warn trains on"
)


class StepFlags(NamedTuple):
    """Which losses of a step are not finite, perhaps still on their way from the device.

    Attributes:
        step: Optimizer step, from 1 on.
        names: Of the losses.
        flags: (losses,) uint8 on the CPU, 1 where a loss is NaN or infinite on any process.
        ready: Is over when ``flags`` are there; None: they are.
    """

    step: int
    names: list[str]
    flags: Tensor
    ready: torch.cuda.Event | None


class NonfiniteGuard(Callback):
    """Stop a training at its first loss that is NaN or infinite, in a step or a validation; or warn.

    All processes stop at the same step: each step's flags are joined over them on the device. On a GPU they are read
    one step later, so that the host never waits for a step that has just been queued; before a checkpoint is written,
    at once. So no checkpoint holds a network that is known to be broken, and those that were there stay. Under
    ``precision: 16-mixed`` the steps that the gradient scaler skips are none of this: their losses are finite.

    Comes first among the callbacks.

    Args:
        stop: Raise a :class:`UserError`; else warn, and count.

    Attributes:
        steps: Steps with such a loss, so far.

    Example:
        >>> guard = NonfiniteGuard(stop=False)
        >>> guard.on_train_batch_end(Trainer(logger=False, accelerator="cpu"), LightningModule(), torch.tensor(1.0))
        >>> guard.steps
        0
    """

    def __init__(self, *, stop: bool = True) -> None:
        self.stop = stop
        self.steps = 0
        self._pending: deque[StepFlags] = deque()

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any = None, batch_idx: int = 0
    ) -> None:
        losses = named_losses(outputs)
        if not losses:
            return
        flags = torch.stack([~value.detach().isfinite().all() for value in losses.values()]).to(torch.uint8)
        if trainer.world_size > 1:
            dist.all_reduce(flags, dist.ReduceOp.MAX)
        self._pending.append(_to_host(max(trainer.global_step, 1), list(losses), flags))
        self._read(trainer, leave=1 if flags.is_cuda else 0)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._read(trainer)
        if self.steps:
            log.warning("Training steps whose loss was no finite number: %d.", self.steps)
            for logger in trainer.loggers:
                if hasattr(logger, "set_tags"):
                    logger.set_tags({"nonfinite_steps": str(self.steps)})  # ty: ignore[not-callable]

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._read(trainer)
        metrics = {key: value for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        broken = [key for key, value in metrics.items() if _is_loss(key) and not value.isfinite()]
        if broken:
            self._report(f"{_subject(broken)} no finite number in the validation after step {trainer.global_step}")

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: Any) -> None:
        self._read(trainer)
        finite = [parameter.isfinite().all() for parameter in pl_module.parameters()]
        if self.stop and finite and not torch.stack(finite).all():
            self._report(f"the network's weights are no finite numbers after step {trainer.global_step}")

    @override
    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    @override
    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.steps = state_dict["steps"]

    def _read(self, trainer: Trainer, leave: int = 0) -> None:
        """Read the flags of all steps but the newest few."""
        while len(self._pending) > leave:
            step, names, flags, ready = self._pending.popleft()
            if ready is not None:
                ready.synchronize()
            broken = [name for name, flag in zip(names, flags.tolist(), strict=True) if flag]
            if broken:
                self.steps += 1
                self._report(f"{_subject(broken)} no finite number in step {step} (epoch {trainer.current_epoch + 1})")

    def _report(self, what: str) -> None:
        if self.stop:
            self._pending.clear()
            raise UserError(f"the training stopped: {what}. {ADVICE}")
        if self.steps <= 1:
            log.warning("The training has broken: %s; it goes on (trainer.detect_nonfinite: warn).", what)


class BestCheckpoint(ModelCheckpoint):
    """Choose no epoch whose monitored value is not finite, where Lightning's takes the first one for the best."""

    @property
    @override
    def state_key(self) -> str:
        """As Lightning's own, so that older runs resume."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    @override
    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        finite = current is not None and bool(torch.as_tensor(current).isfinite())
        return finite and super().check_monitor_top_k(trainer, current)


def named_losses(outputs: Any) -> dict[str, Tensor]:
    """Return the losses among what a training step returned, by name, the tasks' before their sum.

    Example:
        >>> one = torch.tensor(1.0)
        >>> list(named_losses({"loss": one, "train/loss": one, "train/covidx/loss": one, "train/covidx/accuracy": one}))
        ['train/covidx/loss', 'train/loss']
    """
    if isinstance(outputs, Tensor):
        return {"loss": outputs}
    if not isinstance(outputs, Mapping):
        return {}
    losses = {key: value for key, value in outputs.items() if _is_loss(key) and isinstance(value, Tensor)}
    if len(losses) > 1:
        losses.pop("loss", None)  # the same as train/loss
    return dict(sorted(losses.items(), key=lambda item: -item[0].count("/")))


def _is_loss(key: str) -> bool:
    return key.rpartition("/")[2] in ("loss", "consistency", "attention")


def _subject(keys: list[str]) -> str:
    """Return what is broken, in words: the tasks, else the loss."""
    tasks = [key.split("/")[1] for key in keys if key.count("/") == 2]
    if tasks:
        return f"the loss of {' and '.join(tasks)} is"
    return f"the {' and '.join(key.rpartition('/')[2] for key in keys)} is"


def _to_host(step: int, names: list[str], flags: Tensor) -> StepFlags:
    """Start the flags' way to the host; nothing waits for the device."""
    if not flags.is_cuda:
        return StepFlags(step, names, flags, None)
    host = torch.empty(flags.shape, dtype=flags.dtype, pin_memory=True)
    host.copy_(flags, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return StepFlags(step, names, host, ready)
