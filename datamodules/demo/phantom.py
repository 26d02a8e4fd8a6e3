"""Made-up chest X-rays: a flat attenuation model of a chest, its lung fields, and findings inside them.

A patient's generator fixes the anatomy and an image's generator the film (pose, exposure, grain), so that two films of
one patient look alike, as in real data, where that is what a split by image leaks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

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
        findings: Of :data:`FINDINGS`; none: a healthy chest.
        film: Generator of all that differs between two films of one patient.
        size: Side S in pixels.
        letter: The side mark in the corner, ``L`` or ``R``.
        portable: A bedside film: burnt-in text, a wire and electrodes.
    """
    side = len(anatomy.lungs)
    opacity = np.zeros((side, side), np.float32)
    parts: list[tuple[str, np.ndarray]] = []
    for name in findings:
        for part in FINDINGS[name](anatomy, film):
            part = part * anatomy.lungs
            parts.append((name, part > 0.4 * part.max()))
            opacity = np.maximum(opacity, part)
    image = _exposed(anatomy, opacity, film)
    # pose: one warp moves image, lungs and findings alike; below and beside the frame the body goes on
    angle, scale = film.normal(0, 1.5), film.uniform(1.0, 1.1)
    pose = cv2.getRotationMatrix2D((side / 2, side / 2), angle, scale * size / side)
    pose[:, 2] += film.normal(0, 0.012, 2) * size + (size - side) / 2
    warp = partial(cv2.warpAffine, M=pose, dsize=(size, size), borderMode=cv2.BORDER_REPLICATE)
    if size < side:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 * side / size)
    image = warp(image, flags=cv2.INTER_LINEAR)
    image += film.normal(0, 0.012, image.shape)
    image = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    _mark(image, film, letter, portable)
    boxes: dict[str, list[np.ndarray]] = {}
    for name, part in parts:
        x, y, w, h = cv2.boundingRect(warp(part.astype(np.uint8), flags=cv2.INTER_NEAREST))
        if w > 2 and h > 2:
            boxes.setdefault(name, []).append(np.array((x, y, x + w, y + h), np.float32))
    lungs = warp(anatomy.lungs, flags=cv2.INTER_LINEAR) > 0.5
    return Chest(image, lungs, {name: np.stack(rows) for name, rows in boxes.items()})


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
        """Draw a patient for films of ``size`` pixels."""
        side = max(size, 256)  # thin structures need pixels to be drawn on
        wide, tall = rng.uniform(0.93, 1.06), rng.uniform(0.93, 1.06)
        grow = np.array((wide, tall))
        y, x = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side
        x -= 0.5
        shapes = []
        for sign in (-1, 1):
            lung = _LUNG + rng.normal(0, 0.004, _LUNG.shape)
            dome = (lung[:, 1] > 0.6) & (lung[:, 0] < 0.34)
            lung[dome, 1] += rng.normal(0, 0.012) + (0.03 if sign > 0 else 0.0)  # the liver lifts the right side
            shapes.append(lung * grow * (sign, 1))
        lungs = _fill(side, *shapes)
        wall = np.abs(x * (lungs > 0.5)).max(axis=1, keepdims=True)
        torso = np.concatenate([_TORSO, _TORSO[::-1] * (-1, 1)]) * (wide * rng.uniform(0.98, 1.12), 1)
        arms = [_ARM * (sign * wide * 1.04, 1) for sign in (-1, 1)]
        torso_map, arms_map = _round(_fill(side, torso), 0.17), _round(_fill(side, *arms), 0.06)
        heart = _HEART * grow * (rng.uniform(0.88, 1.2), 1) + rng.normal(0, 0.006, _HEART.shape)
        heart_map = _blur(_fill(side, heart), 0.012)
        belly = np.clip((y - 0.6 * tall) / 0.12, 0, 1) * (1 - _blur(lungs, 0.008)) * torso_map
        middle = _blur(_fill(side, _MEDIASTINUM * grow + rng.normal(0, 0.003, _MEDIASTINUM.shape)), 0.011) * torso_map
        tissue = np.maximum(torso_map, 0.72 * arms_map) + 0.42 * belly + 0.27 * middle
        gas = ((x - rng.uniform(0.12, 0.2)) / 0.055) ** 2 + ((y - rng.uniform(0.83, 0.88)) / 0.03) ** 2  # stomach
        trachea = np.exp(-((x / 0.016) ** 2)) * np.clip((0.36 - y) / 0.03, 0, 1)
        tissue -= 0.2 * np.exp(-gas) + 0.17 * trachea
        depth = _blur(_round(lungs, 0.085), 0.006) * (1 - 0.72 * heart_map) * np.clip(0.45 + 2.2 * y, 0, 1)
        bone = _bones(side, rng, grow, wall)
        return cls(x, y, lungs, wall, tissue, heart_map, bone, _vessels(side, rng, grow) * lungs, depth)

    def spot(
        self, rng: np.random.Generator, reach: tuple[float, float], rows: tuple[float, float], sign: int
    ) -> tuple[float, float]:
        """A place in the lung of that side: ``reach`` from the midline (0) to the wall (1), ``rows`` in y."""
        y = rng.uniform(*rows)
        wall = self.wall[int(y * len(self.wall)), 0] or 0.2
        return sign * (0.06 + rng.uniform(*reach) * (wall - 0.06)), y

    def blob(self, rng: np.random.Generator, at: tuple[float, float], radii: tuple[float, float], rough: float):
        """A soft-edged opacity with a ragged outline."""
        d = ((self.x - at[0]) / radii[0]) ** 2 + ((self.y - at[1]) / radii[1]) ** 2
        return _ramp(np.exp(-d) * (1 + rough * _cloud(rng, len(d), 18)), 0.25, 0.6)


