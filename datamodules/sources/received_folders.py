"""Originals and what the phone received of them, in two folders, paired by name: CheXwhatsApp, or one's own.

CheXwhatsApp has the received images of RSNA (26,684 and 3,000), NIH ChestX-ray14 (86,524 and 25,596), CheXphoto and
VinDr-CXR, about 150,000 pairs; their labels are those of the data sets. A pair has the labels, boxes, patient and split
that another source (``labels_of``) gives its original.

Format:
    Two folders, or folders of folders, below the root. Two files are a pair if they have the same path within them but
    for the ending; else the same stem, where it is unique. Without a folder of originals these are the images of
    ``labels_of``.
How to get it:
    From Zenodo, by the record names of the CheXwhatsApp project's page; nothing is fetched here.
Cite:
    CheXwhatsApp (2024), the benchmark of chest X-rays that went through WhatsApp.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from datamodules.reading.listing import FolderImages, scan_folders, subfolders
from datamodules.sources.files import abbreviate, source_root
from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from experiments.errors import UserError
from experiments.names import name_key
from experiments.source_schema import PairsSource


def read_pairs(
    source: PairsSource, name: str, labelled: pd.DataFrame | None, patients: PatientRegistry, notes: SourceNotes
) -> pd.DataFrame:
    """Read pairs into a sample table: ``image`` is the original and ``received`` its twin.

    Args:
        source: The folders.
        name: The source's name in the YAML.
        labelled: Sample table of ``labels_of``; None: the pairs have no labels, and all of them are ``test``.
        patients: Knows whom files show, where there are no labels.
        notes: Gets what a person should know.

    Raises:
        UserError: A folder is missing, there is no pair, or no pair has labels.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for file in ("originals/a.png", "received/A.jpeg", "received/alone.jpeg"):
        ...         Path(folder, file).parent.mkdir(exist_ok=True)
        ...         Path(folder, file).touch()
        ...     row = {"image": "nih/a.png", "patient": "nih:1", "split": "test", "source": "nih", "Mass": 1.0}
        ...     notes = SourceNotes()
        ...     table = read_pairs(PairsSource(root=folder), "sent", pd.DataFrame([row]), PatientRegistry(), notes)
        >>> table[["patient", "split", "Mass"]].values.tolist(), notes.lines
        ([['nih:1', 'test', 1.0]], ['sent: 1 of 1 originals have a twin; 1 received file has none: alone'])
    """
    root = source_root(source, name)
    received_files = find_files(root / source.received, f"data.sources.{name}.received")
    received, others = received_files.images, received_files.others
    if source.originals is not None:
        original_files = find_files(root / source.originals, f"data.sources.{name}.originals")
        originals, others = original_files.images, [*others, *original_files.others]
    elif labelled is not None:
        originals = _name_images(labelled["image"])
    else:
        raise UserError(f"data.sources.{name}.originals: is null, and without labels_of there are no other originals")
    notes.add_others(name, others, root)

    # pairs
    twins = match_names(originals, received)
    if not twins:
        raise UserError(f"data.sources.{name}: no file in {root / source.received} has the name of an original")
    alone = sorted(set(received) - set(twins.values()))
    note = f"{name}: {len(twins):,} of {len(originals):,} originals have a twin"
    if alone:
        has = "file has" if len(alone) == 1 else "files have"
        note += f"; {len(alone):,} received {has} none: {abbreviate(alone)}"
    notes.append(note)
    pairs = {key: (originals[key], received[twin]) for key, twin in sorted(twins.items())}

    return _label(pairs, name, labelled, source, notes) if labelled is not None else _name(pairs, name, patients, notes)


def match_names(first: Iterable[str], second: Iterable[str]) -> dict[str, str]:
    """Return which names of the first belong to which of the second: equal ones, then those of one stem, if unique.

    Args:
        first: Paths without endings, as :func:`~experiments.names.name_key` makes them.
        second: Likewise.

    Example:
        >>> match_names(["a/x", "a/y", "b/z"], ["a/x", "train/y", "1/z", "2/z"])
        {'a/x': 'a/x', 'a/y': 'train/y'}
    """
    first, second = list(first), set(second)
    matches = {name: name for name in first if name in second}
    left, free = [name for name in first if name not in matches], second - matches.keys()

    # by stem
    counts = [Counter(map(os.path.basename, names)) for names in (left, free)]
    by_stem = {os.path.basename(name): name for name in free}
    for name in left:
        stem = os.path.basename(name)
        if counts[0][stem] == counts[1][stem] == 1:
            matches[name] = by_stem[stem]
    return matches


def _label(
    pairs: dict[str, tuple[str, str]], name: str, labelled: pd.DataFrame, source: PairsSource, notes: SourceNotes
) -> pd.DataFrame:
    """Return the pairs with the rows of their originals."""
    keys = _name_images(labelled["image"])
    position = {path: row for row, path in enumerate(labelled["image"])}
    rows = {key: position[keys[other]] for key, other in match_names(pairs, keys).items()}
    known = dict(sorted(rows.items(), key=lambda item: item[1]))  # in the order of the labels
    if not known:
        raise UserError(f"data.sources.{name}.labels_of: no image of {source.labels_of} has the name of an original")
    if len(known) < len(pairs):
        unknown = abbreviate([key for key in pairs if key not in known])
        notes.append(
            f"{name}: {len(pairs) - len(known):,} of {len(pairs):,} pairs have no labels in {source.labels_of} and are "
            f"left out: {unknown}"
        )
    table = labelled.iloc[list(known.values())].reset_index(drop=True)
    originals, received = zip(*(pairs[key] for key in known), strict=True)
    return table.assign(image=list(originals), received=list(received), source=name)


def _name(pairs: dict[str, tuple[str, str]], name: str, patients: PatientRegistry, notes: SourceNotes) -> pd.DataFrame:
    """Return the pairs as test images without labels."""
    people = [patients.of_stem(os.path.basename(key)) for key in pairs]
    notes.add_unknown_patients(name, people.count(None), len(people), f"Set data.sources.{name}.labels_of.")
    return pd.DataFrame(
        {
            "image": [original for original, _ in pairs.values()],
            "patient": [person or f"{name}:{key}" for person, key in zip(people, pairs, strict=True)],
            "split": "test",
            "source": name,
            "origin": "pairs",
            "received": [received for _, received in pairs.values()],
        }
    )


def find_files(folder: Path, key: str) -> FolderImages:
    """Find all images in a folder and below, each by its path within, without ending, as a key.

    Args:
        folder: With subfolders or not.
        key: The setting or argument that named it, for messages.

    Raises:
        UserError: There is no such folder, or two images differ in the ending only.
    """
    if not folder.is_dir():
        raise UserError(f"{key}: no folder {folder}")
    files: dict[str, str] = {}
    others: list[str] = []
    for place in (folder, *_folders_below(folder)):
        found = scan_folders(place)
        others += found.others
        within = "" if place == folder else f"{place.relative_to(folder).as_posix()}/"
        for file, path in found.images.items():
            other = files.setdefault(name_key(f"{within}{os.path.splitext(file)[0]}"), path)
            if other != path:
                raise UserError(f"{other} and {path} have the same name, so a pair is not unique; remove one")
    return FolderImages(files, others)


def _folders_below(folder: Path) -> Iterable[Path]:
    for path in subfolders(folder):
        yield path
        yield from _folders_below(path)


def _name_images(images: Iterable[str]) -> dict[str, str]:
    """Return path below their common folder, without ending, as a key -> path."""
    images = list(images)
    root = os.path.commonpath([os.path.dirname(image) for image in images]) if images else ""
    start = len(root) + 1 if root else 0
    return {name_key(os.path.splitext(image[start:])[0]): image for image in images}
