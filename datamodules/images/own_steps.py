"""Further steps of the augmentation: albumentations' transforms by name, and functions of the user's own.

A function gets ``image`` and, where it has such arguments, ``mask``, ``boxes`` and ``rng``; it returns the image, or a
dict with what it has changed:

* ``image``: (H, W) uint8; ``mask``: (H, W) uint8, or None;
* ``boxes``: (n, 4) float x1 y1 x2 y2 in pixels, n >= 0;
* ``rng``: the generator to draw from, so that an image's augmentation depends on nothing but its seed.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from experiments.errors import UserError
from experiments.plugins.choices import Choice
from experiments.plugins.registry import choose_function, find, make, place_of

with mock.patch.dict(os.environ, {"NO_ALBUMENTATIONS_UPDATE": "1"}):  # its import would ask a server for a newer one
    import albumentations as A


def own_step(text: str, key: str) -> A.BasicTransform | A.BaseCompose:
    """Return what one entry of ``data.augment.extra`` chooses, as a step of albumentations.

    Args:
        text: A transform's name (``GaussNoise(p=0.3)``), or a class or function by its path.
        key: The setting, for messages.

    Raises:
        UserError: There is no such thing, or it does not take its arguments.

    Example:
        >>> image = np.full((4, 4), 100, np.uint8)
        >>> own_step("InvertImg(p=1.0)", "data.augment.extra[0]")(image=image)["image"][0].tolist()
        [155, 155, 155, 155]
    """
    choice = Choice.parse(text, key)
    found = find("augmentations", choice.name, key)
    if inspect.isclass(found) and issubclass(found, A.BasicTransform | A.BaseCompose):
        return make(found, choice, key)
    return OwnStep(choose_function("augmentations", text, key), text, key)


class OwnStep(A.DualTransform):
    """A function of the user's own as a step of albumentations.

    Args:
        function: As the module says.
        text: What the setting says.
        key: The setting, for messages.
    """

    def __init__(self, function: Callable[..., Any], text: str, key: str) -> None:
        super().__init__(p=1.0)
        self.function, self.text, self.key = function, text, key
        self.wanted = set(inspect.signature(function).parameters) & {"mask", "boxes", "rng"}

    def __call__(self, *args: Any, force_apply: bool = False, **data: Any) -> Any:
        """Return the data with what the function has changed; boxes come and go as shares of the sides."""
        image, boxes = data["image"], np.asarray(data.get("bboxes", np.zeros((0, 4))), np.float64)
        sides = np.array([image.shape[1], image.shape[0]] * 2)
        offered = {"mask": data.get("mask"), "boxes": boxes[:, :4] * sides, "rng": self.random_generator}
        try:
            output = self.function(image.squeeze(), **{name: offered[name] for name in self.wanted})
        except Exception as error:
            raise UserError(f"{self.key}: {self.text} fails{place_of(error)}: {error}") from error
        changed = output if isinstance(output, dict) else {"image": output}

        # what came back
        new = changed.get("image", image)
        if not isinstance(new, np.ndarray) or new.dtype != np.uint8 or new.shape[:2] != image.shape[:2]:
            what = f"{new.dtype} {new.shape}" if isinstance(new, np.ndarray) else type(new).__name__
            raise UserError(f"{self.key}: {self.text} gives {what}; an image stays uint8 {image.shape[:2]}")
        data["image"] = new.reshape(image.shape)
        if changed.get("mask") is not None and "mask" in data:
            data["mask"] = np.asarray(changed["mask"], np.uint8)
        if "boxes" in changed and "bboxes" in data:
            moved = np.asarray(changed["boxes"], np.float64).reshape(-1, 4) / sides
            if len(moved) != len(boxes) and boxes.shape[1] > 4:
                raise UserError(f"{self.key}: {self.text} gives {len(moved)} boxes of {len(boxes)}; keep their number")
            data["bboxes"] = np.concatenate([moved, boxes[: len(moved), 4:]], axis=1).astype(np.float32)
        return data