def _exposed(anatomy: Anatomy, opacity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sum the attenuation and expose the film: (side, side) float32 of about 0-1."""
    side = len(opacity)
    air = anatomy.depth * (1 - 0.88 * opacity)
    grain = _cloud(rng, side, 40) * 0.035 + _cloud(rng, side, 9) * 0.03
    vessels = anatomy.vessels * (1 - opacity)
    heart = 0.13 * anatomy.heart
    image = 0.06 + _TISSUE * anatomy.tissue + heart + _BONE * anatomy.bone - _AIR * air + 0.11 * vessels
    image += grain * anatomy.lungs + 0.04 * opacity
    image = _blur(image, 0.0022)
    image = (image - 0.5) * rng.uniform(0.9, 1.15) + rng.uniform(0.46, 0.56)
    image = np.where(image > 0.7, 0.7 + 0.28 * np.tanh((image - 0.7) / 0.28), image)  # the film's shoulder
    return np.clip(image, 0, 1) ** rng.uniform(0.85, 1.2)


def _bones(side: int, rng: np.random.Generator, grow: np.ndarray, wall: np.ndarray) -> np.ndarray:
    back, front, rest, spine = (np.zeros((side, side), np.uint8) for _ in range(4))
    t = np.linspace(0, 1, 24)
    step, width = 0.071 * grow[1] * rng.uniform(0.95, 1.05), rng.uniform(0.019, 0.024)
    for sign in (-1, 1):
        for i in range(10):
            top = 0.095 + step * i
            end = max(wall[min(int((top + 0.05) * side), side - 1), 0], 0.12 * grow[0] + 0.03 * i) + 0.008
            end = min(end, 0.375 * grow[0])
            drop = 0.015 + 0.014 * i
            rib = np.stack([0.03 + (end - 0.03) * np.sin(t * np.pi / 2), top - 0.03 * np.sin(t * 2.2) + drop * t**2], 1)
            _stroke(back, rib * (sign, 1), width)
            if 1 <= i <= 7:
                low = rib[-1] + (0.0, 0.004)
                inner = (end * 0.42, low[1] + 0.10 + 0.008 * i)
                bend = (end * 1.03, low[1] + 0.075)
                curve = ((1 - t) ** 2)[:, None] * low + (2 * t * (1 - t))[:, None] * bend + (t**2)[:, None] * inner
                _stroke(front, curve * (sign, 1), width * 1.15)
        _stroke(rest, _smooth(_CLAVICLE, closed=False) * grow * (sign, 1), 0.03)
        humerus = (_HUMERUS + np.array((0.41 * grow[0], 0.175))) * (sign, 1)
        _stroke(rest, humerus, 0.042)
        _stroke(rest, humerus[:1].repeat(2, 0), 0.085)
    for y in np.arange(-0.05, 1.05, 0.062 * grow[1]):
        _stroke(spine, np.array([(-0.022, y), (0.022, y)]), 0.042)
        _stroke(spine, np.array([(0, y + 0.01), (0, y + 0.03)]), 0.012, hollow=False)
    fade = np.linspace(1.1, 0, side, dtype=np.float32)[:, None]  # the belly hides the lower spine
    scapulae = 0.75 * _fill(side, *(_SCAPULA * grow * (sign, 1) for sign in (-1, 1)))
    back, front, rest, spine = (_blur(c, 0.0022) for c in (back, front, rest, spine))
    return 1.15 * back + 0.6 * front + np.maximum(1.7 * rest, scapulae) + 0.7 * spine * fade


def _vessels(side: int, rng: np.random.Generator, grow: np.ndarray) -> np.ndarray:
    """Branches that leave the hilum, bend at random, fork once and thin out."""
    canvas = np.zeros((side, side), np.uint8)
    branches, n = 15, 9
    for sign in (-1, 1):
        mirror = grow * (sign, 1)
        turns = np.linspace(-1.5, 1.75, branches)[:, None] + np.cumsum(rng.normal(0, 0.16, (branches, n)), 1)
        forks = turns[:, n // 2, None] + rng.choice((-0.7, 0.7), (branches, 1)) + rng.normal(0, 0.15, (branches, 4))
        length = rng.uniform(0.016, 0.031, (branches, 1, 1))
        paths = _HILUM + np.cumsum(length * np.stack([np.cos(turns), np.sin(turns)], -1), 1)
        twigs = paths[:, n // 2, None] + np.cumsum(0.9 * length * np.stack([np.cos(forks), np.sin(forks)], -1), 1)
        _stroke(canvas, twigs * mirror, 0.005, hollow=False, value=0.5)
        for k in reversed(range(n - 1)):
            _stroke(canvas, paths[:, k : k + 2] * mirror, 0.014 * (1 - k / n), hollow=False, value=1 - 0.7 * k / n)
        _stroke(canvas, (_HILUM + np.array([(-0.01, -0.035), (0.01, 0.045)])) * mirror, 0.035, hollow=False)
    return _blur(canvas, 0.005)


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
    mottle = _ramp(_cloud(rng, len(a.x), 9), -0.7, 1.1)
    signs = rng.permutation((-1, 1))[: rng.integers(1, 3)]
    return [0.9 * mottle * a.blob(rng, a.spot(rng, (0.2, 0.4), (0.36, 0.5), s), (0.14, 0.19), 0.05) for s in signs]


def _effusion(a: Anatomy, rng: np.random.Generator) -> list[np.ndarray]:
    """Fluid at the base of one lung: the angle is blunted, the level climbs the chest wall."""
    sign, level = rng.choice((-1, 1)), rng.uniform(0.58, 0.70)
    climb = 0.10 * np.clip(a.x * sign / 0.36, 0, 1) ** 3
    return [_ramp(a.y - level + climb, -0.006, 0.014) * (a.x * sign > 0)]


def _atelectasis(a: Anatomy, rng: np.random.Generator) -> list[np.ndarray]:
    """Two or three plates: near-horizontal dense bands in the lower half of one lung."""
    canvas = np.zeros(a.x.shape, np.uint8)
    sign = rng.choice((-1, 1))
    for y in rng.uniform(0.40, 0.44) + 0.075 * np.arange(rng.integers(2, 4)):
        tilt, reach = rng.normal(0, 0.02), rng.uniform(0.27, 0.36)
        _stroke(canvas, np.array([(0.09, y - tilt), (reach, y + tilt)]) * (sign, 1), rng.uniform(0.02, 0.028), False)
    return [_blur(canvas, 0.003)]


def _nodule(a: Anatomy, rng: np.random.Generator) -> list[np.ndarray]:
    """One to three round, sharp spots."""
    spots = [a.spot(rng, (0.25, 0.75), (0.22, 0.62), rng.choice((-1, 1))) for _ in range(rng.integers(1, 4))]
    radii = rng.uniform(0.024, 0.036, len(spots))
    return [_ramp(r - np.hypot(a.x - x, a.y - y), -0.004, 0.006) for (x, y), r in zip(spots, radii, strict=True)]


FINDINGS: dict[str, Callable[[Anatomy, np.random.Generator], list[np.ndarray]]] = {
    "Pneumonia": _pneumonia,
    "COVID-19": _covid,
    "Infiltration": _infiltration,
    "Effusion": _effusion,
    "Atelectasis": _atelectasis,
    "Nodule": _nodule,
}


def _mark(image: np.ndarray, rng: np.random.Generator, letter: str, portable: bool) -> None:
    """Burn in the side mark (outside the lungs) and, on a bedside film, text, a wire and its electrodes."""
    s = len(image)
    write = partial(cv2.putText, image, fontFace=cv2.FONT_HERSHEY_SIMPLEX, color=250, lineType=cv2.LINE_AA)
    thick = max(1, s // 128)
    x = rng.uniform(0.87, 0.92) if letter == "L" else rng.uniform(0.04, 0.08)
    write(letter, (int(x * s), int(rng.uniform(0.1, 0.16) * s)), fontScale=s / 330, thickness=thick)
    if portable:
        write("PORTABLE", (int(0.03 * s), int(0.055 * s)), fontScale=s / 640, thickness=1)
        ends = np.array([(rng.uniform(0.2, 0.4), 0.3), (rng.uniform(0.6, 0.8), 0.33), (rng.uniform(0.6, 0.8), 0.85)])
        wire = (_smooth(ends, closed=False) * s).round().astype(np.int32)
        layer = np.zeros_like(image)
        cv2.polylines(layer, [wire], False, 50, thick, cv2.LINE_AA)
        for end in (wire[0], wire[-1]):
            cv2.circle(layer, tuple(int(v) for v in end), max(2, s // 60), 70, -1, cv2.LINE_AA)
        cv2.add(image, layer, dst=image)


def _pixels(points: np.ndarray, side: int) -> np.ndarray:
    """Frame coordinates to OpenCV's fixed point (4 fractional bits)."""
    return np.round(((points + np.array((0.5, 0.0))) * side - 0.5) * 16).astype(np.int32)


def _smooth(points: np.ndarray, closed: bool = True) -> np.ndarray:
    """Chaikin's corner cutting, three times."""
    for _ in range(3):
        a, b = (points, np.roll(points, -1, 0)) if closed else (points[:-1], points[1:])
        cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], 1).reshape(-1, 2)
        points = cut if closed else np.concatenate([points[:1], cut, points[-1:]])
    return points


