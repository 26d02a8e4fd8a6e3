"""What data and models exchange: one training step's batch, and the image pairs of the robustness scores."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class TaskBatch(NamedTuple):
    """One task's share of a step.

    Tasks that share a batch (NIH's four) point at the same rows of :attr:`Batch.images`.

    Attributes:
        rows: The task's rows of ``Batch.images``, B of them.
        targets: (B, number of labels) float32 with 1 / 0 / NaN = unknown; a ``multiclass`` target is one-hot.
            (B, 0) for a ``boxes`` task.
        boxes: For a ``boxes`` task one (n_i, 4) float32 tensor an image, x1 y1 x2 y2 in input pixels, n_i >= 0;
            an empty list for the other kinds.

    Two images of a step of three, for a task of two labels; the second image's second label is unknown:

    >>> import torch
    >>> task = TaskBatch(slice(1, 3), torch.tensor([[1.0, 0.0], [0.0, float("nan")]]), boxes=[])
    >>> task.targets.isnan().sum().item()
    1
    """

    rows: slice
    targets: Tensor
    boxes: list[Tensor]


class Batch(NamedTuple):
    """All images of one step, so that the base network sees them in one forward.

    Attributes:
        images: (N, 1, S, S) uint8 grey images, 0-255; normalised on the device by the module.
        tasks: Each task's rows and targets, in the order of the active tasks.
        received: (B, 1, S, S) uint8, in training with ``losses.consistency``: what the channel makes of the images of
            the task that decides, in the order of its rows.
        lungs: (B, S, S) bool, in training with ``losses.attention``: the lung fields of these images.
        patients: (N,) int64, a number for each image's patient, where all are of one source that knows them.

    Two tasks that share a batch point at the same rows:

    >>> import torch
    >>> nodule = TaskBatch(slice(0, 2), torch.zeros(2, 1), boxes=[])
    >>> effusion = TaskBatch(slice(0, 2), torch.ones(2, 1), boxes=[])
    >>> batch = Batch(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), {"nodule": nodule, "effusion": effusion})
    >>> batch.images[batch.tasks["effusion"].rows].shape
    torch.Size([2, 1, 8, 8])
    """

    images: Tensor
    tasks: dict[str, TaskBatch]
    received: Tensor | None = None
    lungs: Tensor | None = None
    patients: Tensor | None = None


class Pair(NamedTuple):
    """Originals and what the phone received; one item holds both, so that no sampler can split a pair.

    A data set item has these fields without the leading dimension (``id`` a string); a batch has them stacked.

    Attributes:
        original: (B, 1, S, S) uint8.
        received: (B, 1, S, S) uint8, the same images after the channel (WhatsApp), through the same decoder and resize.
        label: (B,) float32, 1 = has the decision's label (COVID-19), 0 = has not, NaN = unknown.
        lung: (B, S, S) bool, the lung fields of the original; all False where no lung was found. (B, 0, 0): there are
            no masks; a DataModule that is not covidmt's may say None.
        id: B names, unique in the data set (the original's file name).
    """

    original: Tensor
    received: Tensor
    label: Tensor
    lung: Tensor
    id: list[str]


def mark_missing_masks(pair: Pair) -> Pair:
    """Return a pair or a batch of them with (0, 0) masks in the place of None.

    >>> import torch
    >>> mark_missing_masks(Pair(*torch.zeros(3, 2, 1, 8, 8), None, ["a.png", "b.png"])).lung.shape
    torch.Size([2, 0, 0])
    """
    if pair.lung is not None:
        return pair
    return pair._replace(lung=pair.original.new_zeros((*pair.original.shape[:-3], 0, 0), dtype=bool))


class TaskPairs(NamedTuple):
    """A batch of pairs of one source, and the tasks that are scored on them.

    Attributes:
        tasks: Names of the tasks.
        decides: They are the pairs of the decision.
        pair: B pairs.
        patients: B patients.
        boxes: The originals' true boxes, one (n_i, 4) float32 tensor a pair, x1 y1 x2 y2 in input pixels; empty where
            the source has none.
    """

    tasks: list[str]
    decides: bool
    pair: Pair
    patients: list[str]
    boxes: list[Tensor]


class LungBatch(NamedTuple):
    """Images with their lungs.

    Attributes:
        images: (N, 1, S, S) uint8 grey images, 0-255.
        lungs: (N, S, S) bool, the lung fields.
        folders: (N,) int64, index of each image's folder in ``data.folders``.
        hearts: (N, S, S) bool; nothing where the heart is unknown.
        has_heart: (N,) bool, whether the heart is known.
        poses: (N,) int64, index in :data:`experiments.lungs.poses.POSES`; lungs and heart are known of 0 alone.
    """

    images: Tensor
    lungs: Tensor
    folders: Tensor
    hearts: Tensor
    has_heart: Tensor
    poses: Tensor
