"""Training augmentation (paper: Data preprocessing). The only module that knows albumentations."""

from __future__ import annotations

import os
import random

import cv2
import numpy as np

from experiments.errors import UserError
from experiments.schema import Augment

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # the import would ask a server for a newer version
import albumentations as A

MIN_VISIBILITY = 0.25


def training_transform(augment: Augment) -> A.Compose:
    """JPEG recompression, then translation, rotation and zoom in one warp, horizontal flip, intensity shift.

    Call it as ``seeded(transform, seed)(image=..., bboxes=..., mask=...)["image"]``: ``image`` (H, W) uint8,
    ``bboxes`` (n, 4) x1 y1 x2 y2 in pixels, ``mask`` (H, W) uint8, the last two optional; all move together.

    What comes in from outside the image is black (0), in masks background. A moved box is the upright box around the
    turned one, clipped to the image; one of which less than a quarter is left in the image is dropped. The JPEG step
    works at the input size and comes first, as a received file is compressed before anything else happens to it. The
    intensity shift adds the same share of the grey range to every pixel.

    Raises:
        UserError: A setting out of its range.
    """
    _check(augment)
    steps: list[A.BasicTransform | A.BaseCompose] = []
    if augment.jpeg:
        low, high = augment.jpeg_quality
        steps.append(A.ImageCompression(quality_range=(low, high), p=augment.jpeg))
    shift = (-augment.translate, augment.translate)
    steps.append(
        A.Affine(
            scale=(1 - augment.zoom, 1 + augment.zoom),
            keep_ratio=True,
            translate_percent={"x": shift, "y": shift},
            rotate=(-augment.rotate, augment.rotate),
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_NEAREST,
            border_mode=cv2.BORDER_CONSTANT,
            fill=0,
            fill_mask=0,
            p=1.0,
        )
    )
    if augment.hflip:
        steps.append(A.HorizontalFlip(p=augment.hflip))
    if augment.intensity:
        limit = (-augment.intensity, augment.intensity)
        steps.append(
            A.RandomBrightnessContrast(brightness_limit=limit, contrast_limit=(0, 0), brightness_by_max=True, p=1.0)
        )
    boxes = A.BboxParams(
        format="pascal_voc", clip=True, filter_invalid_bboxes=True, min_visibility=MIN_VISIBILITY, label_fields=[]
    )
    return A.Compose(steps, bbox_params=boxes)


def seeded(transform: A.Compose, seed: int) -> A.Compose:
    """The transform with its random state set, so that its next call is a pure function of the seed and its input.

    Not ``Compose.set_random_seed``: that gives every step the same generator state, and flip, rotation and intensity
    would always go together.
    """
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return transform


def _check(augment: Augment) -> None:
    for name, top in (("translate", 1), ("zoom", 1), ("intensity", 1), ("hflip", 1), ("jpeg", 1), ("rotate", 180)):
        value = getattr(augment, name)
        if not 0 <= value <= top or (name == "zoom" and value == 1):
            raise UserError(f"data.augment.{name}: {value} is out of range; it must be between 0 and {top}")
    quality = list(augment.jpeg_quality)
    if len(quality) != 2 or not 1 <= quality[0] <= quality[1] <= 100:
        raise UserError(f"data.augment.jpeg_quality: {quality} is no [lowest, highest] pair of qualities in 1..100")
