"""Training augmentation (paper: Data preprocessing). The only module that knows albumentations."""

from __future__ import annotations

import functools
import os
import random
from typing import NamedTuple
from unittest import mock

import cv2
import numpy as np

from datamodules.images.own_steps import own_step
from datamodules.reading.boxes import MIN_VISIBILITY
from experiments.errors import UserError
from experiments.pretraining.schema import Views
from experiments.schema import Augment

with mock.patch.dict(os.environ, {"NO_ALBUMENTATIONS_UPDATE": "1"}):  # its import would ask a server for a newer one
    import albumentations as A


def training_transform(augment: Augment) -> A.Compose:
    """Return the augmentation of training images.

    In this order: JPEG recompression; side ratio; translation, rotation and zoom in one warp; horizontal flip; grey
    levels. Call it as ``seeded(transform, seed)(image=..., bboxes=..., mask=...)["image"]``: ``image`` (H, W) uint8,
    ``bboxes`` (n, 4) x1 y1 x2 y2 in pixels, ``mask`` (H, W) uint8, the last two optional; all move together.

    What comes in from outside the image is black (0), in masks background. A moved box is the upright box around the
    turned one, clipped to the image; one of which less than a quarter is left in the image is dropped. The JPEG step
    works at the input size and comes first, as a received file is compressed before anything else happens to it. The
    intensity shift adds the same share of the grey range to every pixel. Opacities, gamma, blur and noise are not the
    paper's. Steps of ``augment.extra`` come last (:mod:`.own_steps`).

    Raises:
        UserError: A setting out of its range.

    Example:
        >>> image = np.full((4, 4), 100, np.uint8)
        >>> transform = training_transform(Augment(translate=0, zoom=0, rotate=0, hflip=1, intensity=0))
        >>> image[0] = [0, 1, 2, 3]
        >>> seeded(transform, 7)(image=image)["image"][0].tolist()
        [3, 2, 1, 0]
    """
    check_ranges(augment)

    # what a messaging app and a careless resize do
    steps: list[A.BasicTransform | A.BaseCompose] = []
    if augment.jpeg:
        low, high = augment.jpeg_quality
        steps.append(A.ImageCompression(quality_range=(low, high), p=augment.jpeg))
    if augment.ratio:
        steps.append(_ratio(augment.ratio))

    # how the patient stands before the detector
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

    steps += _grey_levels(augment)
    steps += [own_step(text, f"data.augment.extra[{index}]") for index, text in enumerate(augment.extra)]
    boxes = A.BboxParams(
        format="pascal_voc", clip=True, filter_invalid_bboxes=True, min_visibility=MIN_VISIBILITY, label_fields=[]
    )
    return A.Compose(steps, bbox_params=boxes)


def view_transform(views: Views, size: int) -> A.Compose:
    """Return what makes a view of a film for self-supervised pretraining: a crop, then :func:`training_transform`.

    Args:
        views: The settings.
        size: Side of the views, in pixels.

    Raises:
        UserError: A setting out of its range.

    Example:
        >>> from experiments.pretraining.schema import Views
        >>> film = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
        >>> one, other = (seeded(view_transform(Views(), 32), seed)(image=film)["image"] for seed in (0, 1))
        >>> one.shape, bool((one == other).all())
        ((32, 32), False)
    """
    crop = A.RandomResizedCrop((size, size), scale=(views.crop, 1.0), ratio=(0.9, 1.1), interpolation=cv2.INTER_AREA)
    return A.Compose([crop, *training_transform(views).transforms])


def _ratio(share: float) -> A.OneOf:
    """COVID-Net's random ratio resizing (its data.py): 3 images in 10, black where the image no longer reaches."""
    warp = functools.partial(
        A.Affine,
        keep_ratio=False,
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        fill_mask=0,
        p=1.0,
    )
    shrunk, whole = (1 - share, 1.0), 1.0
    return A.OneOf([warp(scale={"x": shrunk, "y": whole}), warp(scale={"x": whole, "y": shrunk})], p=0.3)


