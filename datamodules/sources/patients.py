"""Who is in which image: one patient registry over all data sets.

RSNA's images are NIH's, and every normal and most pneumonia images of COVIDx are RSNA's; their file names hide it.
A global patient id is ``<origin>:<number>``; NIH, RSNA and COVIDx images of one person share ``nih:00001836``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from datamodules.sources.files import read_csv
from experiments.errors import UserError
from experiments.names import name_key

_NIH_IMAGE = re.compile(r"(\d{8})_\d{3}(?:\.png)?")
_RSNA_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# COVIDx's sub-sources whose file names hold the patient (blanks removed); cohen's and actmed's do not.
_STEMS = {
    "ricord": re.compile(r"MIDRC-RICORD-1C-([^-]+-[^-]+)-.+"),
    "bimcv": re.compile(r"sub-(S\d+)_.+"),
    "stonybrook": re.compile(r"(A\d{6})-\d\d-\d\d-\d{4}-.+"),
    "fig1": re.compile(r"(COVID-\d{5})"),
    "sirm": re.compile(r"(COVID(?:-19)?\(\d+\))"),
}
# Kermany's children: person1_virus_6, NORMAL2-IM-0305-0001, IM-0529-0001-0002; in later releases BACTERIA-7422-0001.
_KERMANY = re.compile(
    r"(person\d+)_[\w.-]+|((?:normal2-)?im-\d{4})-\d{4}(?:[-.]\w+)*|(?:bacteria|virus|normal)-(\d+)-\d{4}(?:[-.]\w+)*"
)
# What desktops append to a copy's name.
_COPY = re.compile(r"(?:[-_.]?(?:copy|kopie|copie)(?:\(\d+\))?|\(\d+\))$", re.IGNORECASE)


@dataclass
class PatientRegistry:
    """Global patient ids.

    Attributes:
        nih_images: RSNA id -> NIH image file name, as RSNA publishes it.
        known: Image stem (blanks removed, see ``name_key``) -> patient, from COVIDx's lists and ieee8023's table.

    Example:
        >>> rsna_id = "0004cfab-14fd-4e49-80ba-63a80b6bddd6"
        >>> registry = PatientRegistry(nih_images={rsna_id: "00001836_045.png"})
        >>> registry.of_covidx("0004cfab", rsna_id, "rsna"), registry.of_stem("00001836_002")
        ('nih:00001836', 'nih:00001836')
        >>> registry.of_stem("COVID (70)"), registry.of_stem("person3_virus_16"), registry.of_stem("film 1")
        ('sirm:COVID(70)', 'kermany:person3', None)
    """

    nih_images: dict[str, str] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)

    def read_mapping(self, path: Path) -> None:
        """Add RSNA's ``pneumonia-challenge-dataset-mappings_2018.json``: a list of {subset_img_id, img_id, ...}."""
        try:
            rows = json.loads(path.read_text())
            self.nih_images.update({str(row["subset_img_id"]): str(row["img_id"]) for row in rows})
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: not RSNA's mapping (JSON list of subset_img_id, img_id): {error!r}") from error

    def read_ieee8023(self, root: Path) -> None:
        """Learn the patients of ieee8023/covid-chestxray-dataset, where its ``metadata.csv`` lies in or above a folder.

        COVIDx's lists call the same people ``cohen``.
        """
        for path in (root / "metadata.csv", root.parent / "metadata.csv"):
            if path.is_file() and {"patientid", "filename"} <= _read_header(path):
                rows = read_csv(path, ["patientid", "filename"]).dropna()
                self.learn(rows["filename"], "cohen:" + rows["patientid"])

    def learn(self, files: Iterable[str], people: Iterable[str]) -> None:
        """Remember whom files show, by their stems."""
        self.known.update((name_key(squeeze(Path(file).stem)), who) for file, who in zip(files, people, strict=True))

    def of_rsna(self, rsna_id: str) -> str:
        """Return ``nih:...`` where the mapping knows the image, else ``rsna:...``: an RSNA id is an image's."""
        image = _NIH_IMAGE.fullmatch(self.nih_images.get(rsna_id, ""))
        return f"nih:{image[1]}" if image else f"rsna:{rsna_id}"

    def of_covidx(self, patient: str, stem: str, origin: str) -> str:
        """Return the patient of a COVIDx line: its first field, file stem and sub-source."""
        stem = squeeze(stem)
        if origin == "rsna":
            return self.of_rsna(stem)
        image = _NIH_IMAGE.fullmatch(stem)
        if origin == "nih" and image:
            return f"nih:{image[1]}"
        # SIRM's first field is COVID_70 in one release and COVID 70 in another; the file name stays.
        return f"sirm:{stem}" if origin == "sirm" else f"{origin}:{patient}"

    def of_stem(self, stem: str) -> str | None:
        """Return the patient as far as the file name tells, or None.

        A copy's (``a (1)``, ``a - Copy``) is its original's.
        """
        stem = squeeze(stem)
        return self._of_squeezed(stem) or self._of_squeezed(_COPY.sub("", stem))

    def _of_squeezed(self, stem: str) -> str | None:
        person = self.known.get(name_key(stem))
        if person is not None:
            return person
        if _RSNA_ID.fullmatch(stem):
            return self.of_rsna(stem)
        for origin, pattern in {"nih": _NIH_IMAGE, **_STEMS}.items():
            match = pattern.fullmatch(stem)
            if match:
                return f"{origin}:{match[1]}"
        match = _KERMANY.fullmatch(stem.casefold())
        return f"kermany:{match[match.lastindex or 0]}" if match else None


def _read_header(path: Path) -> set[str]:
    """Return the names of a CSV's columns, as far as its first line tells."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return {name.strip(' "\n') for name in file.readline().split(",")}


def origin_of(patient: str, stem: str) -> str:
    """Guess COVIDx's sub-source where a list does not name it (v1, v2, parts of v3 to v7)."""
    stem = squeeze(stem)
    if _RSNA_ID.fullmatch(stem):
        return "rsna"
    if _NIH_IMAGE.fullmatch(stem):
        return "nih"
    if patient.startswith("ANON"):
        return "actmed"
    return next((origin for origin, pattern in _STEMS.items() if pattern.fullmatch(stem)), "cohen")


def known_origins(table: pd.DataFrame) -> pd.Series:
    """Return where each image was collected, as far as that is known.

    The table's origin; where that is one for all, as the name of a data set of one's own, the one that the patient's id
    begins with. Where that is the data set's name too, and not so for all, it is said that no more is known.

    Args:
        table: Columns ``origin`` and ``patient``.

    Example:
        >>> table = pd.DataFrame({"origin": "own", "patient": ["cohen:48", "nih:00001836", "own:film 1"]})
        >>> known_origins(table).tolist()
        ['cohen', 'nih', 'own (no more is known)']
        >>> known_origins(table.iloc[2:]).tolist()
        ['own']
    """
    origins = table["origin"].astype(str)
    if origins.nunique() != 1:
        return origins
    of_patients = table["patient"].astype(str).str.partition(":")[0]
    if of_patients.nunique() == 1:
        return of_patients
    return of_patients.mask(of_patients == origins, origins + " (no more is known)")


def squeeze(name: str) -> str:
    """Return a file name without blanks: COVIDx's releases disagree about them."""
    return name.replace(" ", "")
