"""Lightning's Trainer from the ``trainer:`` section of an experiment."""

from __future__ import annotations

import importlib
import inspect
import logging
import traceback
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import lightning
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.plugins.environments import ClusterEnvironment, SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from callbacks.resume import AtomicCheckpointIO
from experiments.errors import UserError
from experiments.load import nearest

ARGUMENTS = [name for name in inspect.signature(Trainer.__init__).parameters if name not in ("self", "kwargs")]
_TYPES = get_type_hints(Trainer.__init__)
_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
_LOWEST = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "log_every_n_steps": 0}
_LIGHTNING = str(Path(str(lightning.__file__)).parent)

# Lightning's advertisements, and a deprecation inside of it, would hide what a person must read.
logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "💡" not in record.getMessage())
warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
# Every process logs the same values: torchmetrics and the callbacks have put them together already.
warnings.filterwarnings("ignore", ".*sync_dist=True.*")
# Said wherever SLURM is installed, also to who runs on the login node or on purpose without it.
warnings.filterwarnings("ignore", ".*`srun` command is available.*")
# The run's folder: a resumed run's checkpoints, and the mark that it is unfinished.
warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
# A process without validation images has nothing to update its metrics with; the others' count.
warnings.filterwarnings("ignore", ".*was called before the ``update`` method.*")


def check_arguments(arguments: dict[str, Any]) -> None:
    """Refuse what Trainer does not have, and what would break the scores.

    Raises:
        UserError: Naming the key.
    """
    for name in arguments:
        if name not in ARGUMENTS:
            raise UserError(f"trainer.{name}: Lightning's Trainer has no such argument{nearest(name, ARGUMENTS)}")
        _check_type(name, arguments[name])
    for name, lowest in _LOWEST.items():
        value = arguments.get(name)
        if isinstance(value, int) and value < lowest:
            raise UserError(f"trainer.{name}: must be {lowest} or more, is {value}")
    if arguments.get("val_check_interval") == 0:
        raise UserError("trainer.val_check_interval: must be above 0; it is a share of the epoch, or a number of steps")
    if arguments.get("use_distributed_sampler"):
        raise UserError(
            "trainer.use_distributed_sampler: the batches are dealt to the processes by covidmt's own samplers; "
            "Lightning's would count images twice. Leave it out"
        )
    if isinstance(arguments.get("logger"), bool):
        raise UserError("trainer.logger: MLflow tracking is always on; name loggers here to have them beside it")
    strategy = str(arguments.get("strategy"))
    if any(word in strategy for word in ("spawn", "fork", "notebook")):
        raise UserError(f"trainer.strategy: what {strategy}'s child processes find out stays in them; use ddp")
    if arguments.get("fast_dev_run"):
        raise UserError(
            "trainer.fast_dev_run: it switches tracking off, so it would prove nothing about it; "
            "use trainer.max_epochs=1 trainer.limit_train_batches=1 trainer.limit_val_batches=1"
        )


def make_trainer(arguments: dict[str, Any], callbacks: Sequence[Callback], directory: Path) -> Trainer:
    """Our callbacks, and every argument of the experiment's own; the MLflow logger is added when its run exists.

    Args:
        arguments: The ``trainer:`` section. ``{class_path: ..., init_args: {...}}`` anywhere in it makes an object;
            loggers and callbacks named there are added to covidmt's.
        callbacks: covidmt's callbacks.
        directory: Lightning's ``default_root_dir``, unless the section names one.

    Raises:
        UserError: An argument or a value that Trainer refuses, with its reason.
    """
    check_arguments(arguments)
    chosen = {name: _instantiate(value, f"trainer.{name}") for name, value in arguments.items()}
    loggers = _objects(chosen, "logger", Logger)
    plugins = _as_list(chosen.get("plugins"))
    if SLURMEnvironment.detect() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        # Lightning's own requeue keeps its checkpoints in one folder for all runs, and every run would start from them.
        plugins = [*plugins, SLURMEnvironment(auto_requeue=False)]
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins = [*plugins, AtomicCheckpointIO()]
    settings: dict[str, Any] = {
        "default_root_dir": directory,
        "num_sanity_val_steps": 1,
        "log_every_n_steps": 10,
        **chosen,
        "use_distributed_sampler": False,
        "logger": loggers or False,
        "callbacks": [*callbacks, *_objects(chosen, "callbacks", Callback)],
        "plugins": plugins,
    }
    try:
        trainer = Trainer(**settings)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError, ModuleNotFoundError) as error:
        raise UserError(f"trainer: Lightning refuses these settings: {error}") from error
    if settings.get("sync_batchnorm") and trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        raise UserError("trainer.sync_batchnorm: PyTorch has it for GPUs only; leave it out on CPUs")
    return trainer


@contextmanager
def explained() -> Generator[None]:
    """What Lightning finds wrong with the settings only when it runs, as a :class:`UserError`."""
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(f"trainer: Lightning refuses these settings: {error}") from error
    except (ValueError, RuntimeError) as error:  # Lightning's own words, such as those of val_check_interval
        if not traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_LIGHTNING):
            raise
        raise UserError(f"trainer: Lightning refuses these settings: {str(error).strip()}") from error


def _check_type(name: str, value: Any) -> None:
    """Lightning takes any value for most arguments, and stumbles over it in the middle of the training."""
    kinds = get_args(_TYPES[name]) or (_TYPES[name],)
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if type(value) not in _PLAIN or type(value) in kinds or value in words or (type(value) is int and float in kinds):
        return
    allowed = [*map(str, words), *(text for kind, text in _PLAIN.items() if kind in kinds)]
    objects = [] if set(kinds) <= _PLAIN.keys() or words else ["{class_path: ..., init_args: ...}"]
    raise UserError(f"trainer.{name}: takes {', '.join([*allowed, *objects])}; not {value!r}")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _objects(chosen: dict[str, Any], name: str, kind: type) -> list[Any]:
    values = _as_list(chosen.get(name))
    for value in values:
        if not isinstance(value, kind):
            raise UserError(
                f"trainer.{name}: {value!r} is no {kind.__name__}; write {{class_path: ..., init_args: ...}}"
            )
    return values


def _instantiate(value: Any, key: str) -> Any:
    """Objects for ``class_path`` / ``init_args``, at any depth."""
    if isinstance(value, list):
        return [_instantiate(item, f"{key}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "class_path" not in value:
        return {name: _instantiate(item, f"{key}.{name}") for name, item in value.items()}
    path = str(value["class_path"])
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{key}.class_path: {path!r} cannot be imported: {error}") from error
    init_args = value.get("init_args") or {}
    if not isinstance(init_args, dict):
        raise UserError(f"{key}.init_args: takes a mapping of names to values, not {init_args!r}")
    arguments = {name: _instantiate(item, f"{key}.{name}") for name, item in init_args.items()}
    try:
        return cls(**arguments)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise UserError(f"{key}.init_args: {path} refuses them: {error}") from error
