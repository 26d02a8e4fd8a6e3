"""Checkpoints from disk, whoever they come from: nothing in them is executed, and a wrong file is named.

A checkpoint of ``covidmt train`` holds its experiment beside the weights, as plain containers, so that the network can
be built from the file alone.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from experiments.errors import UserError
from experiments.files import require_stored_archive
from experiments.keys import Values
from experiments.load import from_dict
from experiments.models.schema import Normalisation, Pyramid
from experiments.paths import expand
from experiments.plugins.imports import make_importable
from experiments.plugins.trust import foreign_classes, require_trust
from experiments.schema import Experiment, Weighting
from lightning_modules.networks.normalise import network_normalisation

Checkpoint: TypeAlias = dict[str, Any]  # as Lightning writes it: state_dict, loops, callbacks, ... and what we add
EXPERIMENT = "experiment"  # the key of the experiment that was trained
THRESHOLDS = "thresholds"  # the key of the labels' thresholds, by task and label
IMPORTS = "imports"  # the key of the folders that the experiment's own classes were imported from
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
        require_stored_archive(path)
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
        UserError: The weights do not fit, or are no numbers.

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

    # a training that broke gives no answers, and no scores
    broken = [name for name, value in module.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise UserError(
            f"{path}: its network is broken: {len(broken)} of its tensors hold NaN or infinite values, the first is "
            f"{broken[0]}; its training had a loss that is no finite number. Take an earlier checkpoint, or train again"
        )


def trusted_experiment(checkpoint: Checkpoint, where: str | Path) -> Experiment:
    """Return :func:`saved_experiment`, of which the network is to be built: classes that it names are imported.

    Raises:
        UserError: It names classes, and checkpoints are not trusted (:mod:`experiments.plugins.trust`).
    """
    experiment = saved_experiment(checkpoint, where)
    require_trust(experiment, where)
    folders = checkpoint.get(IMPORTS, []) if foreign_classes(experiment) else []
    make_importable(Path.cwd(), *(folder for folder in folders if Path(str(folder)).is_dir()))
    return experiment


def saved_experiment(checkpoint: Checkpoint, where: str | Path) -> Experiment:
    """Return the experiment that a checkpoint of ``covidmt train`` was written by; nothing that it names is imported.

    Args:
        checkpoint: Of :func:`read_checkpoint`, or as Lightning hands it over.
        where: The file, for the message.

    Raises:
        UserError: The checkpoint holds no experiment with tasks.
    """
    values = checkpoint.get(EXPERIMENT)
    if not isinstance(values, dict) or "tasks" not in values:
        raise UserError(f"{where}: is not of `covidmt train`: it holds no experiment with tasks")
    return from_dict(Experiment, _with_former_defaults(values))


def saved_thresholds(checkpoint: Checkpoint, where: str | Path = "the checkpoint") -> dict[str, dict[str, float]]:
    """Return the thresholds that a checkpoint's validation chose, task -> label -> probability; none: none were.

    Args:
        checkpoint: Of :func:`read_checkpoint`, or as Lightning hands it over.
        where: The file, for the message.

    Raises:
        UserError: They are no probabilities between 0 and 1.

    Example:
        >>> saved_thresholds({"thresholds": {"nodule": {"Nodule": 0.2}}}), saved_thresholds({})
        ({'nodule': {'Nodule': 0.2}}, {})
    """
    saved = checkpoint.get(THRESHOLDS, {})
    tasks = saved.values() if isinstance(saved, dict) else [saved]
    for labels in tasks:
        values = labels.values() if isinstance(labels, dict) else [labels]
        if not all(isinstance(value, float) and 0 < value < 1 for value in values):
            raise UserError(f"{where}: its thresholds of labels are no probabilities between 0 and 1: {saved!r:.200}")
    return {str(task): dict(labels) for task, labels in saved.items()}


def _with_former_defaults(values: Values) -> Values:
    """Return an experiment's settings with those that were no settings yet when an older checkpoint was saved."""
    model = values.get("model", {})
    if not isinstance(model, dict) or not isinstance(model.get("boxes", {}), dict):
        return values  # loading it says what is wrong
    boxes = {"pyramid": Pyramid.torchvision.name} | model.get("boxes", {})
    model = {"normalisation": asdict(Normalisation())} | model | {"boxes": boxes}
    return values | {"model": model}


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
        "model.normalisation": asdict(network_normalisation(model)),
        "model.head": model.head,
        "model.transition_channels": model.transition_channels if model.head == "transition" else None,
        "model.boxes": (model.boxes.pyramid.value, model.boxes.channels, model.boxes.objectness),
        "losses.weighting": "uncertainty" if experiment.losses.weighting is Weighting.uncertainty else "fixed",
        "active tasks": {
            task.name: (task.module or task.kind.value, task.column, task.labels) for task in experiment.active
        },
    }