def _fill(side: int, *polygons: np.ndarray) -> np.ndarray:
    canvas = np.zeros((side, side), np.uint8)  # OpenCV smooths edges in 8 bits alone
    cv2.fillPoly(canvas, [_pixels(_smooth(p), side) for p in polygons], 255, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255


def _stroke(canvas: np.ndarray, paths: np.ndarray, width: float, hollow: bool = True, value: float = 1.0) -> None:
    """Draw (..., n, 2) lines; a hollow one has a bright rim, as the cortex of a bone has."""
    points, thick = [*_pixels(paths, len(canvas)).reshape(-1, *paths.shape[-2:])], max(1, round(width * len(canvas)))
    cv2.polylines(canvas, points, False, 255 * value, thick, cv2.LINE_AA, 4)
    if hollow and thick > 3:
        cv2.polylines(canvas, points, False, 158 * value, thick - 3, cv2.LINE_AA, 4)


def _round(mask: np.ndarray, depth: float) -> np.ndarray:
    """Thickness of a body with that outline: rises from its edge to 1 at ``depth`` inside."""
    distance = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / (depth * len(mask))
    return np.sqrt(1 - (1 - np.clip(distance, 0, 1)) ** 2)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    if image.dtype == np.uint8:
        image = image.astype(np.float32) / 255
    return cv2.GaussianBlur(image, (0, 0), sigma * len(image))


def _ramp(image: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def _cloud(rng: np.random.Generator, side: int, grain: int) -> np.ndarray:
    """Smooth noise of unit variance whose specks are side * grain / 512 pixels wide."""
    n = max(2, round(512 / grain))
    return cv2.resize(rng.standard_normal((n, n), np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
