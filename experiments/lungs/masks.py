"""The settings of lung masks: where they lie, what they draw, and the convention of the scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import Any

from omegaconf import MISSING

from experiments.paths import absolute
from experiments.plugins.choices import chosen

HEARTS = {
    "in": "lung fields with the part behind the heart",
    "out": "lungs that stop at the heart",
}  # the two conventions, and what each is called
OTHER_HEART = {"in": "out", "out": "in"}


@dataclass
class MaskLevels:
    """Which grey levels of a mask with several of them are lungs and heart; all others are background.

    >>> MaskLevels(lungs=[1, 2], heart=3).heart_levels
    [3]
    """

    lungs: Any = MISSING  # a level, or a list of them
    heart: Any = None  # as above; a level of both lists is the part of a lung behind the heart

    @property
    def lung_levels(self) -> list[int]:
        """``lungs`` as a list."""
        return _as_list(self.lungs)

    @property
    def heart_levels(self) -> list[int]:
        """``heart`` as a list."""
        return _as_list(self.heart)


def _as_list(levels: Any) -> list[int]:
    if levels is None:
        return []
    return [levels] if isinstance(levels, int) else list(levels)


def native_convention(levels: MaskLevels | None, drawn: str) -> str:
    """Return the convention of a data set's masks: what is said of them, unless their levels tell.

    >>> native_convention(MaskLevels(lungs=[1, 2], heart=3), "in"), native_convention(None, "in")
    ('out', 'in')
    """
    if levels is None or not levels.heart_levels:
        return drawn
    return "in" if set(levels.lung_levels) & set(levels.heart_levels) else "out"


@dataclass
class Masks:
    """Lung masks.

    Two conventions are in use: lung fields with the part behind the heart (V7 Labs), and lungs that stop at the heart
    (JSRT, Montgomery). They give different OLS scores, so every score says its own.

    Attributes:
        folders: Folders with ``<image stem><suffix>.png`` masks that a data set brings; they win. What several folders
            have of one image is joined: the left and the right lung.
        suffix: What a mask's stem has behind its image's, such as ``_mask``.
        levels: Which grey levels of the folders' masks are lungs and heart; null: they have two, background and lung.
        drawn: ``in``: the folders' lungs hold the part behind the heart; ``out``: they stop at the heart, as they
            always do where `levels` names a heart of its own.
        heart: The convention of every score: ``in`` or ``out``. Masks drawn otherwise are completed by the heart (and
            the lungs behind it) that the segmenter draws.
        segmenter: Makes the masks of all other images: ``covidmt``, the one that comes with the project
            (docs/lung_segmenter.md); ``torchxrayvision``, an optional extra; a checkpoint of ``covidmt lungs train``;
            a lungs experiment YAML that is trained once when needed; or a class of your own. null: such images count
            as having no lung.
        cache: Folder of computed masks, keyed by image content and segmenter.
    """

    folders: list[str] = field(default_factory=list)
    suffix: str = ""
    levels: MaskLevels | None = None
    drawn: str = "in"
    heart: str = "in"
    segmenter: str | None = chosen("covidmt", "segmenters")
    cache: str = "mlruns/masks"

    @property
    def native(self) -> str:
        """The convention that the folders' masks are drawn in."""
        return native_convention(self.levels, self.drawn)

    @property
    def mask_folders(self) -> list[Path]:
        """``folders``, absolute."""
        return [absolute(folder) for folder in self.folders]

    @property
    def cache_folder(self) -> Path:
        """``cache``, absolute."""
        return absolute(self.cache)
