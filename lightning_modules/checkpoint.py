"""Checkpoints from disk, whoever they come from: nothing in them is executed, and a wrong file is named.

A checkpoint of ``covidmt train`` holds its experiment beside the weights, as plain containers, so that the network can
be built from the file alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from experiments.errors import UserError
from experiments.load import from_dict
from experiments.paths import expand
from experiments.schema import Experiment, Weighting

Checkpoint: TypeAlias = dict[str, Any]  # as Lightning writes it: state_dict, loops, callbacks, ... and what we add
EXPERIMENT = "experiment"  # the key of the experiment that was trained
PRIVACY = "privacy"  # the key of what a private training spent, and of what its guarantee holds for


def read_checkpoint(path: str | Path, command: str) -> Checkpoint:
    """Return what ``torch.load(weights_only=True)`` reads, on the CPU.

    Args:
        path: A checkpoint file.
        command: The command that writes such checkpoints, for the message.

    Raises:
        UserError: No such file, an unreadable or truncated one, or something else than a checkpoint.
    """
    path = expand(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; `{command}` writes one")

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler answers garbage with exceptions of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path}: is not a checkpoint, or is cut short ({reason})") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path}: is not a checkpoint of `{command}`")
    return checkpoint


def fill_weights(module: nn.Module, checkpoint: Checkpoint, path: str | Path) -> None:
    """Put a checkpoint's weights into the module that its experiment describes.

    Raises:
        UserError: The weights do not fit.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> fill_weights(layer, {"state_dict": {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}}, "some.ckpt")
        >>> layer(torch.tensor([3.0, 4.0])).item()
        7.0
    """
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except (KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"{path}: its weights do not fit its own experiment: {error}") from error


def saved_experiment(checkpoint: Checkpoint, where: str | Path) -> Experiment:
    """Return the experiment that a checkpoint of ``covidmt train`` was written by.

    Args:
        checkpoint: Of :func:`read_checkpoint`, or as Lightning hands it over.
        where: The file, for the message.

    Raises:
        UserError: The checkpoint holds no experiment with tasks.
    """
    values = checkpoint.get(EXPERIMENT)
    if not isinstance(values, dict) or "tasks" not in values:
        raise UserError(f"{where}: is not of `covidmt train`: it holds no experiment with tasks")
    return from_dict(Experiment, values)


def require_same_network(experiment: Experiment, checkpoint: Checkpoint) -> None:
    """Compare the network of an experiment with a checkpoint's.

    Raises:
        UserError: The checkpoint is of another network or of other tasks; names the first setting that differs.
    """
    saved = _architecture(saved_experiment(checkpoint, "the checkpoint"))
    for key, value in _architecture(experiment).items():
        if saved[key] != value:
            raise UserError(
                f"the checkpoint is of another experiment: its {key} is {saved[key]}, this one's is {value}; "
                "give the checkpoint's own experiment, or start a new run"
            )


def _architecture(experiment: Experiment) -> dict[str, object]:
    """What decides the names and shapes of the weights, by its setting."""
    model = experiment.model
    return {
        "model.backbone": model.backbone,
        "model.norm": model.norm.value,
        "model.transition_channels": model.transition_channels,
        "model.boxes": (model.boxes.channels, model.boxes.objectness),
        "losses.weighting": "uncertainty" if experiment.losses.weighting is Weighting.uncertainty else "fixed",
        "active tasks": {task.name: (task.kind.value, task.labels) for task in experiment.active},
    }
