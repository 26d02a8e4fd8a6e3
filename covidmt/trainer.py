"""Lightning's Trainer from the ``trainer:`` section of an experiment, and how it writes checkpoints."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import traceback
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import lightning
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from typing_extensions import override

from experiments.errors import UserError, nearest
from experiments.files import replace_file

TrainerSettings = dict[str, Any]  # the ``trainer:`` section, as YAML gives it

ARGUMENTS = [name for name in inspect.signature(Trainer.__init__).parameters if name not in ("self", "kwargs")]
_TYPES = get_type_hints(Trainer.__init__)
_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
_LOWEST = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "log_every_n_steps": 0}
_LIGHTNING = str(Path(str(lightning.__file__)).parent)


def make_trainer(settings: TrainerSettings, callbacks: Sequence[Callback], directory: Path) -> Trainer:
    """Return a Trainer with covidmt's callbacks and every argument of the experiment's own.

    The MLflow logger is added to it when its run exists. Lightning's notes and warnings that say nothing to a user are
    silenced.

    Args:
        settings: The ``trainer:`` section. ``{class_path: ..., init_args: {...}}`` anywhere in it makes an object;
            loggers and callbacks named there are added to covidmt's.
        callbacks: covidmt's callbacks.
        directory: Lightning's ``default_root_dir``, unless the section names one.

    Raises:
        UserError: An argument or a value that Trainer refuses, with its reason.

    Example:
        >>> timer = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {"duration": "00:08:00:00"}}
        >>> trainer = make_trainer({"accelerator": "cpu", "max_epochs": 3, "callbacks": [timer]}, [], Path("mlruns"))
        >>> trainer.max_epochs
        3
        >>> any(type(callback).__name__ == "Timer" for callback in trainer.callbacks)
        True
    """
    check_arguments(settings)
    _silence_lightning()
    chosen = {name: _instantiate(value, f"trainer.{name}") for name, value in settings.items()}

    plugins = _as_list(chosen.get("plugins"))
    if SLURMEnvironment.detect() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        # Lightning's own requeue keeps its checkpoints in one folder for all runs, and every run would start from them.
        plugins = [*plugins, SLURMEnvironment(auto_requeue=False)]
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins = [*plugins, AtomicCheckpointIO()]

    # defaults, then what the experiment sets, then what must be so
    arguments: TrainerSettings = {
        "default_root_dir": directory,
        "num_sanity_val_steps": 1,
        "log_every_n_steps": 10,
        **chosen,
        "use_distributed_sampler": False,
        "logger": _list_of(Logger, chosen.get("logger"), "trainer.logger") or False,
        "callbacks": [*callbacks, *_list_of(Callback, chosen.get("callbacks"), "trainer.callbacks")],
        "plugins": plugins,
    }
    try:
        trainer = Trainer(**arguments)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ModuleNotFoundError) as error:
        raise UserError(f"trainer: Lightning refuses these settings: {error}") from error

    if arguments.get("sync_batchnorm") and trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        raise UserError("trainer.sync_batchnorm: PyTorch has it for GPUs only; leave it out on CPUs")
    return trainer


def check_arguments(settings: TrainerSettings) -> None:
    """Refuse what Trainer does not have, and what would break the scores.

    Raises:
        UserError: Naming the key.

    Example:
        >>> check_arguments({"max_epochs": 3})
        >>> check_arguments({"max_epoch": 3})
        Traceback (most recent call last):
            ...
        experiments.errors.UserError: trainer.max_epoch: Lightning's Trainer has no such argument; did you mean ...
    """
    # names, types, ranges
    for name in settings:
        if name not in ARGUMENTS:
            raise UserError(f"trainer.{name}: Lightning's Trainer has no such argument{nearest(name, ARGUMENTS)}")
        _check_type(name, settings[name])
    for name, lowest in _LOWEST.items():
        value = settings.get(name)
        if isinstance(value, int) and value < lowest:
            raise UserError(f"trainer.{name}: must be {lowest} or more, is {value}")
    if settings.get("val_check_interval") == 0:
        raise UserError("trainer.val_check_interval: must be above 0; it is a share of the epoch, or a number of steps")

    # what covidmt does itself
    if settings.get("use_distributed_sampler"):
        raise UserError(
            "trainer.use_distributed_sampler: covidmt's own samplers distribute the batches among the processes; "
            "Lightning's would count images twice. Leave it out"
        )
    if isinstance(settings.get("logger"), bool):
        raise UserError("trainer.logger: MLflow tracking is always on; name loggers here to use them beside it")

    # what would lose results
    strategy = str(settings.get("strategy"))
    if any(word in strategy for word in ("spawn", "fork", "notebook")):
        raise UserError(f"trainer.strategy: the results of {strategy}'s child processes would be lost; use ddp")
    if settings.get("fast_dev_run"):
        raise UserError(
            "trainer.fast_dev_run: it switches tracking off, so it would prove nothing about it; "
            "use trainer.max_epochs=1 trainer.limit_train_batches=1 trainer.limit_val_batches=1"
        )


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
            reason = str(first).splitlines()[0]
            raise UserError(
                f"{path}: the checkpoint cannot be written ({reason}): make room or repair the folder, then give the "
                "same command again; it resumes from the previous checkpoint"
            ) from error


def _silence_lightning() -> None:
    """Silence Lightning's advertisements and warnings that would hide what a person must read."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)  # a deprecation inside of Lightning
    # Every process logs the same values: torchmetrics and the callbacks have put them together already.
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")
    # Shown wherever SLURM is installed, also to who runs on the login node or on purpose without it.
    warnings.filterwarnings("ignore", ".*`srun` command is available.*")
    # The run folder: a resumed run's checkpoints, and the mark that it is unfinished.
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    # A process without validation images has nothing to update its metrics with; the others' count.
    warnings.filterwarnings("ignore", ".*was called before the ``update`` method.*")


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return "💡" not in record.getMessage()


def _check_type(name: str, value: Any) -> None:
    """Refuse a value of a wrong plain type: Lightning takes most, and fails in the middle of the training."""
    kinds = get_args(_TYPES[name]) or (_TYPES[name],)
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if type(value) not in _PLAIN or type(value) in kinds or value in words or (type(value) is int and float in kinds):
        return
    allowed = [*map(str, words), *(text for kind, text in _PLAIN.items() if kind in kinds)]
    objects = [] if set(kinds) <= _PLAIN.keys() or words else ["{class_path: ..., init_args: ...}"]
    raise UserError(f"trainer.{name}: takes {', '.join([*allowed, *objects])}; not {value!r}")


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


def _instantiate(value: Any, key: str) -> Any:
    """Return the value with objects in place of ``class_path`` / ``init_args``, at any depth.

    Example:
        >>> _instantiate([{"class_path": "datetime.timedelta", "init_args": {"hours": 8}}, "text"], "trainer.example")
        [datetime.timedelta(seconds=28800), 'text']
    """
    if isinstance(value, list):
        return [_instantiate(item, f"{key}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "class_path" not in value:
        return {name: _instantiate(item, f"{key}.{name}") for name, item in value.items()}

    # the class
    path = str(value["class_path"])
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}.class_path: {path!r} cannot be imported: {error}") from error

    # its object
    init_args = value.get("init_args") or {}
    if not isinstance(init_args, dict):
        raise UserError(f"{key}.init_args: takes a mapping of names to values, not {init_args!r}")
    arguments = {name: _instantiate(item, f"{key}.{name}") for name, item in init_args.items()}
    try:
        return cls(**arguments)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise UserError(f"{key}.init_args: {path} refuses them: {error}") from error
