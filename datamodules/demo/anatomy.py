"""A made-up patient's anatomy: lungs, heart, bones and vessels as maps of what they attenuate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datamodules.demo.canvas import blur, cloud, fill, ramp, smooth, stroke, thickness

# Anatomy is drawn in a frame of its own: x from the midline (image right, the patient's left, is positive),
# y from the top, both in shares of the image's side.
# fmt: off
_LUNG = np.array(  # apex, down the mediastinum, along the diaphragm, up the chest wall
    [(0.13, 0.105), (0.08, 0.13), (0.062, 0.20), (0.058, 0.32), (0.062, 0.48), (0.066, 0.62), (0.075, 0.70),
     (0.12, 0.675), (0.19, 0.66), (0.26, 0.685), (0.315, 0.74), (0.352, 0.81),
     (0.368, 0.74), (0.36, 0.60), (0.338, 0.44), (0.30, 0.29), (0.245, 0.18), (0.19, 0.12)]
)
_HEART = np.array(
    [(0.01, 0.36), (0.07, 0.40), (0.10, 0.47), (0.16, 0.56), (0.20, 0.65), (0.195, 0.72), (0.10, 0.77),
     (-0.05, 0.77), (-0.095, 0.71), (-0.10, 0.61), (-0.08, 0.50), (-0.05, 0.40)]
)
_MEDIASTINUM = np.array(
    [(-0.045, -0.1), (0.04, -0.1), (0.04, 0.2), (0.06, 0.25), (0.085, 0.29), (0.08, 0.335), (0.06, 0.37),
     (0.06, 0.9), (-0.06, 0.9), (-0.06, 0.36), (-0.055, 0.2)]
)
_TORSO = np.array(  # right half; mirrored
    [(0.0, -0.1), (0.085, -0.1), (0.09, 0.02), (0.14, 0.075), (0.27, 0.105), (0.39, 0.135), (0.46, 0.20), (0.47, 0.30),
     (0.425, 0.38), (0.405, 0.50), (0.405, 0.70), (0.42, 0.9), (0.43, 1.1), (0.0, 1.1)]
)
_ARM = np.array(
    [(0.36, 0.13), (0.45, 0.155), (0.51, 0.22), (0.55, 0.40), (0.62, 1.1), (0.52, 1.1), (0.465, 0.60), (0.43, 0.36)]
)
_SCAPULA = np.array([(0.36, 0.16), (0.30, 0.22), (0.27, 0.32), (0.275, 0.42), (0.33, 0.34), (0.39, 0.24)])
# fmt: on
_CLAVICLE = np.array([(0.03, 0.185), (0.09, 0.165), (0.17, 0.14), (0.25, 0.105), (0.32, 0.095), (0.37, 0.12)])
_HUMERUS = np.array([(0.0, 0.0), (0.05, 0.10), (0.085, 0.60)])
_HILUM = np.array((0.085, 0.42))


@dataclass(frozen=True)
class Anatomy:
    """One patient's maps, all (side, side) float32, 0-1.

    Attributes:
        x, y: The frame's coordinates.
        lungs: Lung fields; ``wall`` is their outer edge's x at each row.
        tissue, heart, bone, vessels, depth: What attenuates, and how deep the lung is.
    """

    x: np.ndarray
    y: np.ndarray
    lungs: np.ndarray
    wall: np.ndarray
    tissue: np.ndarray
    heart: np.ndarray
    bone: np.ndarray
    vessels: np.ndarray
    depth: np.ndarray

    @classmethod
    def draw(cls, size: int, rng: np.random.Generator) -> Anatomy:
        """Draw a patient for films of ``size`` pixels.

        Example:
            >>> patient = Anatomy.draw(64, np.random.default_rng(0))
            >>> patient.lungs.shape, bool(0.15 < patient.lungs.mean() < 0.45)
            ((256, 256), True)
        """
        side = max(size, 256)  # thin structures need pixels to be drawn on
        wide, tall = rng.uniform(0.93, 1.06), rng.uniform(0.93, 1.06)
        grow = np.array((wide, tall))
        y, x = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side
        x -= 0.5

        # lungs
        lungs = fill(side, *(_lung_outline(rng, sign) * grow * (sign, 1) for sign in (-1, 1)))
        wall = np.abs(x * (lungs > 0.5)).max(axis=1, keepdims=True)

        # soft tissue: torso, arms, heart, belly and mediastinum
        torso = np.concatenate([_TORSO, _TORSO[::-1] * (-1, 1)]) * (wide * rng.uniform(0.98, 1.12), 1)
        arms = [_ARM * (sign * wide * 1.04, 1) for sign in (-1, 1)]
        torso_map, arms_map = thickness(fill(side, torso), 0.17), thickness(fill(side, *arms), 0.06)
        heart = _HEART * grow * (rng.uniform(0.88, 1.2), 1) + rng.normal(0, 0.006, _HEART.shape)
        heart_map = blur(fill(side, heart), 0.012)
        belly = np.clip((y - 0.6 * tall) / 0.12, 0, 1) * (1 - blur(lungs, 0.008)) * torso_map
        middle = blur(fill(side, _MEDIASTINUM * grow + rng.normal(0, 0.003, _MEDIASTINUM.shape)), 0.011) * torso_map
        tissue = np.maximum(torso_map, 0.72 * arms_map) + 0.42 * belly + 0.27 * middle

        # gas in the stomach and the trachea
        gas = ((x - rng.uniform(0.12, 0.2)) / 0.055) ** 2 + ((y - rng.uniform(0.83, 0.88)) / 0.03) ** 2
        trachea = np.exp(-((x / 0.016) ** 2)) * np.clip((0.36 - y) / 0.03, 0, 1)
        tissue -= 0.2 * np.exp(-gas) + 0.17 * trachea

        # air, bones and vessels
        depth = blur(thickness(lungs, 0.085), 0.006) * (1 - 0.72 * heart_map) * np.clip(0.45 + 2.2 * y, 0, 1)
        bone = _draw_bones(side, rng, grow, wall)
        vessels = _draw_vessels(side, rng, grow) * lungs
        return cls(x, y, lungs, wall, tissue, heart_map, bone, vessels, depth)

    def spot(
        self, rng: np.random.Generator, reach: tuple[float, float], rows: tuple[float, float], sign: int
    ) -> tuple[float, float]:
        """Draw a place in the lung of that side: ``reach`` from the midline (0) to the wall (1), ``rows`` in y."""
        y = rng.uniform(*rows)
        wall = self.wall[int(y * len(self.wall)), 0] or 0.2
        return sign * (0.06 + rng.uniform(*reach) * (wall - 0.06)), y

    def blob(
        self, rng: np.random.Generator, at: tuple[float, float], radii: tuple[float, float], rough: float
    ) -> np.ndarray:
        """Draw a soft-edged opacity with a ragged outline, (side, side) float32."""
        d = ((self.x - at[0]) / radii[0]) ** 2 + ((self.y - at[1]) / radii[1]) ** 2
        return ramp(np.exp(-d) * (1 + rough * cloud(rng, len(d), 18)), 0.25, 0.6)


def _lung_outline(rng: np.random.Generator, sign: int) -> np.ndarray:
    """Vary one lung, not yet mirrored; the liver lifts the right one (image left is -1)."""
    lung = _LUNG + rng.normal(0, 0.004, _LUNG.shape)
    dome = (lung[:, 1] > 0.6) & (lung[:, 0] < 0.34)
    lung[dome, 1] += rng.normal(0, 0.012) + (0.03 if sign > 0 else 0.0)
    return lung


def _draw_bones(side: int, rng: np.random.Generator, grow: np.ndarray, wall: np.ndarray) -> np.ndarray:
    back, front, rest, spine = (np.zeros((side, side), np.uint8) for _ in range(4))
    step, width = 0.071 * grow[1] * rng.uniform(0.95, 1.05), rng.uniform(0.019, 0.024)
    for sign in (-1, 1):
        mirror = (sign, 1)

        # ribs: their back parts, and of seven the front parts
        for i in range(10):
            top = 0.095 + step * i
            end = max(wall[min(int((top + 0.05) * side), side - 1), 0], 0.12 * grow[0] + 0.03 * i) + 0.008
            end = min(end, 0.375 * grow[0])
            rib = _back_rib(top, end, drop=0.015 + 0.014 * i)
            stroke(back, rib * mirror, width)
            if 1 <= i <= 7:
                stroke(front, _front_rib(rib[-1], end, reach=0.10 + 0.008 * i) * mirror, width * 1.15)

        # clavicle and upper arm
        stroke(rest, smooth(_CLAVICLE, closed=False) * grow * mirror, 0.03)
        humerus = (_HUMERUS + np.array((0.41 * grow[0], 0.175))) * mirror
        stroke(rest, humerus, 0.042)
        stroke(rest, humerus[:1].repeat(2, 0), 0.085)

    # spine, which the belly hides farther down
    for y in np.arange(-0.05, 1.05, 0.062 * grow[1]):
        stroke(spine, np.array([(-0.022, y), (0.022, y)]), 0.042)
        stroke(spine, np.array([(0, y + 0.01), (0, y + 0.03)]), 0.012, hollow=False)
    fade = np.linspace(1.1, 0, side, dtype=np.float32)[:, None]

    scapulae = 0.75 * fill(side, *(_SCAPULA * grow * (sign, 1) for sign in (-1, 1)))
    back, front, rest, spine = (blur(canvas, 0.0022) for canvas in (back, front, rest, spine))
    return 1.15 * back + 0.6 * front + np.maximum(1.7 * rest, scapulae) + 0.7 * spine * fade


def _back_rib(top: float, end: float, drop: float) -> np.ndarray:
    """Return the (24, 2) points of a rib from the spine to the chest wall."""
    t = np.linspace(0, 1, 24)
    return np.stack([0.03 + (end - 0.03) * np.sin(t * np.pi / 2), top - 0.03 * np.sin(t * 2.2) + drop * t**2], 1)


def _front_rib(wall: np.ndarray, end: float, reach: float) -> np.ndarray:
    """Return the (24, 2) points of a rib from the chest wall down to the breastbone's cartilage."""
    t = np.linspace(0, 1, 24)[:, None]
    low = wall + np.array((0.0, 0.004))
    inner = (end * 0.42, low[1] + reach)
    bend = (end * 1.03, low[1] + 0.075)
    return (1 - t) ** 2 * low + 2 * t * (1 - t) * bend + t**2 * inner


