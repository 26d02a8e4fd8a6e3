"""Modules from experiments and from checkpoints, with or without differential privacy as the experiment says."""

from __future__ import annotations

from pathlib import Path

from experiments.schema import Experiment
from lightning_modules.checkpoint import fill_weights, read_checkpoint, saved_experiment
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.private_multitask import PrivateMultiTaskModule


def build_module(experiment: Experiment, *, pretrained: bool = True) -> MultiTaskModule:
    """Return the module that trains an experiment: :class:`.PrivateMultiTaskModule` where it has ``privacy``.

    Args:
        experiment: The experiment; only its active tasks get a head.
        pretrained: Load the weights that the experiment names; not needed when a checkpoint's follow.

    Raises:
        UserError: A base network, weights or a task name that cannot be used.

    Example:
        >>> from experiments.load import SHIPPED, load_experiment
        >>> experiment = load_experiment(SHIPPED / "demo.yaml", ["model.backbone=timm:test_resnet"])
        >>> module = build_module(experiment, pretrained=False)
        >>> type(module).__name__, list(module.tasks)
        ('MultiTaskModule', ['covidx', 'rsna_boxes', 'infiltration', 'effusion', 'atelectasis', 'nodule'])
    """
    kind = MultiTaskModule if experiment.privacy is None else PrivateMultiTaskModule
    return kind(experiment, pretrained=pretrained)


def load_module(path: str | Path) -> MultiTaskModule:
    """Return the module of a checkpoint with its experiment, in eval mode on the CPU; no ImageNet weights are needed.

    Args:
        path: A checkpoint of ``covidmt train``, private or not.

    Raises:
        UserError: No such file, a truncated one, or not a checkpoint of ``covidmt train``.
    """
    checkpoint = read_checkpoint(path, "covidmt train")
    module = build_module(saved_experiment(checkpoint, path), pretrained=False)
    fill_weights(module, checkpoint, path)
    return module.eval()
