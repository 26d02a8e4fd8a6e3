"""The schema of data sets under ``data.sources``: one class for each layout on disk that the project reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import Dict, List, Optional

from omegaconf import MISSING

from experiments.paths import absolute


@dataclass
class Source:
    """A data set in the layout in which it is published; the kind names the adapter.

    >>> Source("nih", root="/data/cxr/nih").folder
    PosixPath('/data/cxr/nih')
    """

    kind: str = MISSING
    root: str = MISSING

    @property
    def folder(self) -> Path:
        """``root``, absolute."""
        return absolute(self.root)


@dataclass
class CovidxSource(Source):
    """COVID-Net's COVIDx, list formats v1-v9. Lists are globs below the root."""

    kind: str = "covidx"
    train_list: str = "train*.txt"
    val_list: Optional[str] = "val*.txt"
    test_list: Optional[str] = "test*.txt"


@dataclass
class RsnaSource(Source):
    """RSNA Pneumonia Detection Challenge, stage 2."""

    kind: str = "rsna"
    images: str = "stage_2_train_images"
    labels: str = "stage_2_train_labels.csv"
    class_info: Optional[str] = "stage_2_detailed_class_info.csv"
    mapping: Optional[str] = "pneumonia-challenge-dataset-mappings_2018.json"


@dataclass
class NihSource(Source):
    """NIH ChestX-ray14; either revision of Data_Entry, images_*/images/ or one folder."""

    kind: str = "nih"
    entries: str = "Data_Entry_2017*.csv"
    train_val_list: str = "train_val_list.txt"
    test_list: str = "test_list.txt"


@dataclass
class WacxrSource(Source):
    """WaCXR: originals and what WhatsApp made of them, two folders with class folders, paired by stem."""

    kind: str = "wacxr"
    originals: str = "covid_binary_test"
    received: str = "covid_binary_test_whatsapp"


@dataclass
class CsvSource(Source):
    """A user's own table: one row an image (or one a box), and the columns' names.

    Attributes:
        table: The CSV, below the root; image paths in it are below the root too.
        labels: Label name -> column with 1 / 0 / blank; or leave empty and name one ``label_column``.
        label_column: A column with the class name (several separated by ``|``).
        box_columns: Four columns x1, y1, x2, y2 in image pixels, blank where there is no box.
    """

    kind: str = "csv"
    table: str = MISSING
    separator: str = ","
    image_column: str = "image"
    patient_column: Optional[str] = None
    split_column: Optional[str] = None
    labels: Dict[str, str] = field(default_factory=dict)
    label_column: Optional[str] = None
    box_columns: List[str] = field(default_factory=list)


@dataclass
class FolderSource(Source):
    """A user's own class folders: ``<root>/<class>/*`` or ``<root>/<train|val|test>/<class>/*``."""

    kind: str = "folder"


SOURCE_KINDS: dict[str, type[Source]] = {
    cls.kind: cls for cls in (CovidxSource, RsnaSource, NihSource, WacxrSource, CsvSource, FolderSource)
}
