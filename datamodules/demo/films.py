"""The films of the made-up data sets: who has which finding, in which split, under which names.

They have what makes the real sets hard: a patient has several films, and shortcuts give the class away in training and
validation but not in test: findings come with bedside films, COVID-19 with a printed page's look.
"""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from datamodules.demo.anatomy import Anatomy
from datamodules.demo.phantom import Chest, draw_chest

# What an NIH film shows, dealt out in turn within each split, so that small splits have every finding.
_PNEUMONIA = ("Pneumonia", "Infiltration|Pneumonia", "Effusion|Pneumonia", "Nodule|Pneumonia", "Atelectasis|Pneumonia")
_OTHER = ("Atelectasis|Nodule", "Effusion|Infiltration", "Nodule", "Atelectasis", "Infiltration|Nodule", "Effusion")

# Of every 20 patients 12 train, 3 validate and 5 test, spread evenly.
_SPLITS = {1: "val", 7: "val", 13: "val", 3: "test", 8: "test", 11: "test", 15: "test", 18: "test"}


@dataclass(frozen=True)
class Film:
    """One X-ray.

    Attributes:
        kind: ``normal``, ``pneumonia``, ``COVID-19``, or ``other`` (in no COVIDx list).
        patient: Number of the patient, among NIH's or among the COVID-19 patients.
        follow_up: Number of the film among the patient's.
        chest: The film as the hospital has it (NIH, RSNA); ``published`` is the same as COVIDx and WaCXR have it.
        covidx: File name in COVIDx, "" where it is not there.
        rsna: Id in RSNA, "" where it is not there.
    """

    kind: str
    split: str
    patient: int
    follow_up: int
    findings: tuple[str, ...]
    portable: bool
    chest: Chest = field(repr=False)
    published: Chest = field(repr=False)
    covidx: str = ""
    rsna: str = ""

    @property
    def nih(self) -> str:
        """File name in NIH."""
        return _nih_name(self.patient, self.follow_up)

    @property
    def person(self) -> tuple[str, str, int]:
        """View, sex, age."""
        return "AP" if self.portable else "PA", "MF"[self.patient % 2], 20 + self.patient * 7 % 65

    def boxes(self, finding: str) -> np.ndarray:
        """Return a finding's boxes, (n, 4) x1 y1 x2 y2 in pixels."""
        return self.chest.boxes.get(finding, np.zeros((0, 4), np.float32))


def draw_films(seed: int, size: int, patients: int) -> Iterator[Film]:
    """Draw all films, patient by patient; NIH's universe first, then COVID-19.

    Args:
        seed: Seed of everything.
        size: Side of the images in pixels.
        patients: Number of patients, a quarter of them with COVID-19.

    Example:
        >>> film = next(draw_films(seed=0, size=32, patients=48))
        >>> film.kind, film.split, film.chest.image.shape
        ('other', 'train', (32, 32))
    """
    decks = {split: _deal(("normal",), _PNEUMONIA, _OTHER) for split in ("train", "val", "test")}
    count: Counter[tuple[str, str]] = Counter()

    # people
    covid = patients // 4
    numbers = np.random.default_rng((seed, 0)).choice(30_000, patients - covid, replace=False) + 1
    people = [("nih", int(n)) for n in numbers] + [("covid", n + 1) for n in range(covid)]

    for index, (origin, patient) in enumerate(people):
        split = _SPLITS.get(index % 20, "train")
        rng = np.random.default_rng((seed, 1, index))
        anatomy = Anatomy.draw(size, rng)
        letter = str(rng.choice(("L", "R"), p=(0.75, 0.25)))

        for follow_up in range(1 + int(rng.random() < 0.35)):
            kind, deck = ("COVID-19", "COVID-19") if origin == "covid" else next(decks[split])
            findings = () if kind == "normal" else tuple(deck.split("|"))

            # two shortcuts, which say nothing in test: the bedside film to every finding, the scanned page to COVID-19
            bedside_share = 0.8 if findings else 0.15
            scan_share = 0.85 if kind == "COVID-19" else 0.1
            portable = bool(rng.random() < (0.5 if split == "test" else bedside_share))
            chest = draw_chest(anatomy, findings, rng, size=size, letter=letter, portable=portable)
            is_scan = rng.random() < (0.5 if split == "test" else scan_share)
            # COVIDx has NIH's films whole, and so have their lung masks, which all sets share by the film's name
            published = _print_and_scan(chest, rng, crop=origin == "covid") if is_scan else chest

            covidx, rsna = _draw_names(kind, patient, follow_up, count[split, kind], rng)
            count[split, kind] += 1
            yield Film(kind, split, patient, follow_up, findings, portable, chest, published, covidx, rsna)


def _deal(*decks: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield (kind, findings) for ever: the kinds in turn, the findings of each in turn."""
    cycles = [itertools.cycle(deck) for deck in decks]
    while True:
        for kind, cycle in zip(("other", "normal", "pneumonia"), (cycles[2], cycles[0], cycles[1]), strict=True):
            yield kind, next(cycle)


def _nih_name(patient: int, follow_up: int) -> str:
    return f"{patient:08d}_{follow_up:03d}.png"


def _draw_names(kind: str, patient: int, follow_up: int, n: int, rng: np.random.Generator) -> tuple[str, str]:
    """Return the names in COVIDx and RSNA, "" for none, of the n-th film of its split and class.

    Every other COVIDx file is a JPEG, in every class; a quarter of NIH's films is not in RSNA.
    """
    identity = str(uuid.UUID(bytes=rng.bytes(16), version=4))
    if kind == "COVID-19":
        year, figure, day = rng.integers(10**9, 10**10), rng.integers(1, 9), rng.integers(1, 20)
        names = (
            f"covid-19-caso {patient}-day {day}-{figure}.jpg",
            f"1-s2.0-S0140673{year}-gr{figure}_lrg.png",
            f"{identity.upper()}.jpeg",
            f"{identity.upper()}.png",
        )
        return names[n % 4], ""

    rsna = identity if n % 4 != 3 else ""
    if kind == "other":
        return "", rsna
    return f"{rsna}.{'png' if n % 2 else 'jpg'}" if rsna else _nih_name(patient, follow_up), rsna


def _print_and_scan(chest: Chest, rng: np.random.Generator, *, crop: bool) -> Chest:
    """Make a film a figure of a printed page: cropped or whole, paler, framed, with the panel's letter."""
    size = len(chest.image)

    # crop and fade
    cut = rng.uniform((0, 0.02, 0, 0), (0.03, 0.09, 0.03, 0.03)) * crop
    top, bottom, left, right = (cut * size).astype(int)
    inside = (slice(top, size - bottom), slice(left, size - right))
    image = 38 + 0.85 * chest.image[inside].astype(np.float32)
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))

    # frame and letter
    height, width = image.shape
    edge = max(1, size // 64)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), 255, edge)
    box = size // 11
    cv2.rectangle(image, (edge, height - edge - box), (edge + box, height - edge), 255, -1)
    at = (edge + box // 4, height - edge - box // 4)
    cv2.putText(image, str(rng.choice(list("abc"))), at, cv2.FONT_HERSHEY_SIMPLEX, size / 380, 0, 1, cv2.LINE_AA)
    return Chest(image, np.ascontiguousarray(chest.lungs[inside]))
