"""The schema of data sets under ``data.sources``: one class for each layout on disk that the project reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import TYPE_CHECKING, Any, ClassVar, Dict, List, Optional

from omegaconf import MISSING

from experiments.bounds import bounded
from experiments.errors import UserError, nearest
from experiments.paths import absolute
from experiments.plugins.choices import Choice
from experiments.plugins.registry import find, import_class, make, points, require_arguments

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Source:
    """A data set in the layout in which it is published; the kind names its class.

    >>> Source("nih", root="/data/cxr/nih").folder
    PosixPath('/data/cxr/nih')
    """

    reader: ClassVar[str] = ""  # dotted path of covidmt's own reader; a class of the user's own has a method read
    published: ClassVar[tuple[str, ...]] = ()  # all labels of a published data set

    kind: str = MISSING
    root: str = MISSING

    @property
    def folder(self) -> Path:
        """``root``, absolute."""
        return absolute(self.root)

    @property
    def known_labels(self) -> list[str]:
        """All labels that its images can have; empty: the files tell.

        >>> CsvSource(labels={"sick": "finding"}).known_labels, FolderSource().known_labels
        (['sick'], [])
        """
        return list(self.published)

    def read(self, name: str, patients: Any, notes: Any) -> pd.DataFrame:
        """Return the sample table (`datamodules.sources.table`).

        Args:
            name: The source's name in the YAML.
            patients: Knows the patients of public data sets' files (`datamodules.sources.patients.PatientRegistry`).
            notes: Gets what a person should know (`datamodules.sources.notes.SourceNotes`).

        Raises:
            UserError: The data set cannot be read.
        """
        return import_class(self.reader, f"data.sources.{name}.kind")(self, name, patients, notes)


@dataclass
class ForeignSource(Source):
    """A data set of a class that is named by its path: ``kind: mydata.MySource``, and the class's own settings.

    Attributes:
        options: Settings of the class; they may stand beside ``kind`` too.
    """

    options: Dict[str, Any] = field(default_factory=dict)

    def resolve(self, key: str) -> Source:
        """Return the object of the class itself.

        Args:
            key: ``data.sources.<name>``, for messages.

        Raises:
            UserError: It cannot be imported, or refuses its settings.
        """
        cls = find("sources", self.kind, f"{key}.kind")
        choice = Choice(self.kind, {"root": self.root, **self.options})
        if not isinstance(cls, type) or not callable(getattr(cls, "read", None)):
            raise UserError(f"{key}.kind: {self.kind} has no method read(name, patients, notes): docs/extending.md")
        require_arguments(cls, choice, key)
        return make(cls, choice, key)

    def read(self, name: str, patients: Any, notes: Any) -> pd.DataFrame:
        """Return the sample table that the class reads."""
        return self.resolve(f"data.sources.{name}").read(name, patients, notes)


@dataclass
class CovidxSource(Source):
    """COVID-Net's COVIDx, list formats v1-v9. Lists are globs below the root."""

    reader = "datamodules.sources.covidx.read_covidx"
    published = ("normal", "pneumonia", "COVID-19")
    kind: str = "covidx"
    train_list: str = "train*.txt"
    val_list: Optional[str] = "val*.txt"
    test_list: Optional[str] = "test*.txt"


@dataclass
class RsnaSource(Source):
    """RSNA Pneumonia Detection Challenge, stage 2.

    Attributes:
        frame: Width and height of the images that the boxes are drawn for: files of another size are copies, and the
            boxes are scaled with them. null: the boxes count the pixels of each file.
    """

    reader = "datamodules.sources.rsna.read_rsna"
    published = ("Lung Opacity", "Normal", "No Lung Opacity / Not Normal")
    kind: str = "rsna"
    images: str = "stage_2_train_images"
    labels: str = "stage_2_train_labels.csv"
    class_info: Optional[str] = "stage_2_detailed_class_info.csv"
    mapping: Optional[str] = "pneumonia-challenge-dataset-mappings_2018.json"
    frame: Optional[List[int]] = field(default_factory=lambda: [1024, 1024])


@dataclass
class NihSource(Source):
    """NIH ChestX-ray14; either revision of Data_Entry, images_*/images/ or one folder."""

    reader = "datamodules.sources.nih.read_nih"
    published = (
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Effusion",
        "Emphysema",
        "Fibrosis",
        "Hernia",
        "Infiltration",
        "Mass",
        "Nodule",
        "Pleural_Thickening",
        "Pneumonia",
        "Pneumothorax",
    )
    kind: str = "nih"
    entries: str = "Data_Entry_2017*.csv"
    train_val_list: str = "train_val_list.txt"
    test_list: str = "test_list.txt"


