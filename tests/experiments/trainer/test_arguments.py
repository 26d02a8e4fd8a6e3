"""The trainer: section, checked without Lightning."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import NoneType
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from lightning.pytorch import Trainer

from experiments.errors import UserError
from experiments.trainer.arguments import ARGUMENTS, check_arguments

_PLAIN = (int, float, bool, str, list, dict, NoneType)


def test_the_table_is_that_of_the_installed_trainer():
    hints, installed = get_type_hints(Trainer.__init__), {}
    for name in inspect.signature(Trainer.__init__).parameters:
        if name in ("self", "kwargs"):
            continue
        allowed: set[object] = set()
        for kind in get_args(hints[name]) or (hints[name],):
            plain = get_origin(kind) or kind
            if plain is Literal:
                allowed |= set(get_args(kind))
            elif plain in _PLAIN:
                allowed.add(plain)
            else:
                allowed |= {list, "object"} if "Iterable" in str(plain) else {"object"}
        installed[name] = allowed

    assert len(ARGUMENTS) > 30
    assert {name: set(allowed) for name, allowed in ARGUMENTS.items()} == installed


def test_what_detect_nonfinite_takes():
    with pytest.raises(UserError, match=r"trainer\.detect_nonfinite: takes stop or warn, not False"):
        check_arguments({"detect_nonfinite": False})
    with pytest.raises(UserError, match="did you mean 'detect_nonfinite'"):
        check_arguments({"detect_nonfinit": "warn"})


@pytest.mark.parametrize(
    "settings",
    [
        {"devices": [0, 1]},
        {"devices": "auto"},
        {"precision": "bf16-mixed"},
        {"precision": 16},
        {"limit_train_batches": 1},
        {"max_time": {"hours": 1}},
        {"deterministic": "warn"},
        {"logger": {"class_path": "lightning.pytorch.loggers.CSVLogger"}},
    ],
)
def test_what_lightning_takes_is_taken(settings: dict[str, object]):
    check_arguments(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": "three"}, r"trainer\.max_epochs: takes a whole number, null; not 'three'"),
        ({"precision": "half"}, r"trainer\.precision: takes 64, 32, .*bf16, null; not 'half'"),
        ({"deterministic": "yes"}, r"trainer\.deterministic: takes warn, true or false, null; not 'yes'"),
        ({"callbacks": True}, r"trainer\.callbacks: takes null, \{class_path: \.\.\., init_args: .*\}; not True"),
        ({"accumulate_grad_batches": 0}, r"trainer\.accumulate_grad_batches: must be 1 or more, is 0"),
        ({"use_distributed_sampler": True}, "would count images twice"),
        ({"strategy": "ddp_spawn"}, "use ddp"),
    ],
)
def test_arguments_that_would_break_the_scores_are_refused(settings: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        check_arguments(settings)


def test_nothing_heavy_is_imported_for_it():
    code = (
        "import sys, experiments.load, experiments.trainer.arguments; "
        "print(sorted({'torch', 'lightning', 'pandas', 'mlflow'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
