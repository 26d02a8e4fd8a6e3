"""The layouts of the data sets, class folders and lung masks, written with made-up films."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from hashlib import md5
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage, generate_uid

from datamodules.channels.phone_apps import whatsapp_web
from datamodules.channels.registry import get_channel
from datamodules.demo.films import Film
from datamodules.sources.chexpert import LABELS as CHEXPERT_LABELS

# WaCXR's way to the phone: WhatsApp would leave films of 256 px nearly as they are, and hardly an answer would change.
# So a preview is sent, a quarter as wide; of a real film WhatsApp keeps about half.
PHONE = "resize:64+whatsapp"

# NIH's findings in the words of others
_CHEXPERT_CLASS = {
    "Pneumonia": "Pneumonia",
    "Infiltration": "Lung Opacity",
    "Effusion": "Pleural Effusion",
    "Atelectasis": "Atelectasis",
    "Nodule": "Lung Lesion",
}
_VINDR_CLASS = {
    "Pneumonia": "Pneumonia",
    "Infiltration": "Infiltration",
    "Effusion": "Pleural effusion",
    "Atelectasis": "Atelectasis",
    "Nodule": "Nodule/Mass",
}
_RSNA_CLASS = {"normal": "Normal", "pneumonia": "Lung Opacity", "other": "No Lung Opacity / Not Normal"}


def write_covidx(root: Path, films: list[Film]) -> None:
    """Write COVIDx, list format of version 3 and later; validation images lie in ``train`` as in the real set."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for film in films:
        if not film.covidx:
            continue
        folder = "test" if film.split == "test" else "train"
        _write_image(root / folder / film.covidx, film.published.image)
        if film.kind == "COVID-19":
            patient, source = str(film.patient), "cohen"
        elif film.rsna:
            patient, source = film.rsna, "rsna"
        else:
            patient, source = f"{film.patient:08d}", "nih"
        lists[film.split].append(f"{patient} {film.covidx} {film.kind} {source}\n")

    for split, lines in lists.items():
        (root / f"{split}_COVIDx.txt").write_text("".join(lines))


def write_rsna(root: Path, films: list[Film]) -> None:
    """Write RSNA stage 2 and RSNA's published mapping to NIH images. A row a box, in RSNA's frame of 1024 px."""
    labels, classes, mapping = [], [], []
    folder = root / "stage_2_train_images"
    folder.mkdir(parents=True)
    for n, film in enumerate(film for film in films if film.rsna):
        # the image
        uids = {
            f"{name}InstanceUID": generate_uid(entropy_srcs=[film.rsna, name]) for name in ("Study", "Series", "SOP")
        }
        _write_dicom(folder / f"{film.rsna}.dcm", film, uids, n)

        # its rows
        boxes = film.boxes("Pneumonia") * (1024 / len(film.chest.image))
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


def _write_dicom(path: Path, film: Film, uids: dict[str, UID], n: int) -> None:
    """Write a file like RSNA's: 8-bit MONOCHROME2 in baseline JPEG.

    Every fourth is uncompressed, and of these every other is inverted.
    """
    plain, inverted = n % 4 == 3, n % 8 == 7
    pixels = film.chest.image
    data = Dataset()

    # file
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = uids["SOPInstanceUID"]
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if plain else JPEGBaseline8Bit
    for name, uid in uids.items():
        setattr(data, name, uid)

    # patient and study
    view, sex, age = film.person
    data.SpecificCharacterSet = "ISO_IR 100"
    data.StudyDate, data.StudyTime, data.AccessionNumber = "19010101", "000000.00", ""
    data.Modality, data.ConversionType, data.BodyPartExamined = "CR", "WSD", "CHEST"
    data.ReferringPhysicianName, data.SeriesDescription, data.ViewPosition = "", f"view: {view}", view
    data.PatientName = data.PatientID = film.rsna
    data.PatientBirthDate, data.PatientSex, data.PatientAge = "", sex, f"{age:03d}Y"
    data.StudyID, data.SeriesNumber, data.InstanceNumber, data.PatientOrientation = "", 1, 1, ""

    # pixels
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


def write_nih(root: Path, films: list[Film]) -> None:
    """Write NIH ChestX-ray14: boxes in the frame of the 1024-px originals.

    Some of COVIDx's test patients are in train_val, as in the real sets.
    """
    entries, boxes = [], []
    lists: dict[str, list[str]] = {"train_val": [], "test": []}
    films = [film for film in films if film.kind != "COVID-19"]
    stray = sorted({film.patient for film in films if film.split == "test"})[::12]
    for film in films:
        _write_image(root / "images_001" / "images" / film.nih, film.chest.image)
        view, sex, age = film.person
        findings = "|".join(film.findings) or "No Finding"
        entries.append((film.nih, findings, film.follow_up, film.patient, age, sex, view, 3056, 2544, 0.139, 0.139))
        lists["test" if film.split == "test" and film.patient not in stray else "train_val"].append(film.nih)

        # boxes, of a third of the patients
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