@dataclass
class WacxrSource(Source):
    """WaCXR: originals and what WhatsApp made of them, two folders with class folders, paired by stem.

    Attributes:
        label: What the class folders ``1_*`` have: of own pairs in this layout it may be another disease.
    """

    reader = "datamodules.sources.wacxr.read_wacxr"
    kind: str = "wacxr"
    originals: str = "covid_binary_test"
    received: str = "covid_binary_test_whatsapp"
    label: str = "COVID-19"


@dataclass
class CsvSource(Source):
    """A user's own table: one row an image (or one a box), and the columns' names.

    Attributes:
        table: The CSV, below the root; image paths in it are below the root too.
        labels: Label name -> column with 1 / 0 / blank; or leave empty and name one ``label_column``.
        label_column: A column with the class name, or several with ``label_separator`` between them.
        attributes: Name -> column with a text on how the image was made (device, ward, projection); a task's ``column``
            may name it.
        box_columns: Four columns x1, y1, x2, y2 in pixels of the image or of ``frame``, blank where there is no box.
        frame: [width, height] of the images that the boxes are drawn for, where the files are copies of another size.
    """

    reader = "datamodules.sources.user_csv.read_user_csv"
    kind: str = "csv"
    table: str = MISSING
    separator: str = ","
    image_column: str = "image"
    patient_column: Optional[str] = None
    split_column: Optional[str] = None
    labels: Dict[str, str] = field(default_factory=dict)
    label_column: Optional[str] = None
    attributes: Dict[str, str] = field(default_factory=dict)
    label_separator: str = "|"
    box_columns: List[str] = field(default_factory=list)
    frame: Optional[List[int]] = None

    @property
    def known_labels(self) -> list[str]:
        """Those of ``labels``; what a ``label_column`` holds, the table tells."""
        return list(self.labels)


@dataclass
class FolderSource(Source):
    """A user's own class folders: ``<root>/<class>/*`` or ``<root>/<train|val|test>/<class>/*``."""

    reader = "datamodules.sources.user_folder.read_user_folder"
    kind: str = "folder"


@dataclass
class PairsSource(Source):
    """Originals and received images in two folders, paired by name (CheXwhatsApp, or one's own).

    Attributes:
        originals: Folder below the root, with subfolders or not; null: the images of ``labels_of``.
        received: Folder below the root of what the phone received.
        labels_of: The source that gives the originals' labels, boxes, patients and splits; null: they have no labels,
            and all are test images.
    """

    kind: str = "pairs"
    originals: Optional[str] = "originals"
    received: str = "received"
    labels_of: Optional[str] = None


class Reading(Enum):
    """What a finding counts as that a report leaves open."""

    unknown = "unknown"  # never enters a loss
    negative = "negative"
    positive = "positive"


@dataclass
class ChexpertSource(Source):
    """CheXpert or CheXphoto.

    Attributes:
        uncertain: What -1 counts as.
        unmentioned: What a blank counts as.
    """

    reader = "datamodules.sources.chexpert.read_chexpert"
    published = (
        "No Finding",
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
        "Support Devices",
    )
    kind: str = "chexpert"
    train_table: str = "train*.csv"
    valid_table: Optional[str] = "valid*.csv"
    test_table: Optional[str] = "test*.csv"
    uncertain: Reading = Reading.unknown
    unmentioned: Reading = Reading.negative


@dataclass
class VindrSource(Source):
    """VinDr-CXR, of PhysioNet or Kaggle (``train_boxes: train.csv``).

    Attributes:
        agreement: How many of a training image's three radiologists must have marked a finding.
        box_labels: The findings whose boxes are learned; empty: all that have boxes.
    """

    reader = "datamodules.sources.vindr.read_vindr"
    kind: str = "vindr"
    train_boxes: str = "annotations_train.csv"
    test_boxes: str = "annotations_test.csv"
    agreement: int = bounded(2, at_least=1)
    box_labels: List[str] = field(default_factory=list)


def source_kinds() -> list[str]:
    """Return the short names of all kinds that are installed, sorted.

    >>> [kind for kind in source_kinds() if kind in ("nih", "vindr")]
    ['nih', 'vindr']
    """
    return sorted(points("sources"))


def source_class(kind: Any, key: str) -> type[Source]:
    """Return the settings class of a kind.

    Args:
        kind: A short name, or the dotted path of a class: that is not imported here.
        key: ``data.sources.<name>.kind``, for the message.

    Raises:
        UserError: There is no such kind.

    >>> source_class("nih", "data.sources.nih.kind").__name__, source_class("mydata.MySource", "").__name__
    ('NihSource', 'ForeignSource')
    """
    if isinstance(kind, str) and kind in points("sources"):
        return find("sources", kind, key)
    if isinstance(kind, str) and Choice(kind, {}).is_class:
        return ForeignSource
    raise UserError(f"{key}: no kind {kind!r}{nearest(str(kind), source_kinds())}")
