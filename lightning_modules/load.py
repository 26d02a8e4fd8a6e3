"""Modules from experiments and from checkpoints, with or without differential privacy as the experiment says."""

from __future__ import annotations

from pathlib import Path

from experiments.errors import UserError
from experiments.plugins.trust import trusting
from experiments.schema import Experiment
from lightning_modules.checkpoint import fill_weights, read_checkpoint, saved_thresholds, trusted_experiment
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.private_multitask import PrivateMultiTaskModule


def build_module(experiment: Experiment, *, pretrained: bool = True) -> MultiTaskModule:
    """Return the module that trains an experiment: :class:`.PrivateMultiTaskModule` where it has ``privacy``.

    Args:
        experiment: The experiment; only its active tasks get a head.
        pretrained: Load the weights that the experiment names; not needed when a checkpoint's follow.

    Raises:
        UserError: A base network, weights or a task name that cannot be used; ``model.init_from``, which is found by
            :mod:`covidmt.training.initial`.

    Example:
        >>> from experiments.load import SHIPPED, load_experiment
        >>> experiment = load_experiment(SHIPPED / "demo.yaml", ["model.backbone=timm:test_resnet"])
        >>> module = build_module(experiment, pretrained=False)
        >>> type(module).__name__, list(module.tasks)
        ('MultiTaskModule', ['covidx', 'rsna_boxes', 'infiltration', 'effusion', 'atelectasis', 'nodule'])
    """
    if pretrained and experiment.model.init_from is not None:
        raise UserError(
            "model.init_from: `covidmt train` loads it; in Python it is "
            "covidmt.training.initial.begin_module(experiment)"
        )
    kind = MultiTaskModule if experiment.privacy is None else PrivateMultiTaskModule
    return kind(experiment, pretrained=pretrained)


def load_module(path: str | Path, *, trust: bool = False) -> MultiTaskModule:
    """Return the module of a checkpoint with its experiment, in eval mode on the CPU; no ImageNet weights are needed.

    Args:
        path: A checkpoint of ``covidmt train``, private or not.
        trust: Import classes that it names by their paths (a network of the user's own): runs their code with
            arguments out of the file.

    Raises:
        UserError: No such file, a truncated one, or not a checkpoint of ``covidmt train``; or one that names classes,
            and is not trusted.
    """
    checkpoint = read_checkpoint(path, "covidmt train")
    with trusting(trust):
        module = build_module(trusted_experiment(checkpoint, path), pretrained=False)
    fill_weights(module, checkpoint, path)
    module.label_thresholds = saved_thresholds(checkpoint, path)
    return module.eval()
