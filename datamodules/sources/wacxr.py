"""WaCXR: chest X-rays, and what WhatsApp made of each: the test set of the COVIDMT paper.

Format:
    Two folders, ``covid_binary_test`` (originals) and ``covid_binary_test_whatsapp`` (received), each with class
    folders ``0_*`` (not COVID-19) and ``1_*`` (COVID-19; of own pairs what ``label`` says). Two files of one class and
    one stem are a pair.
Classes:
    COVID-19 or not.
Images:
    6,562 pairs (4,812 with COVID-19, 1,750 without), 6.7 GB.
How to get it:
    It is published with the paper. `covidmt pairs` makes pairs of other images in the same layout.
Cite:
    The COVIDMT paper, https://doi.org/10.1038/s41598-023-44653-y.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from datamodules.reading.listing import scan_folders, subfolders
from datamodules.sources.files import abbreviate, source_root
from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry, squeeze
from experiments.errors import UserError
from experiments.source_schema import WacxrSource


def read_wacxr(source: WacxrSource, name: str, patients: PatientRegistry, notes: SourceNotes) -> pd.DataFrame:
    """Read WaCXR into a sample table, all of it ``test``; ``image`` is the original and ``received`` its twin.

    Patients come from COVIDx's lists where they name the image, else from the file name.

    Args:
        source: The folders.
        name: The source's name in the YAML.
        patients: Knows COVIDx's lists by now.
        notes: Gets what a person should know.

    Raises:
        UserError: A folder is missing or of no class, a stem stands twice in a class, or there is no pair.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for file in ("covid_binary_test/1_COVID-19/a.png", "covid_binary_test_whatsapp/1_COVID-19/a.jpeg"):
        ...         Path(folder, file).parent.mkdir(parents=True)
        ...         Path(folder, file).touch()
        ...     patients = PatientRegistry(known={"a": "cohen:5"})
        ...     table = read_wacxr(WacxrSource(root=folder), "wacxr", patients, SourceNotes())
        >>> table[["patient", "split", "COVID-19"]].values.tolist()
        [['cohen:5', 'test', 1.0]]
    """
    root = source_root(source, name)

    # pairs
    others: list[str] = []
    originals = _stems(root / source.originals, f"data.sources.{name}.originals", source.label, others)
    received = _stems(root / source.received, f"data.sources.{name}.received", source.label, others)
    notes.add_others(name, others, root)
    pairs = sorted(originals.keys() & received.keys())
    if not pairs:
        raise UserError(
            f"{root}: no file in {source.originals} has a twin (same class, same stem) in {source.received}"
        )
    unpaired = originals.keys() ^ received.keys()
    if unpaired:
        names = abbreviate([f"{folder}/{stem}" for folder, stem in unpaired])
        notes.append(f"{name}: {len(unpaired)} images have no twin and are left out: {names}")

    # patients
    people = [patients.of_stem(stem) for _, stem in pairs]
    notes.add_unknown_patients(
        name, people.count(None), len(pairs), "They are not in COVIDx's lists, and their file names do not tell."
    )

    return pd.DataFrame(
        {
            "image": [originals[pair] for pair in pairs],
            "patient": [person or f"{name}:{squeeze(stem)}" for person, (_, stem) in zip(people, pairs, strict=True)],
            "split": "test",
            "source": name,
            "origin": "wacxr",
            source.label: [float(folder.startswith("1_")) for folder, _ in pairs],
            "received": [received[pair] for pair in pairs],
        }
    )


def _stems(folder: Path, key: str, label: str, others: list[str]) -> dict[tuple[str, str], str]:
    """List a folder's images: (class folder, stem) -> path; what is no image goes to ``others``."""
    if not folder.is_dir():
        raise UserError(f"{key}: no folder {folder}")
    classes = subfolders(folder)
    wrong = [path.name for path in classes if not path.name.startswith(("0_", "1_"))]
    if wrong or not classes:
        names = abbreviate(wrong) or "none"
        raise UserError(f"{folder}: class folders begin with 0_ (not {label}) or 1_ ({label}); found {names}")

    images: dict[tuple[str, str], str] = {}
    for path in classes:
        found = scan_folders(path)
        others += found.others
        for file, image in found.images.items():
            pair = path.name, Path(file).stem
            if pair in images:
                raise UserError(f"{images[pair]} and {image} have the same stem, so the pair is not unique; remove one")
            images[pair] = image
    return images
