"""``covidmt evaluate --membership``: does a network's loss tell which images it was trained on?"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from covidmt.evaluation.networks import Network
from covidmt.evaluation.scores import ResampledScore, mean_score
from covidmt.features.source_answers import answer_source
from experiments.errors import UserError
from experiments.schema import PrivacyUnit, Task, TaskKind
from lightning_modules.checkpoint import PRIVACY, read_checkpoint
from lightning_modules.privacy import require_opacus, spent_epsilon
from metrics import weighted
from metrics.bootstrap import PatientBootstrap
from metrics.membership import advantage_bound, membership_advantage


def membership_scores(network: Network, resamples: int) -> tuple[dict[str, ResampledScore], list[str]]:
    """Attack a network by its deciding task's loss on its own training images and on the test images.

    Args:
        network: The network; its own splits say what it was trained on.
        resamples: Of the bootstrap over patients.

    Returns:
        ``membership/<name>`` -> score; and a note on what its privacy allows, where it has one.

    Raises:
        UserError: The task's source has no test image, or cannot be read.
    """
    task = network.own.tasks[network.own.robustness.task]
    answers = answer_source(network.module, network.own, task)
    losses = image_losses(
        task, torch.from_numpy(answers.logits), torch.tensor(answers.table[task.labels].to_numpy(float))
    )

    # members, and images that the network has never met: not those that chose its epoch
    split = answers.table["split"].to_numpy(dtype=np.str_)
    rows = np.isin(split, ["train", "test"]) & ~np.isnan(losses)
    member, losses = split[rows] == "train", losses[rows]
    if member.all() or not member.any():
        raise UserError(f"--membership: source '{task.source}' has no labelled images in both the train and test split")
    bootstrap = PatientBootstrap(answers.table["patient"].to_numpy(dtype=np.str_)[rows], resamples)

    every = np.ones(len(losses), bool)
    advantage = partial(membership_advantage, member=member, loss=losses)
    area = partial(weighted.auroc, truth=member, score=-losses)
    scores = {
        "advantage": ResampledScore(advantage, bootstrap, every, None),
        "auroc": ResampledScore(area, bootstrap, every, 1.0, ranking=(member, -losses)),
    }
    for name, rows in {"loss_trained": member, "loss_new": ~member}.items():
        scores[name] = mean_score(np.where(rows, losses, np.nan), bootstrap, None, least=0.0)
    return {f"membership/{name}": score for name, score in scores.items()}, _privacy_notes(network)


def image_losses(task: Task, logits: Tensor, targets: Tensor) -> np.ndarray:
    """Return each image's cross-entropy, (n,) float64; NaN where nothing of it is known.

    Args:
        task: A classification task: a softmax's cross-entropy, or the mean of the known labels' sigmoid ones.
        logits: (n, labels) float.
        targets: (n, labels) 1 / 0 / NaN = unknown.

    Example:
        >>> logits, targets = torch.zeros(2, 2), torch.tensor([[1.0, float("nan")], [float("nan"), float("nan")]])
        >>> image_losses(Task(labels=["a", "b"]), logits, targets).round(3)
        array([0.693,   nan])
    """
    logits, targets = logits.double(), targets.double()
    if task.kind is TaskKind.multiclass:
        known = (targets == 1).sum(dim=1) == 1
        losses = torch.nn.functional.cross_entropy(logits, targets.nan_to_num(0).argmax(dim=1), reduction="none")
        return torch.where(known, losses, torch.nan).numpy()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.nan_to_num(0), reduction="none")
    return torch.where(targets.isnan(), torch.nan, losses).nanmean(dim=1).numpy()


def _privacy_notes(network: Network) -> list[str]:
    """Return what the network's differential privacy allows any attack; nothing where it has none."""
    privacy = network.own.privacy
    if privacy is None or network.checkpoint is None:
        return []
    require_opacus()
    saved = read_checkpoint(network.checkpoint, "covidmt train").get(PRIVACY)
    if saved is None:
        return []
    epsilon = spent_epsilon(privacy, saved["history"])
    bound = advantage_bound(epsilon, privacy.delta)
    unit = "an image" if privacy.unit is PrivacyUnit.image else "a patient"
    return [
        f"{network.name}: trained with epsilon {epsilon:.2f} for {unit} until this epoch (delta {privacy.delta:g}): no "
        f"attack on {unit}'s membership has an advantage above {bound:.3f}"
    ]
