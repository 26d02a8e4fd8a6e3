"""What readers find besides the tables, for people: `covidmt data check` and the first lines of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from datamodules.reading.listing import count_others
from datamodules.sources.files import abbreviate
from experiments.errors import UserError
from experiments.names import printable

MISSING_SHARE = 0.01  # of a list's images: more that are missing are a problem


@dataclass
class SourceNotes:
    """Sentences and numbers about all sources.

    Attributes:
        lines: Worth knowing.
        risks: What makes a split, and so every score, worth less than it looks.
        problems: What would spoil a training.
        missing: Source -> names of the images that its lists name and its folders lack.
        counts: Source -> what was counted -> how many: listed, missing, no image, no patient.

    Example:
        >>> notes = SourceNotes()
        >>> notes.add_missing("mine", ["b.png"], 2, Path("/data"))
        >>> notes.problems, notes.missing
        (['mine: 1 of 2 listed images are not in /data: b.png'], {'mine': ['b.png']})
    """

    lines: list[str] = field(default_factory=list)
    risks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def append(self, line: str) -> None:
        """Add a line that is worth knowing."""
        self.lines.append(line)

    def count(self, name: str, what: str, number: int) -> None:
        """Keep a number of a source."""
        self.counts.setdefault(name, {})[what] = number

    def add_missing(self, name: str, files: Sequence[str], listed: int, where: Path) -> None:
        """Note the listed images that are not there; above 1 % they are a problem."""
        self.count(name, "listed", listed)
        self.count(name, "missing", len(files))
        if files:
            self.missing[name] = sorted(map(str, files))
            sentences = self.problems if len(files) > MISSING_SHARE * listed else self.lines
            sentences.append(
                f"{name}: {len(files)} of {listed} listed images are not in {where}: {abbreviate(self.missing[name])}"
            )

    def add_others(self, name: str, others: Sequence[str], where: Path) -> None:
        """Note what lies in the folders and is no image."""
        self.count(name, "no image", len(others))
        if others:
            self.lines.append(f"{name}: of the files in {where}, {count_others(others)}")

    def add_unknown_patients(self, name: str, unknown: int, images: int, remedy: str) -> None:
        """Note images whose patient nobody knows: each counts as a patient of its own.

        Args:
            name: The source.
            unknown: How many.
            images: Of how many.
            remedy: How the patients could become known.
        """
        self.count(name, "no patient", unknown)
        if unknown:
            split = "this is a split by image" if unknown == images else "these are split by image"
            self.risks.append(
                f"{name}: no patient known for {unknown} of {images} images: {split}, so one person can be in training "
                f"and test, and scores flatter. {remedy}"
            )


def drop_missing(table: pd.DataFrame, name: str, where: Path, notes: SourceNotes) -> pd.DataFrame:
    """Drop the rows whose ``image`` was not found, and note them; ``file`` has the name that was looked for.

    Raises:
        UserError: No image was found at all.
    """
    missing = table.loc[table["image"].isna(), "file"]
    if len(missing) == len(table):
        example = f" (looked for {printable(missing.iloc[0])} and {len(missing) - 1} others)" if len(missing) else ""
        raise UserError(f"data.sources.{name}: no listed image lies in {where}{example}; check the root and the lists")
    notes.add_missing(name, missing.tolist(), len(table), where)
    return table[table["image"].notna()].drop(columns="file").reset_index(drop=True)