def _grey_levels(augment: Augment) -> list[A.BasicTransform | A.BaseCompose]:
    steps: list[A.BasicTransform | A.BaseCompose] = []
    if augment.opacities:
        steps.append(Opacities(p=augment.opacities))

    # exposure and the detector's curve
    if augment.gamma:
        high = 100 * (1 + augment.gamma)
        steps.append(A.RandomGamma(gamma_limit=(1e4 / high, high), p=1.0))
    if augment.intensity or augment.contrast:
        steps.append(
            A.RandomBrightnessContrast(
                brightness_limit=(-augment.intensity, augment.intensity),
                contrast_limit=(-augment.contrast, augment.contrast),
                brightness_by_max=True,
                p=1.0,
            )
        )

    # sharpness and noise
    if augment.blur:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.01, augment.blur), p=0.5))
    if augment.noise:
        steps.append(A.GaussNoise(std_range=(0, augment.noise), p=0.5))
    return steps


class Cloud(NamedTuple):
    """A soft bright ellipse: centre, radii and softness as shares of the side, angle in degrees, alpha, grey level."""

    x: float
    y: float
    a: float
    b: float
    angle: float
    alpha: float
    level: float


FAINTEST = Cloud(0.1, 0.1, 0.06, 0.06, 0.0, 0.3, 140)
STRONGEST = Cloud(0.9, 0.9, 0.28, 0.28, 180.0, 0.95, 225)


class Opacities(A.ImageOnlyTransform):
    """One to four bright clouds, as consolidations and effusions: soft ellipses blended in up to almost opaque.

    They lie anywhere in the central four fifths of the image and may cover a whole lung; masks are left as they are, so
    that a segmenter learns to draw the outline of a lung that it cannot see.
    """

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict[str, list[Cloud]]:
        """Draw the clouds; albumentations asks for what :meth:`apply` takes."""
        count = self.py_random.randint(1, 4)
        return {"clouds": [Cloud(*map(self.py_random.uniform, FAINTEST, STRONGEST)) for _ in range(count)]}

    def apply(self, img: np.ndarray, clouds: list[Cloud], **params: object) -> np.ndarray:
        """Return the image, (H, W) or (H, W, 1) uint8, with the clouds blended in."""
        height, width = img.shape[:2]
        grey = img.astype(np.float32)
        for x, y, a, b, angle, alpha, level in clouds:
            shape = np.zeros((height, width), np.float32)
            axes = (a * width, b * height)
            cv2.ellipse(shape, ((x * width, y * height), (2 * axes[0], 2 * axes[1]), angle), 1.0, -1)
            shape = alpha * cv2.GaussianBlur(shape, (0, 0), min(axes) / 3)
            grey += shape.reshape(img.shape) * (level - grey)
        return grey.round().astype(np.uint8)


def seeded(transform: A.Compose, seed: int) -> A.Compose:
    """Return the transform with its random state set: its next call is a pure function of the seed and its input.

    Not ``Compose.set_random_seed``: that gives every step the same generator state, and flip, rotation and intensity
    would always go together.
    """
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return transform


def check_ranges(augment: Augment) -> None:
    """Refuse settings that mean nothing.

    Raises:
        UserError: Naming the setting and its range.
    """
    shares = ("translate", "zoom", "intensity", "contrast", "noise", "opacities", "hflip", "jpeg", "ratio")
    for name, top in (*((share, 1) for share in shares), ("gamma", 4), ("blur", 20), ("rotate", 180)):
        value = getattr(augment, name)
        if not 0 <= value <= top or (name in ("zoom", "ratio") and value == 1):
            raise UserError(f"data.augment.{name}: {value} is out of range; it must be between 0 and {top}")
    quality = list(augment.jpeg_quality)
    if len(quality) != 2 or not 1 <= quality[0] <= quality[1] <= 100:
        raise UserError(f"data.augment.jpeg_quality: {quality} is no [lowest, highest] pair of qualities in 1..100")
