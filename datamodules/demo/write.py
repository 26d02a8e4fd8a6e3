"""Made-up data sets in the layouts of COVIDx, RSNA, NIH ChestX-ray14 and WaCXR, with lung masks.

They have what makes the real ones hard. The same films lie in several sets under different names (an RSNA id is an NIH
image), a patient has several films, NIH's official test list does not know COVIDx's, and shortcuts give the class
away in training and validation but not in test: findings come with bedside films, COVID-19 with a printed page's look.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage, generate_uid

from datamodules.channels.phone_apps import whatsapp
from datamodules.demo.phantom import Anatomy, Chest, draw_chest
from experiments.errors import UserError

MARKER = ".covidmt-demo.json"
_VERSION = 2  # of what is drawn and written; raise it so that older demo sets are written anew
_MIN_PATIENTS, _MIN_SIZE = 48, 32

# What an NIH film shows, dealt out in turn within each split, so that small splits have every finding.
_PNEUMONIA = ("Pneumonia", "Infiltration|Pneumonia", "Effusion|Pneumonia", "Nodule|Pneumonia", "Atelectasis|Pneumonia")
_OTHER = ("Atelectasis|Nodule", "Effusion|Infiltration", "Nodule", "Atelectasis", "Infiltration|Nodule", "Effusion")
_RSNA_CLASS = {"normal": "Normal", "pneumonia": "Lung Opacity", "other": "No Lung Opacity / Not Normal"}


@dataclass
class _Film:
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
        return f"{self.patient:08d}_{self.follow_up:03d}.png"

    @property
    def person(self) -> tuple[str, str, int]:
        """View, sex, age."""
        return "AP" if self.portable else "PA", "MF"[self.patient % 2], 20 + self.patient * 7 % 65

    def boxes(self, finding: str) -> np.ndarray:
        """(n, 4) x1 y1 x2 y2 in pixels."""
        return self.chest.boxes.get(finding, np.zeros((0, 4), np.float32))


def write_demo(root: Path, *, seed: int = 0, size: int = 256, patients: int = 200) -> None:
    """Write ``covidx``, ``rsna``, ``nih``, ``wacxr``, ``small`` and ``lungs`` below a folder.

    The same arguments give the same bytes. A demo set that is there already is left as it is when it was written with
    the same arguments, else replaced; the folder appears whole or not at all.

    Args:
        root: A folder that does not exist, is empty, or holds a demo set.
        seed: Seed of everything.
        size: Side of the images in pixels.
        patients: Number of patients, a quarter of them with COVID-19; 200 give about 320 films.

    Raises:
        UserError: The folder holds something else or cannot be written, or an argument is too small.
    """
    if size < _MIN_SIZE or patients < _MIN_PATIENTS:
        raise UserError(
            f"the demo set needs a size of at least {_MIN_SIZE} and {_MIN_PATIENTS} patients; "
            f"got size={size}, patients={patients}"
        )
    root = Path(root).absolute()
    wanted = json.dumps({"version": _VERSION, "seed": seed, "size": size, "patients": patients})
    if _holds(root) == wanted:
        return
    new, old = (root.with_name(f".{root.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    try:
        new.mkdir(parents=True)
        films = list(_films(seed, size, patients))
        _write_covidx(new / "covidx", films)
        _write_rsna(new / "rsna", films)
        _write_nih(new / "nih", films)
        _write_wacxr(new / "wacxr", films)
        _write_small(new / "small", films)
        _write_lungs(new / "lungs", films)
        (new / MARKER).write_text(wanted)
        if _holds(root) == wanted:  # another process was faster
            return
        if root.exists():
            root.rename(old)
        new.rename(root)
    except OSError as error:  # a file on the way, a full disk, a mount point (which cannot be renamed), ...
        raise UserError(f"{root}: cannot be written ({error.strerror}); name another folder") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _holds(root: Path) -> str | None:
    """The settings of the demo set in a folder; None: there is nothing.

    Raises:
        UserError: It holds something else.
    """
    if (root / MARKER).is_file():
        return (root / MARKER).read_text()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} is not empty and holds no demo set; name a new folder, or empty this one")
    return None


def _films(seed: int, size: int, patients: int) -> Iterator[_Film]:
    """Draw all films, patient by patient; NIH's universe first, then COVID-19."""
    decks = {s: _deal(("normal",), _PNEUMONIA, _OTHER) for s in ("train", "val", "test")}
    count: Counter[tuple[str, str]] = Counter()
    covid = patients // 4
    numbers = np.random.default_rng((seed, 0)).choice(30_000, patients - covid, replace=False) + 1
    people = [("nih", int(n)) for n in numbers] + [("covid", n + 1) for n in range(covid)]
    for index, (origin, patient) in enumerate(people):
        # of every 20 patients 12 train, 3 val, 5 test, spread evenly
        split = {1: "val", 7: "val", 13: "val", 3: "test", 8: "test", 11: "test", 15: "test", 18: "test"}.get(
            index % 20
        )
        split = split or "train"
        rng = np.random.default_rng((seed, 1, index))
        anatomy = Anatomy.draw(size, rng)
        letter = str(rng.choice(("L", "R"), p=(0.75, 0.25)))
        for follow_up in range(1 + int(rng.random() < 0.35)):
            kind, shown = ("COVID-19", "COVID-19") if origin == "covid" else next(decks[split])
            findings = () if kind == "normal" else tuple(shown.split("|"))
            # the bedside film, a shortcut to every finding; in test it says nothing
            portable = bool(rng.random() < (0.5 if split == "test" else 0.8 if findings else 0.15))
            chest = draw_chest(anatomy, findings, rng, size=size, letter=letter, portable=portable)
            # the scanned page, a shortcut to COVID-19; in test it says nothing
            scan = rng.random() < (0.5 if split == "test" else 0.85 if kind == "COVID-19" else 0.1)
            published = _scanned(chest, rng) if scan else chest
            film = _Film(kind, split, patient, follow_up, findings, portable, chest, published)
            _name(film, count[split, kind], rng)
            count[split, kind] += 1
            yield film


