"""Checkpoints from disk, whoever they come from: nothing in them is executed, and what is no checkpoint is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.errors import UserError
from experiments.paths import expand


def read_checkpoint(path: str | Path, command: str) -> dict[str, Any]:
    """What ``torch.load(weights_only=True)`` reads, on the CPU.

    Args:
        path: A checkpoint file.
        command: The command that writes such checkpoints, for the message.

    Raises:
        UserError: No such file, unreadable, cut short, or something else than a checkpoint.
    """
    path = expand(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; `{command}` writes one")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler answers garbage with exceptions of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: is no checkpoint, or is cut short ({reason})") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path}: is not a checkpoint of `{command}`")
    return checkpoint


def fill(module: nn.Module, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Put a checkpoint's weights into the module that its experiment describes.

    Raises:
        UserError: They do not fit.
    """
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"{path}: its weights do not fit its own experiment: {error}") from error