def write_wacxr(root: Path, films: list[Film]) -> None:
    """Write WaCXR: the COVIDx test images as PNG, and what a simulated phone makes of each (:data:`PHONE`)."""
    send = get_channel(PHONE)
    for film in films:
        if not film.covidx or film.split != "test":
            continue
        name = Path("1_COVID-19" if film.kind == "COVID-19" else "0_NON_COVID", Path(film.covidx).stem)
        _write_image(root / "covid_binary_test" / f"{name}.png", film.published.image)
        received = root / "covid_binary_test_whatsapp" / f"{name}.jpeg"
        received.parent.mkdir(parents=True, exist_ok=True)
        received.write_bytes(send(film.published.image))


def write_received(root: Path, films: list[Film]) -> None:
    """Write what WhatsApp's web client makes of NIH's and RSNA's films, as CheXwhatsApp brings it: without labels."""
    for film in films:
        received = whatsapp_web(film.chest.image)
        names = {"nih": Path(film.nih).stem if film.kind != "COVID-19" else "", "rsna": film.rsna}
        for name, stem in names.items():
            path = root / f"{name}_whatsapp" / "received" / f"{stem}.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            if stem:
                path.write_bytes(received)


def write_chexpert(root: Path, films: list[Film]) -> None:
    """Write CheXpert: a quarter of NIH's universe, every fifth finding uncertain, some films with a lateral view."""
    lines: dict[str, list[tuple]] = {"train": [], "valid": []}
    films = [film for film in films if film.kind != "COVID-19" and film.patient % 4 == 0]
    for n, film in enumerate(films):
        split = "valid" if film.split == "test" else "train"
        view, sex, age = film.person
        values = {_CHEXPERT_CLASS[finding]: -1.0 if n % 5 == 4 else 1.0 for finding in film.findings}
        values |= {} if film.findings else {"No Finding": 1.0}
        for place in ("frontal", "lateral") if n % 6 == 0 else ("frontal",):
            name = f"{split}/patient{film.patient:05d}/study{film.follow_up + 1}/view1_{place}.jpg"
            _write_image(root / name, film.chest.image if place == "frontal" else film.chest.image[:, ::2])
            cells = [values.get(label, "") for label in CHEXPERT_LABELS]
            projection = view if place == "frontal" else ""
            row = (f"CheXpert-v1.0-small/{name}", {"M": "Male", "F": "Female"}[sex], age, place.title(), projection)
            lines[split].append((*row, *cells))

    header = ",".join(["Path,Sex,Age,Frontal/Lateral,AP/PA", *CHEXPERT_LABELS])
    for split, rows in lines.items():
        _write_csv(root / f"{split}.csv", header, rows)


def write_vindr(root: Path, films: list[Film]) -> None:
    """Write VinDr-CXR: another quarter; the three radiologists' boxes differ a little, and the third misses some."""
    films = [film for film in films if film.kind != "COVID-19" and film.patient % 4 == 1]
    rows: dict[str, list[tuple]] = {"train": [], "test": []}
    for n, film in enumerate(films):
        # the image
        split = "test" if film.split == "test" else "train"
        image = md5(film.nih.encode(), usedforsecurity=False).hexdigest()
        uids = {f"{name}InstanceUID": generate_uid(entropy_srcs=[image, name]) for name in ("Study", "Series", "SOP")}
        (root / split).mkdir(parents=True, exist_ok=True)
        _write_dicom(root / split / f"{image}.dicom", film, uids, n)

        # its marks
        for number, reader in enumerate(("R1", "R8", "R9") if split == "train" else ("",)):
            findings = film.findings if number < 2 or n % 3 else ()
            for finding in findings:
                boxes = film.boxes(finding) + number
                corners = [tuple(box) for box in boxes.tolist()] or [("", "", "", "")]
                rows[split] += [(image, reader, _VINDR_CLASS[finding], *box) for box in corners]
            rows[split] += [] if findings else [(image, reader, "No finding", "", "", "", "")]

    corners = "x_min,y_min,x_max,y_max"
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    _write_csv(root / "annotations" / "annotations_train.csv", f"image_id,rad_id,class_name,{corners}", rows["train"])
    tests = [(image, *rest) for image, _, *rest in rows["test"]]
    _write_csv(root / "annotations" / "annotations_test.csv", f"image_id,class_name,{corners}", tests)


def write_small(root: Path, films: list[Film]) -> None:
    """Write two class folders, as of a small data set of one's own: normal and COVID-19 of COVIDx."""
    for film in films:
        if film.covidx and film.kind in ("normal", "COVID-19"):
            _write_image(root / film.kind / film.covidx, film.published.image)


def write_lungs(root: Path, films: list[Film]) -> None:
    """Write image and mask (0/255) of every COVIDx stem."""
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
