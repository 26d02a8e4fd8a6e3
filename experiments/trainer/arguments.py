"""What the ``trainer:`` section may hold: the arguments of Lightning's Trainer.

Written down here, because to ask Lightning takes the seconds of its import, and a mistake should be answered at once.
"""

from __future__ import annotations

from types import NoneType
from typing import Any

from experiments.errors import UserError, nearest
from experiments.plugins.choices import Choice
from experiments.plugins.registry import find, require_arguments

TrainerSettings = dict[str, Any]  # the ``trainer:`` section, as YAML gives it

OWN = {"detect_nonfinite": ("stop", "warn")}  # covidmt's own settings among Trainer's arguments; the first: default

# Lightning 2's Trainer: each argument's plain types, the words it takes besides, and "object" where it takes one of a
# class. A test compares this with the Trainer that is installed.
ARGUMENTS = {
    "accelerator": (str, "object"),
    "strategy": (str, "object"),
    "devices": (list, str, int),
    "num_nodes": (int,),
    "precision": (
        64, 32, 16, "transformer-engine", "transformer-engine-float16", "16-true", "16-mixed", "bf16-true",
        "bf16-mixed", "32-true", "64-true", "64", "32", "16", "bf16", NoneType,
    ),
    "logger": (list, bool, NoneType, "object"),
    "callbacks": (list, NoneType, "object"),
    "fast_dev_run": (int, bool),
    "max_epochs": (int, NoneType),
    "min_epochs": (int, NoneType),
    "max_steps": (int,),
    "min_steps": (int, NoneType),
    "max_time": (str, dict, NoneType, "object"),
    "limit_train_batches": (int, float, NoneType),
    "limit_val_batches": (int, float, NoneType),
    "limit_test_batches": (int, float, NoneType),
    "limit_predict_batches": (int, float, NoneType),
    "overfit_batches": (int, float),
    "val_check_interval": (int, float, str, dict, NoneType, "object"),
    "check_val_every_n_epoch": (int, NoneType),
    "num_sanity_val_steps": (int, NoneType),
    "log_every_n_steps": (int, NoneType),
    "enable_checkpointing": (bool, NoneType),
    "enable_progress_bar": (bool, NoneType),
    "enable_model_summary": (bool, NoneType),
    "accumulate_grad_batches": (int,),
    "gradient_clip_val": (int, float, NoneType),
    "gradient_clip_algorithm": (str, NoneType),
    "deterministic": (bool, "warn", NoneType),
    "benchmark": (bool, NoneType),
    "inference_mode": (bool,),
    "use_distributed_sampler": (bool,),
    "profiler": (str, NoneType, "object"),
    "detect_anomaly": (bool,),
    "barebones": (bool,),
    "plugins": (list, NoneType, "object"),
    "sync_batchnorm": (bool,),
    "reload_dataloaders_every_n_epochs": (int,),
    "default_root_dir": (str, NoneType, "object"),
    "enable_autolog_hparams": (bool,),
    "model_registry": (str, NoneType),
}  # fmt: skip

CHOSEN = {"logger": "loggers", "callbacks": "callbacks"}  # arguments that take names, and the groups of these
_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
_LOWEST = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "log_every_n_steps": 0}


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
    for name, value in settings.items():
        if name in OWN:
            if value not in OWN[name]:
                raise UserError(f"trainer.{name}: takes {' or '.join(OWN[name])}, not {value!r}")
            continue
        if name not in ARGUMENTS:
            raise UserError(
                f"trainer.{name}: Lightning's Trainer has no such argument{nearest(name, [*ARGUMENTS, *OWN])}"
            )
        if name not in CHOSEN or not isinstance(value, str):
            _check_type(name, value)
        _check_classes(value, f"trainer.{name}", CHOSEN.get(name))
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
        raise UserError(
            "trainer.logger: takes loggers beside MLflow, by name or class; tracking.enabled=false switches MLflow off"
        )

    # what would lose results
    strategy = str(settings.get("strategy"))
    if any(word in strategy for word in ("spawn", "fork", "notebook")):
        raise UserError(f"trainer.strategy: the results of {strategy}'s child processes would be lost; use ddp")
    if settings.get("fast_dev_run"):
        raise UserError(
            "trainer.fast_dev_run: it switches tracking off, so it would prove nothing about it; "
            "use trainer.max_epochs=1 trainer.limit_train_batches=1 trainer.limit_val_batches=1"
        )


def _check_classes(value: Any, key: str, group: str | None) -> None:
    """Import the classes that a value names, at any depth: a wrong one is met before anything is made.

    Raises:
        UserError: It cannot be imported, or does not take its arguments.
    """
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check_classes(item, f"{key}[{index}]", group)
    elif isinstance(value, dict) and "class_path" in value:
        choice = Choice.read(value, key)
        found = find(group or "callbacks", choice.name, f"{key}.class_path")
        require_arguments(found, choice, f"{key}.init_args")
    elif isinstance(value, str) and group:
        find(group, Choice.parse(value, key).name, key)


def _check_type(name: str, value: Any) -> None:
    """Refuse a value of a wrong plain type: Lightning takes most, and fails in the middle of the training."""
    allowed = ARGUMENTS[name]
    types = [kind for kind in allowed if isinstance(kind, type)]
    words = [word for word in allowed if not isinstance(word, type) and word != "object"]
    if type(value) not in _PLAIN or type(value) in types or value in words or (type(value) is int and float in types):
        return

    named = [*map(str, words), *(text for kind, text in _PLAIN.items() if kind in types)]
    others = not words and (set(types) - _PLAIN.keys() or "object" in allowed)
    objects = ["{class_path: ..., init_args: ...}"] if others else []
    raise UserError(f"trainer.{name}: takes {', '.join([*named, *objects])}; not {value!r}")
