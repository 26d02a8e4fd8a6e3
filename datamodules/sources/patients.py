"""Who is in which image: one patient registry over all data sets.

RSNA's images are NIH's, and every normal and most pneumonia images of COVIDx are RSNA's; their file names hide it.
A global patient id is ``<origin>:<number>``; NIH, RSNA and COVIDx images of one person share ``nih:00001836``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from experiments.errors import UserError

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


@dataclass
class PatientRegistry:
    """Global patient ids.

    Attributes:
        nih_images: RSNA id -> NIH image file name, as RSNA publishes it.
        known: Image stem (blanks removed) -> patient, learned from COVIDx's lists.

    Example:
        >>> rsna_id = "0004cfab-14fd-4e49-80ba-63a80b6bddd6"
        >>> registry = PatientRegistry(nih_images={rsna_id: "00001836_045.png"})
        >>> registry.of_covidx("0004cfab", rsna_id, "rsna"), registry.of_stem("00001836_002")
        ('nih:00001836', 'nih:00001836')
        >>> registry.of_stem("COVID (70)"), registry.of_stem("film 1")
        ('sirm:COVID(70)', None)
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
        """Return the patient as far as the file name tells, or None."""
        stem = squeeze(stem)
        if stem in self.known:
            return self.known[stem]
        if _RSNA_ID.fullmatch(stem):
            return self.of_rsna(stem)
        for origin, pattern in {"nih": _NIH_IMAGE, **_STEMS}.items():
            match = pattern.fullmatch(stem)
            if match:
                return f"{origin}:{match[1]}"
        return None


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


def squeeze(name: str) -> str:
    """Return a file name without blanks: COVIDx's releases disagree about them."""
    return name.replace(" ", "")
