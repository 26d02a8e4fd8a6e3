"""WaCXR: X-rays and what WhatsApp made of them, two folders with the class folders 0_* and 1_*, paired by stem."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from datamodules.sources.files import abbreviate, list_images, source_root
from datamodules.sources.patients import PatientRegistry, squeeze
from experiments.errors import UserError
from experiments.schema import WacxrSource

LABEL = "COVID-19"


def read_wacxr(source: WacxrSource, name: str, patients: PatientRegistry, notes: list[str]) -> pd.DataFrame:
    """The sample table, all of it ``test``; ``image`` is the original and ``received`` its twin.

    Patients come from COVIDx's lists where they name the image, else from the file name.

    Raises:
        UserError: A folder is missing or of no class, a stem stands twice in a class, or there is no pair.
    """
    root = source_root(source, name)
    originals = _stems(root / source.originals, f"data.sources.{name}.originals")
    received = _stems(root / source.received, f"data.sources.{name}.received")
    pairs = sorted(originals.keys() & received.keys())
    if not pairs:
        raise UserError(
            f"{root}: no file in {source.originals} has a twin (same class, same stem) in {source.received}"
        )
    if unpaired := originals.keys() ^ received.keys():
        names = abbreviate([f"{folder}/{stem}" for folder, stem in unpaired])
        notes.append(f"{name}: {len(unpaired)} images have no twin and are left out: {names}")
    people = [patients.of_stem(stem) for _, stem in pairs]
    if unknown := people.count(None):
        notes.append(
            f"{name}: the patients of {unknown} of {len(pairs)} images are unknown (not in COVIDx's lists, not told by "
            "the file name); each counts as one of its own, so earlier images of them may be in training"
        )
    return pd.DataFrame(
        {
            "image": [originals[pair] for pair in pairs],
            "patient": [person or f"{name}:{squeeze(stem)}" for person, (_, stem) in zip(people, pairs, strict=True)],
            "split": "test",
            "source": name,
            "origin": "wacxr",
            LABEL: [float(folder.startswith("1_")) for folder, _ in pairs],
            "received": [received[pair] for pair in pairs],
        }
    )


def _stems(folder: Path, key: str) -> dict[tuple[str, str], str]:
    """(Class folder, stem) -> path."""
    if not folder.is_dir():
        raise UserError(f"{key}: no folder {folder}")
    classes = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    wrong = [path.name for path in classes if not path.name.startswith(("0_", "1_"))]
    if wrong or not classes:
        found = ", ".join(wrong) or "none"
        raise UserError(f"{folder}: class folders begin with 0_ (not COVID-19) or 1_ (COVID-19); found {found}")
    images: dict[tuple[str, str], str] = {}
    for path in classes:
        for file, image in list_images(path).items():
            pair = path.name, Path(file).stem
            if pair in images:
                raise UserError(f"{images[pair]} and {image} have the same stem, so the pair is not unique; remove one")
            images[pair] = image
    return images
