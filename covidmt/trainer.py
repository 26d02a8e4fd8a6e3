"""Lightning's Trainer from the ``trainer:`` section of an experiment, and how it writes checkpoints."""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.progress_bar import ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import AsyncCheckpointIO, CheckpointIO, LayerSync
from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.console import Console
from torch import nn
from typing_extensions import override

from callbacks.nonfinite import NonfiniteGuard
from callbacks.processes import choose_environment, require_processes
from experiments.errors import UserError, first_line
from experiments.files import replace_file
from experiments.plugins.registry import choose, instantiate
from experiments.trainer.arguments import CHOSEN, OWN, TrainerSettings, check_arguments
from experiments.trainer.loudness import is_quiet, is_talkative
from lightning_modules.gpus import require_usable_gpus
from lightning_modules.networks.without import without_wandb

# How those notes of Lightning's begin that tell a person nothing, or what covidmt says in its own words.
_SILENT = (
    "GPU available:", "TPU available:", "HPU available:", "LOCAL_RANK:", "Initializing distributed:",
    "Restoring states from the checkpoint", "Restored all states from the checkpoint",
    "Loaded model weights from the checkpoint",
    "`Trainer.fit` stopped: `max_epochs=", "`Trainer.fit` stopped: `max_steps=",
)  # fmt: skip
_TALKATIVE = ("pytorch.utilities.rank_zero", "pytorch.accelerators.cuda", "fabric.utilities.distributed")
_LIGHTNING = str(Path(str(lightning.__file__)).parent)


def make_trainer(
    settings: TrainerSettings, callbacks: Sequence[Callback], directory: Path, *, background: bool = False
) -> Trainer:
    """Return a Trainer with covidmt's callbacks and every argument of the experiment's own.

    The MLflow logger is added to it when its run exists. Lightning's notes and warnings that say nothing to a user are
    silenced.

    Args:
        settings: The ``trainer:`` section; its ``detect_nonfinite`` (``stop`` or ``warn``) is of
            :class:`callbacks.nonfinite.NonfiniteGuard`. ``{class_path: ..., init_args: {...}}`` anywhere in it makes
            an object; loggers and callbacks named there are added to covidmt's.
        callbacks: covidmt's callbacks.
        directory: Lightning's ``default_root_dir``, unless the section names one.
        background: Checkpoints are written while a fit goes on, and are there when it has ended.

    Raises:
        UserError: An argument or a value that Trainer refuses, with its reason; GPUs that are there and not usable.

    Example:
        >>> timer = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {"duration": "00:08:00:00"}}
        >>> trainer = make_trainer({"accelerator": "cpu", "max_epochs": 3, "callbacks": [timer]}, [], Path("mlruns"))
        >>> trainer.max_epochs
        3
        >>> any(type(callback).__name__ == "Timer" for callback in trainer.callbacks)
        True
    """
    check_arguments(settings)
    require_usable_gpus(settings.get("accelerator"))
    _silence_lightning()
    chosen = {name: _make(name, value) for name, value in settings.items() if name not in OWN}
    guard = NonfiniteGuard(stop=settings.get("detect_nonfinite", "stop") == "stop")

    plugins = _as_list(chosen.get("plugins"))
    own_environment = not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
    environment = choose_environment(int(chosen.get("num_nodes", 1))) if own_environment else None
    plugins = [*plugins, environment] if environment else plugins
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins = [*plugins, BackgroundCheckpointIO(AtomicCheckpointIO()) if background else AtomicCheckpointIO()]
    sync_batchnorm = bool(chosen.pop("sync_batchnorm", False))
    if sync_batchnorm:
        plugins = [*plugins, SyncBatchNorm()]

    own_callbacks = _list_of(Callback, chosen.get("callbacks"), "trainer.callbacks")
    has_bar = any(isinstance(callback, ProgressBar) for callback in own_callbacks)
    if chosen.setdefault("enable_progress_bar", has_bar or _is_watched()) is not False and not has_bar:
        own_callbacks.append(ProgressLine())

    # defaults, then what the experiment sets, then what must be so
    arguments: TrainerSettings = {
        "default_root_dir": directory,
        "num_sanity_val_steps": 1,
        "log_every_n_steps": 10,
        "enable_model_summary": False,
        **chosen,
        "use_distributed_sampler": False,
        "logger": _list_of(Logger, chosen.get("logger"), "trainer.logger") or False,
        "callbacks": [guard, *callbacks, *own_callbacks],
        "plugins": plugins,
    }
    try:
        trainer = Trainer(**arguments)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ModuleNotFoundError) as error:
        raise UserError(f"trainer: Lightning refuses these settings: {error}") from error

    if own_environment:
        require_processes(trainer)
    if sync_batchnorm and trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        raise UserError("trainer.sync_batchnorm: PyTorch has it for GPUs only; leave it out on CPUs")
    return trainer


@contextmanager
def explain_refusals() -> Generator[None]:
    """Raise what Lightning finds wrong with the settings only when it runs as a :class:`UserError`."""
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(f"trainer: Lightning refuses these settings: {error}") from error
    except (ValueError, RuntimeError) as error:  # Lightning's own words, such as those of val_check_interval
        if not traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_LIGHTNING):
            raise
        raise UserError(f"trainer: Lightning refuses these settings: {str(error).strip()}") from error


