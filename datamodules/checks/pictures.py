"""What a data set's pictures look like, and what was passed over in their files: counted, with examples."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pandas as pd

from datamodules.checks.files import open_files
from datamodules.images.looks import FEW, FEW_LEVELS, FLAT, NEGATIVE, TURNED, UNLIKE, describe_looks
from datamodules.sources.files import abbreviate
from datamodules.sources.split import ranked
from experiments.schema import Data

logger = logging.getLogger("covidmt")

SAMPLE = 64  # training images of each source that are looked at before a training

_WORDS = {
    FLAT: "are all one grey: there is nothing to see in them",
    FEW: f"use fewer than {FEW_LEVELS} of 256 grey levels",
    NEGATIVE: "look like negatives beside the others (black and white exchanged)",
    TURNED: "look turned beside the others (by 90 degrees, or upside down)",
    UNLIKE: "look unlike the others (lateral films, or no chests)",
}


def describe_pictures(files: pd.DataFrame) -> list[str]:
    """Return a sentence for each source and each odd look of its images; looks are guesses, but for flat pictures.

    Args:
        files: From :func:`~datamodules.checks.files.open_files`.

    Example:
        >>> from datamodules.images.looks import look_at
        >>> import numpy as np
        >>> row = {"source": "own", "role": "image", "image": "a.png", "look": look_at(np.zeros((9, 9), np.uint8))}
        >>> describe_pictures(pd.DataFrame([row]))
        ['own: 1 of 1 images are all one grey: there is nothing to see in them: a.png']
    """
    sentences = []
    seen = files[(files["role"] == "image") & files["look"].notna()]
    for source, rows in seen.groupby("source", sort=False):
        words = pd.Series(describe_looks([*rows["look"]]), rows.index)
        for look, sentence in _WORDS.items():
            odd = rows["image"][words == look]
            if len(odd):
                names = abbreviate([Path(image).name for image in odd])
                sentences.append(f"{source}: {len(odd)} of {len(rows)} images {sentence}: {names}")
    return sentences


def describe_notes(files: pd.DataFrame) -> list[str]:
    """Return a sentence for each source and each note of its files, the most frequent first.

    Args:
        files: From :func:`~datamodules.checks.files.open_files`.

    Example:
        >>> row = {"source": "own", "image": "a.dcm", "problem": "", "notes": ("RescaleSlope is 0: passed over",)}
        >>> describe_notes(pd.DataFrame([row]))
        ['own: 1 of 1 files: RescaleSlope is 0: passed over (a.dcm)']
    """
    sentences = []
    for source, rows in files[files["problem"] == ""].groupby("source", sort=False):
        notes = rows[["image", "notes"]].explode("notes").dropna()
        for note in notes["notes"].value_counts().index:
            names = [Path(image).name for image in notes["image"][notes["notes"] == note]]
            sentences.append(f"{source}: {len(names)} of {len(rows)} files: {note} ({abbreviate(names)})")
    return sentences


def warn_of_pictures(tables: dict[str, pd.DataFrame], data: Data) -> None:
    """Warn of odd pictures among some training images of each source, the same ones each time.

    Unreadable files are no matter here: the training names them.

    Args:
        tables: Source -> sample table.
        data: The settings.
    """
    some = {}
    for name, table in tables.items():
        train = table[table["split"] == "train"]
        names = train["image"].map(os.path.basename)
        some[name] = train[names.isin(ranked(names, seed=0)[:SAMPLE])].head(SAMPLE)[["image", "split"]]
    if not sum(map(len, some.values())):
        return
    files = open_files(some, None, lambda items, total: items, data.max_megapixels)
    for sentence in [*describe_notes(files), *describe_pictures(files)]:
        logger.warning(f"some training images looked at: {sentence}; `covidmt data check` looks at all")