def _deal(*decks: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(kind, findings) for ever: the kinds in turn, the findings of each in turn."""
    cycles = [itertools.cycle(deck) for deck in decks]
    while True:
        for kind, cycle in zip(("other", "normal", "pneumonia"), (cycles[2], cycles[0], cycles[1]), strict=True):
            yield kind, next(cycle)


def _name(film: _Film, n: int, rng: np.random.Generator) -> None:
    """Names in the sets for the n-th film of its split and class; every other COVIDx file is a JPEG, in every class."""
    identity = uuid.UUID(bytes=rng.bytes(16), version=4)
    if film.kind == "COVID-19":
        year, figure, day = rng.integers(10**9, 10**10), rng.integers(1, 9), rng.integers(1, 20)
        names = (f"covid-19-caso {film.patient}-day {day}-{figure}.jpg", f"1-s2.0-S0140673{year}-gr{figure}_lrg.png")
        names += (f"{str(identity).upper()}.jpeg", f"{str(identity).upper()}.png")
        film.covidx = names[n % 4]
        return
    if n % 4 != 3:  # a quarter of NIH's films is not in RSNA
        film.rsna = str(identity)
    if film.kind != "other":
        film.covidx = f"{film.rsna}.{'png' if n % 2 else 'jpg'}" if film.rsna else film.nih


def _write_covidx(root: Path, films: list[_Film]) -> None:
    """COVIDx, list format of version 3 and later; validation images lie in ``train`` as in the real set."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for film in films:
        if not film.covidx:
            continue
        covid = film.kind == "COVID-19"
        folder = "test" if film.split == "test" else "train"
        _write_image(root / folder / film.covidx, film.published.image)
        patient = str(film.patient) if covid else film.rsna or f"{film.patient:08d}"
        source = "cohen" if covid else "rsna" if film.rsna else "nih"
        lists[film.split].append(f"{patient} {film.covidx} {film.kind} {source}\n")
    for split, lines in lists.items():
        (root / f"{split}_COVIDx.txt").write_text("".join(lines))


def _scanned(chest: Chest, rng: np.random.Generator) -> Chest:
    """A figure of a printed page: cropped, paler, framed, with the panel's letter."""
    size = len(chest.image)
    top, bottom, left, right = (rng.uniform((0, 0.02, 0, 0), (0.03, 0.09, 0.03, 0.03)) * size).astype(int)
    inside = (slice(top, size - bottom), slice(left, size - right))
    image = 38 + 0.85 * chest.image[inside].astype(np.float32)
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
    height, width = image.shape
    edge = max(1, size // 64)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), 255, edge)
    box = size // 11
    cv2.rectangle(image, (edge, height - edge - box), (edge + box, height - edge), 255, -1)
    at = (edge + box // 4, height - edge - box // 4)
    cv2.putText(image, str(rng.choice(list("abc"))), at, cv2.FONT_HERSHEY_SIMPLEX, size / 380, 0, 1, cv2.LINE_AA)
    return Chest(image, np.ascontiguousarray(chest.lungs[inside]))


def _write_rsna(root: Path, films: list[_Film]) -> None:
    """RSNA stage 2, and RSNA's published mapping to NIH images. A row a box, in the file's own pixels."""
    labels, classes, mapping = [], [], []
    folder = root / "stage_2_train_images"
    folder.mkdir(parents=True)
    for n, film in enumerate(f for f in films if f.rsna):
        uids = {
            f"{name}InstanceUID": generate_uid(entropy_srcs=[film.rsna, name]) for name in ("Study", "Series", "SOP")
        }
        _write_dicom(folder / f"{film.rsna}.dcm", film, uids, n)
        boxes = film.boxes("Pneumonia")
        for x1, y1, x2, y2 in boxes:
            labels.append((film.rsna, x1, y1, x2 - x1, y2 - y1, 1))
        if not len(boxes):
            labels.append((film.rsna, "", "", "", "", 0))
        classes += [(film.rsna, _RSNA_CLASS[film.kind])] * max(1, len(boxes))
        mapping.append(
            {"subset_img_id": film.rsna, "img_id": film.nih, **uids, "orig_labels": film.findings or ("No Finding",)}
        )
    _write_csv(root / "stage_2_train_labels.csv", "patientId,x,y,width,height,Target", labels)
    _write_csv(root / "stage_2_detailed_class_info.csv", "patientId,class", classes)
    (root / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(mapping, indent=0))


def _write_dicom(path: Path, film: _Film, uids: dict[str, UID], n: int) -> None:
    """As RSNA's files: 8-bit MONOCHROME2 in baseline JPEG; every fourth uncompressed, of these every other inverted."""
    plain, inverted = n % 4 == 3, n % 8 == 7
    pixels = film.chest.image
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = uids["SOPInstanceUID"]
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if plain else JPEGBaseline8Bit
    for name, uid in uids.items():
        setattr(data, name, uid)
    view, sex, age = film.person
    data.SpecificCharacterSet = "ISO_IR 100"
    data.StudyDate, data.StudyTime, data.AccessionNumber = "19010101", "000000.00", ""
    data.Modality, data.ConversionType, data.BodyPartExamined = "CR", "WSD", "CHEST"
    data.ReferringPhysicianName, data.SeriesDescription, data.ViewPosition = "", f"view: {view}", view
    data.PatientName = data.PatientID = film.rsna
    data.PatientBirthDate, data.PatientSex, data.PatientAge = "", sex, f"{age:03d}Y"
    data.StudyID, data.SeriesNumber, data.InstanceNumber, data.PatientOrientation = "", 1, 1, ""
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME1" if inverted else "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [0.168, 0.168]
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    if plain:
        data.PixelData = (255 - pixels if inverted else pixels).tobytes()
        data["PixelData"].VR = "OB"
    else:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=80)
        data.LossyImageCompression, data.LossyImageCompressionMethod = "01", "ISO_10918_1"
        data.PixelData = encapsulate([file.getvalue()])
    data.save_as(path, enforce_file_format=True)


def _write_nih(root: Path, films: list[_Film]) -> None:
    """NIH ChestX-ray14: boxes in the frame of the 1024-px originals; some of COVIDx's test patients in train_val."""
    entries, boxes = [], []
    lists: dict[str, list[str]] = {"train_val": [], "test": []}
    films = [f for f in films if f.kind != "COVID-19"]
    stray = sorted({f.patient for f in films if f.split == "test"})[::12]
    for film in films:
        _write_image(root / "images_001" / "images" / film.nih, film.chest.image)
        view, sex, age = film.person
        shown = "|".join(film.findings) or "No Finding"
        entries.append((film.nih, shown, film.follow_up, film.patient, age, sex, view, 3056, 2544, 0.139, 0.139))
        lists["test" if film.split == "test" and film.patient not in stray else "train_val"].append(film.nih)
        scale = 1024 / len(film.chest.image)
        for name in film.findings if film.patient % 3 == 0 else ():
            for x1, y1, x2, y2 in film.boxes(name) * scale:
                label = "Infiltrate" if name == "Infiltration" else name
                boxes.append((film.nih, label, x1, y1, x2 - x1, y2 - y1, "", "", ""))
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
    header += ",OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    _write_csv(root / "Data_Entry_2017.csv", header, entries)
    _write_csv(root / "BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,", boxes)
    for name, images in lists.items():
        (root / f"{name}_list.txt").write_text("".join(f"{image}\n" for image in sorted(images)))


def _write_wacxr(root: Path, films: list[_Film]) -> None:
    """WaCXR: the COVIDx test images as PNG, and what the simulated WhatsApp makes of each."""
    for film in films:
        if not film.covidx or film.split != "test":
            continue
        name = Path("1_COVID-19" if film.kind == "COVID-19" else "0_NON_COVID", Path(film.covidx).stem)
        _write_image(root / "covid_binary_test" / f"{name}.png", film.published.image)
        received = root / "covid_binary_test_whatsapp" / f"{name}.jpeg"
        received.parent.mkdir(parents=True, exist_ok=True)
        received.write_bytes(whatsapp(film.published.image))


def _write_small(root: Path, films: list[_Film]) -> None:
    """Two class folders, as of a small data set of one's own: normal and COVID-19 of COVIDx."""
    for film in films:
        if film.covidx and film.kind in ("normal", "COVID-19"):
            _write_image(root / film.kind / film.covidx, film.published.image)


def _write_lungs(root: Path, films: list[_Film]) -> None:
    """Image and mask (0/255) of every COVIDx stem."""
    rows = []
    for film in films:
        if not film.covidx:
            continue
        name = f"{Path(film.covidx).stem}.png"
        _write_image(root / "images" / name, film.published.image)
        _write_image(root / "masks" / name, film.published.lungs.astype(np.uint8) * 255)
        patient = str(film.patient) if film.kind == "COVID-19" else f"{film.patient:08d}"
        rows.append(("exact", f"images/{name}", f"masks/{name}", patient, film.split, 0, 0, 1.0, 0))
    _write_csv(root / "pairs.csv", "alignment,image,mask,patientid,split,dx,dy,score,spread", rows)


def _write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def _write_csv(path: Path, header: str, rows: Iterable[tuple]) -> None:
    with path.open("w", newline="") as file:
        file.write(f"{header}\n")  # verbatim: NIH's headers have commas inside their names
        csv.writer(file, lineterminator="\n").writerows(rows)
