"""Findings of a made-up chest: the opacities that each disease lays over the lungs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datamodules.demo.anatomy import Anatomy
from datamodules.demo.canvas import blur, cloud, ramp, stroke


def _pneumonia(a: Anatomy, rng: np.random.Generator) -> list[np.ndarray]:
    """Lobar consolidation: one or two large dense areas, one a lung."""
    signs = rng.permutation((-1, 1))[: rng.integers(1, 3)]
    zones = ((0.24, 0.36), (0.46, 0.66))  # an upper or a lower lobe
    return [
        rng.uniform(0.8, 1.0)
        * a.blob(rng, a.spot(rng, (0.35, 0.7), zones[rng.integers(2)], s), tuple(rng.uniform(0.1, 0.15, 2)), 0.22)
        for s in signs
    ]


def _covid(a: Anatomy, rng: np.random.Generator) -> list[np.ndarray]:
    """COVID-19: bilateral, peripheral, lower ground-glass patches."""
    return [
        rng.uniform(0.6, 0.85)
        * a.blob(rng, a.spot(rng, (0.72, 0.98), (0.40, 0.74), sign), tuple(rng.uniform(0.05, 0.08, 2)), 0.3)
        for sign in (-1, 1)
        for _ in range(rng.integers(3, 5))
    ]


def _infiltration(a: Anatomy, rng: np.random.Generator) -> list[np.ndarray]:
    """A mottled area around the hilum of one lung or both."""
    mottle = ramp(cloud(rng, len(a.x), 9), -0.7, 1.1)
    signs = rng.permutation((-1, 1))[: rng.integers(1, 3)]
    return [0.9 * mottle * a.blob(rng, a.spot(rng, (0.2, 0.4), (0.36, 0.5), s), (0.14, 0.19), 0.05) for s in signs]


def _effusion(a: Anatomy, rng: np.random.Generator) -> list[np.ndarray]:
    """Fluid at the base of one lung: the angle is blunted, the level climbs the chest wall."""
    sign, level = rng.choice((-1, 1)), rng.uniform(0.58, 0.70)
    climb = 0.10 * np.clip(a.x * sign / 0.36, 0, 1) ** 3
    return [ramp(a.y - level + climb, -0.006, 0.014) * (a.x * sign > 0)]


def _atelectasis(a: Anatomy, rng: np.random.Generator) -> list[np.ndarray]:
    """Two or three plates: near-horizontal dense bands in the lower half of one lung."""
    canvas = np.zeros(a.x.shape, np.uint8)
    sign = rng.choice((-1, 1))
    for y in rng.uniform(0.40, 0.44) + 0.075 * np.arange(rng.integers(2, 4)):
        tilt, reach = rng.normal(0, 0.02), rng.uniform(0.27, 0.36)
        stroke(canvas, np.array([(0.09, y - tilt), (reach, y + tilt)]) * (sign, 1), rng.uniform(0.02, 0.028), False)
    return [blur(canvas, 0.003)]


def _nodule(a: Anatomy, rng: np.random.Generator) -> list[np.ndarray]:
    """One to three round, sharp spots."""
    spots = [a.spot(rng, (0.25, 0.75), (0.22, 0.62), rng.choice((-1, 1))) for _ in range(rng.integers(1, 4))]
    radii = rng.uniform(0.024, 0.036, len(spots))
    return [ramp(r - np.hypot(a.x - x, a.y - y), -0.004, 0.006) for (x, y), r in zip(spots, radii, strict=True)]


FINDINGS: dict[str, Callable[[Anatomy, np.random.Generator], list[np.ndarray]]] = {
    "Pneumonia": _pneumonia,
    "COVID-19": _covid,
    "Infiltration": _infiltration,
    "Effusion": _effusion,
    "Atelectasis": _atelectasis,
    "Nodule": _nodule,
}
