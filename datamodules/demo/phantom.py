"""Made-up chest X-rays: a flat attenuation model of a chest, its lung fields, and findings inside them.

A patient's generator fixes the anatomy and an image's generator the film (pose, exposure, grain), so that two films of
one patient look alike, as in real data, where that is what a split by image leaks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from datamodules.demo.anatomy import Anatomy
from datamodules.demo.canvas import blur, cloud, smooth
from datamodules.demo.findings import FINDINGS

_TISSUE, _AIR, _BONE = 0.56, 0.46, 0.085  # grey levels (of 1) that full tissue, lung depth and bone add or take


@dataclass(frozen=True)
class Chest:
    """One film.

    Attributes:
        image: (S, S) uint8.
        lungs: (S, S) bool, both lung fields, the part behind the heart included.
        boxes: Finding -> (n, 4) float32, x1 y1 x2 y2 in pixels, around each of its opacities inside the lungs.
    """

    image: np.ndarray
    lungs: np.ndarray
    boxes: dict[str, np.ndarray] = field(default_factory=dict)


def draw_chest(
    anatomy: Anatomy,
    findings: Collection[str],
    film: np.random.Generator,
    *,
    size: int,
    letter: str = "L",
    portable: bool = False,
) -> Chest:
    """Draw one film of a patient.

    Args:
        anatomy: The patient, drawn at ``size`` or larger.
        findings: Of :data:`~datamodules.demo.findings.FINDINGS`; none: a healthy chest.
        film: Generator of all that differs between two films of one patient.
        size: Side S in pixels.
        letter: The side mark in the corner, ``L`` or ``R``.
        portable: A bedside film: burnt-in text, a wire and electrodes.

    Example:
        >>> patient = Anatomy.draw(64, np.random.default_rng(0))
        >>> chest = draw_chest(patient, ["Pneumonia"], np.random.default_rng(1), size=64)
        >>> chest.image.shape, list(chest.boxes)
        ((64, 64), ['Pneumonia'])
        >>> bool(chest.image[chest.lungs].mean() < chest.image[~chest.lungs].mean())  # air is dark
        True
    """
    side = len(anatomy.lungs)
    opacity, parts = _lay_over(anatomy, findings, film)
    image = _expose(anatomy, opacity, film)

    # pose: one warp moves image, lungs and findings alike; below and beside the frame the body goes on
    angle, scale = film.normal(0, 1.5), film.uniform(1.0, 1.1)
    pose = cv2.getRotationMatrix2D((side / 2, side / 2), angle, scale * size / side)
    pose[:, 2] += film.normal(0, 0.012, 2) * size + (size - side) / 2
    warp = partial(cv2.warpAffine, M=pose, dsize=(size, size), borderMode=cv2.BORDER_REPLICATE)

    # the film: grain, marks
    if size < side:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 * side / size)
    image = warp(image, flags=cv2.INTER_LINEAR)
    image += film.normal(0, 0.012, image.shape)
    image = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    _burn_in_marks(image, film, letter, portable)

    # what is known of it
    boxes: dict[str, list[np.ndarray]] = {}
    for name, part in parts:
        x, y, w, h = cv2.boundingRect(warp(part.astype(np.uint8), flags=cv2.INTER_NEAREST))
        if w > 2 and h > 2:
            boxes.setdefault(name, []).append(np.array((x, y, x + w, y + h), np.float32))
    lungs = warp(anatomy.lungs, flags=cv2.INTER_LINEAR) > 0.5
    return Chest(image, lungs, {name: np.stack(rows) for name, rows in boxes.items()})


def _lay_over(
    anatomy: Anatomy, findings: Collection[str], film: np.random.Generator
) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Return the opacity of all findings, and (finding, mask) of each of their parts inside the lungs."""
    opacity = np.zeros(anatomy.lungs.shape, np.float32)
    parts: list[tuple[str, np.ndarray]] = []
    for name in findings:
        for part in FINDINGS[name](anatomy, film):
            part = part * anatomy.lungs
            parts.append((name, part > 0.4 * part.max()))
            opacity = np.maximum(opacity, part)
    return opacity, parts


def _expose(anatomy: Anatomy, opacity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sum the attenuation and expose the film: (side, side) float32 of about 0-1."""
    side = len(opacity)
    air = anatomy.depth * (1 - 0.88 * opacity)
    grain = cloud(rng, side, 40) * 0.035 + cloud(rng, side, 9) * 0.03
    vessels = anatomy.vessels * (1 - opacity)
    heart = 0.13 * anatomy.heart
    image = 0.06 + _TISSUE * anatomy.tissue + heart + _BONE * anatomy.bone - _AIR * air + 0.11 * vessels
    image += grain * anatomy.lungs + 0.04 * opacity
    image = blur(image, 0.0022)
    image = (image - 0.5) * rng.uniform(0.9, 1.15) + rng.uniform(0.46, 0.56)
    image = np.where(image > 0.7, 0.7 + 0.28 * np.tanh((image - 0.7) / 0.28), image)  # the film's shoulder
    return np.clip(image, 0, 1) ** rng.uniform(0.85, 1.2)


def _burn_in_marks(image: np.ndarray, rng: np.random.Generator, letter: str, portable: bool) -> None:
    """Burn in the side mark (outside the lungs) and, on a bedside film, text, a wire and its electrodes."""
    s = len(image)
    write = partial(cv2.putText, image, fontFace=cv2.FONT_HERSHEY_SIMPLEX, color=250, lineType=cv2.LINE_AA)
    thick = max(1, s // 128)

    x = rng.uniform(0.87, 0.92) if letter == "L" else rng.uniform(0.04, 0.08)
    write(letter, (int(x * s), int(rng.uniform(0.1, 0.16) * s)), fontScale=s / 330, thickness=thick)

    if portable:
        write("PORTABLE", (int(0.03 * s), int(0.055 * s)), fontScale=s / 640, thickness=1)
        ends = np.array([(rng.uniform(0.2, 0.4), 0.3), (rng.uniform(0.6, 0.8), 0.33), (rng.uniform(0.6, 0.8), 0.85)])
        wire = (smooth(ends, closed=False) * s).round().astype(np.int32)
        layer = np.zeros_like(image)
        cv2.polylines(layer, [wire], False, 50, thick, cv2.LINE_AA)
        for end in (wire[0], wire[-1]):
            cv2.circle(layer, tuple(int(v) for v in end), max(2, s // 60), 70, -1, cv2.LINE_AA)
        cv2.add(image, layer, dst=image)