def _draw_vessels(side: int, rng: np.random.Generator, grow: np.ndarray) -> np.ndarray:
    """Draw branches that leave the hilum, bend at random, fork once and thin out."""
    canvas = np.zeros((side, side), np.uint8)
    branches, n = 15, 9
    for sign in (-1, 1):
        mirror = grow * (sign, 1)
        turns = np.linspace(-1.5, 1.75, branches)[:, None] + np.cumsum(rng.normal(0, 0.16, (branches, n)), 1)
        forks = turns[:, n // 2, None] + rng.choice((-0.7, 0.7), (branches, 1)) + rng.normal(0, 0.15, (branches, 4))
        length = rng.uniform(0.016, 0.031, (branches, 1, 1))
        paths = _HILUM + np.cumsum(length * np.stack([np.cos(turns), np.sin(turns)], -1), 1)
        twigs = paths[:, n // 2, None] + np.cumsum(0.9 * length * np.stack([np.cos(forks), np.sin(forks)], -1), 1)

        stroke(canvas, twigs * mirror, 0.005, hollow=False, value=0.5)
        for k in reversed(range(n - 1)):
            stroke(canvas, paths[:, k : k + 2] * mirror, 0.014 * (1 - k / n), hollow=False, value=1 - 0.7 * k / n)
        stroke(canvas, (_HILUM + np.array([(-0.01, -0.035), (0.01, 0.045)])) * mirror, 0.035, hollow=False)
    return blur(canvas, 0.005)