class ProgressLine(RichProgressBar):
    """Lightning's progress bar without the run's id, which is no number to watch.

    Example:
        >>> trainer = Trainer(accelerator="cpu", logger=False, callbacks=[ProgressLine()])
        >>> trainer.progress_bar_callback.get_metrics(trainer, LightningModule())
        {}
    """

    @override
    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the file and rename: a process killed meanwhile leaves the checkpoint that was there."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if "://" in str(path):
            return super().save_checkpoint(checkpoint, path, storage_options)

        path = Path(path)
        try:
            with replace_file(path, sync=True) as new, new.open("wb") as file:
                torch.save(checkpoint, file)

            # the rename, too, outlives a power cut
            folder = os.open(path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # PyTorch's for a full disk
                raise
            first = error.__context__ if isinstance(error.__context__, OSError) else error  # what PyTorch met
            reason = first_line(first)
            raise UserError(
                f"{path}: the checkpoint cannot be written ({reason}): make room or repair the folder, then give the "
                "same command again; it resumes from the previous checkpoint"
            ) from error


class BackgroundCheckpointIO(AsyncCheckpointIO):
    """Write while the training goes on: it waits until a copy is in the machine's memory, not for the disk.

    Checkpoints are written one after the other, each of them whole; the next one, and the end of a fit or test, waits
    for it, and raises what went wrong. A process that is killed meanwhile leaves the checkpoint before.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        self.teardown()  # waits for the one before
        super().save_checkpoint(move_data_to_device(checkpoint, "cpu"), path, storage_options)


class SyncBatchNorm(LayerSync):
    """Batch statistics over all processes, for every network that can be named.

    Lightning's own plugin converts with PyTorch's function, which turns timm's BatchNormAct2d into a batch
    normalisation without the activation that is part of it; the weights still fit, and the network is another one.

    Example:
        >>> from timm.layers import BatchNormAct2d
        >>> norm, x = BatchNormAct2d(2).eval(), torch.full((1, 2, 1, 1), -1.0)
        >>> SyncBatchNorm().apply(norm)(x).flatten().tolist()  # still with its ReLU
        [0.0, 0.0]
    """

    @override
    def apply(self, model: nn.Module) -> nn.Module:
        if any(isinstance(layer, nn.SyncBatchNorm) for layer in model.modules()):
            return model  # converted by an earlier fit; once more, and the activations would be lost
        with without_wandb():
            from timm.layers import convert_sync_batchnorm  # takes a second to import, and few trainings need it

        return convert_sync_batchnorm(model)

    @override
    def revert(self, model: nn.Module) -> nn.Module:
        return model  # the layers are as good alone: without a process group they are batch normalisations


def _is_watched() -> bool:
    """Return whether somebody sees a progress bar: a terminal or a notebook, and nobody asked for silence."""
    console = Console()
    return (console.is_terminal or console.is_jupyter) and not is_quiet()


def _silence_lightning() -> None:
    """Silence Lightning's advertisements, its notes that say nothing, and warnings that would hide what counts."""
    for name in _TALKATIVE:
        logging.getLogger(f"lightning.{name}").addFilter(_tells_something)
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # a deprecation inside of Lightning
    # Every process logs the same values: torchmetrics and the callbacks have put them together already.
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")
    # Shown wherever SLURM is installed, also to who runs on the login node or on purpose without it.
    warnings.filterwarnings("ignore", ".*`srun` command is available.*")
    # The run folder: a resumed run's checkpoints, and the mark that it is unfinished.
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    # data.num_workers is the experiment's, made for a cluster's node; on fewer cores the workers share them.
    warnings.filterwarnings("ignore", "This DataLoader will create .* worker processes")
    # A process without validation images has nothing to update its metrics with; the others' count.
    warnings.filterwarnings("ignore", ".*was called before the ``update`` method.*")


def _tells_something(record: logging.LogRecord) -> bool:
    """Return whether a note of Lightning's is worth a line: what is wrong always is; with ``-v`` all are."""
    if record.levelno >= logging.WARNING or is_talkative():
        return True
    message = record.getMessage()
    return "💡" not in message and not message.startswith(_SILENT)


def _make(name: str, value: Any) -> Any:
    """Return an argument of Trainer, with objects in place of what is chosen."""
    key = f"trainer.{name}"
    if name not in CHOSEN or isinstance(value, bool):
        return instantiate(value, key)
    group = CHOSEN[name]
    return [
        choose(group, item, f"{key}[{index}]") if isinstance(item, str) else instantiate(item, f"{key}[{index}]", group)
        for index, item in enumerate(_as_list(value))
    ]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _list_of(kind: type, value: Any, key: str) -> list[Any]:
    values = _as_list(value)
    for item in values:
        if not isinstance(item, kind):
            raise UserError(f"{key}: {item!r} is no {kind.__name__}; write {{class_path: ..., init_args: ...}}")
    return values
