"""Broken inputs by the thousand: refused with a UserError, or read as an independent parser reads them.

Some hundred cases a run; `make fuzz` does more than ten thousand.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from datamodules.images.decode import decode
from datamodules.lungs import read_lung_folder
from datamodules.reading.labels import label_key
from datamodules.sources.covidx import LABELS as COVIDX_LABELS
from datamodules.sources.covidx import read_covidx
from datamodules.sources.files import _BLANK
from datamodules.sources.nih import LABELS as NIH_LABELS
from datamodules.sources.nih import NO_FINDING, read_nih
from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.rsna import LABELS as RSNA_LABELS
from datamodules.sources.rsna import read_boxes, read_rsna
from datamodules.sources.user_csv import read_user_csv
from datamodules.sources.user_folder import read_user_folder
from datamodules.sources.wacxr import read_wacxr
from experiments.errors import UserError
from experiments.load import SHIPPED, from_dict, load_experiment, to_dict
from experiments.lungs_schema import LungFolder
from experiments.names import name_key
from experiments.schema import Experiment
from experiments.source_schema import CovidxSource, CsvSource, FolderSource, NihSource, RsnaSource, WacxrSource
from lightning_modules.checkpoint import read_checkpoint
from lightning_modules.load import load_module
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import experiment
from tests.test_bad_inputs import dicom

pytestmark = [pytest.mark.fuzz, pytest.mark.slow]
CASES = settings.default.max_examples  # 100, or those of --hypothesis-profile=fuzz
fuzz = settings(max_examples=CASES // 2, deadline=None, suppress_health_check=list(HealthCheck))
slow_fuzz = settings(fuzz, max_examples=CASES // 5)  # reading an experiment with all that it extends takes a while

BITS = ["", ",", ",,", "\n", "\r\n", "\r", '"', ";", "\t", "|", " ", "0", "1", "-1", "2", "1e3", "nan", "inf", "NA"]
BITS += ["../", "/etc/passwd", "a", "b.png", "\x00", "é", "\ufeff", "�", "#", "'", "1.png,", "No Finding", "normal"]


@st.composite
def edited(draw: st.DrawFn, text: str) -> str:
    """The text after some insertions, deletions and replacements, most of them at the places of its separators."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from([0, 0, 1, 2, 5, 40]))
        text = text[:start] + draw(st.sampled_from(BITS) | st.text(max_size=3)) + text[end:]
    return text


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with some of them changed, cut short, or a piece of them twice."""
    place = st.integers(0, len(content) - 1)

    def change(edits: list[tuple[int, int, int]], end: int) -> bytes:
        changed = bytearray(content)
        for start, value, repeat in edits:
            changed[start : start + repeat] = bytes([value]) * repeat
        return bytes(changed[: len(content) - end])

    edits = st.lists(st.tuples(place, st.integers(0, 255), st.sampled_from([1, 1, 1, 2, 4])), max_size=5)
    return st.builds(change, edits, st.sampled_from([0, 0, 0, 1, 20, len(content) // 2, len(content) - 1]))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images 0.png ... 7.png (also by RSNA's and NIH's names), as are in the tables."""
    folder = tmp_path_factory.mktemp("fuzz")
    for i in range(8):
        for name in (
            f"{i}.png",
            f"images/{i}.png",
            f"{i:08}_000.png",
            f"masks/{i}.png",
            f"stage_2_train_images/{i}.dcm",
        ):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
    return folder


def write(path: Path, text: str) -> bool:
    """Whether the text can be written as UTF-8."""
    with suppress(UnicodeEncodeError):
        path.write_bytes(text.encode())
        return True
    return False


def rows(text: str) -> list[dict[str, str]]:
    """An independent reading of a CSV."""
    text = text.removeprefix("\ufeff").lstrip("\r\n")
    found = [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""), restkey="more") if any(row.values())]
    return [{str(key).strip(): str(value or "").strip() for key, value in row.items()} for row in found]


def loose(name: object) -> str:
    """A file's name, whatever its case and blanks."""
    return name_key(str(name).replace(" ", ""))


def distinct(boxes: list[list[float]]) -> list[tuple[float, ...]]:
    """Identical rows are one box."""
    return list(dict.fromkeys(tuple(np.float32(box).tolist()) for box in boxes))


def number(text: str | None) -> float:
    """NaN where it is blank."""
    return math.nan if text is None or text.strip() in _BLANK else float(text)


def same(first: float, second: float) -> bool:
    return first == second or (math.isnan(first) and math.isnan(second))


OWN = "image,normal,covid,x1,y1,x2,y2\n" + "".join(
    f"{i}.png,{i % 2},{1 - i % 2},{','.join('1234') if i % 3 else ',,,'}\n" for i in range(8)
)


@fuzz
@given(edited(OWN))
@example(OWN)
def test_own_table(root: Path, text: str):
    if not write(root / "own.csv", text):
        return
    source = CsvSource(root=str(root), table="own.csv", labels={"normal": "normal", "COVID-19": "covid"})
    source.box_columns = ["x1", "y1", "x2", "y2"]
    try:
        table = read_user_csv(source, "own", PatientRegistry(), SourceNotes())
    except UserError:
        assert text != OWN
        return
    assert text != OWN or len(table) == 8
    expected: dict[str, list[dict[str, str]]] = {}
    for row in rows(text):
        expected.setdefault(row["image"], []).append(row)
    assert all(Path(image).parent.samefile(root) or Path(image).is_relative_to(root) for image in table["image"])
    for _, got in table.iterrows():
        image = loose(Path(got["image"]).resolve())
        of_image = [row for name, some in expected.items() if loose((root / name).resolve()) == image for row in some]
        assert of_image
        for label, column in source.labels.items():
            assert all(same(got[label], number(row[column])) for row in of_image)
        boxes = [[number(row[c]) for c in source.box_columns] for row in of_image]
        known = distinct([box for box in boxes if not math.isnan(box[0])])
        assert np.array_equal(got["boxes"], np.float32(known).reshape(-1, 4))


BOXES = "patientId,x,y,width,height,Target\n" + "".join(
    f"{i // 2},{i},2,3.5,4,1\n" if i % 4 < 2 else f"{i // 2 + 4},,,,,0\n" for i in range(8)
)


@fuzz
@given(edited(BOXES))
@example(BOXES)
def test_rsna_boxes(root: Path, text: str):
    if not write(root / "labels.csv", text):
        return
    try:
        boxes = read_boxes(root / "labels.csv")
    except UserError:
        assert text != BOXES
        return
    expected: dict[str, list[list[float]]] = {}
    for row in rows(text):
        x, y, width, height = (number(row[column]) for column in ("x", "y", "width", "height"))
        found = expected.setdefault(row["patientId"], [])
        if number(row["Target"]) == 1:
            found.append([x, y, x + width, y + height])
    assert set(boxes.index) == set(expected)
    for name, some in boxes.items():
        assert np.allclose(some, np.reshape(distinct(expected[str(name)]), (-1, 4)))
        assert (some[:, 2:] > some[:, :2]).all()


CLASSES = "patientId,class\n" + "".join(f"{i},{RSNA_LABELS[0 if i < 4 else 1 + i % 2]}\n" for i in range(8))
PLAIN_BOXES = "patientId,x,y,width,height,Target\n" + "".join(
    f"{i},{'1,2,3,4,1' if i < 4 else ',,,,0'}\n" for i in range(8)
)


@fuzz
@given(edited(CLASSES), st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists, max_leaves=4))
@example(CLASSES, "0")
def test_rsna_classes_and_mapping(root: Path, text: str, junk: object):
    (root / "labels.csv").write_text(PLAIN_BOXES)
    (root / "mapping.json").write_text(
        json.dumps([{"subset_img_id": "1", "img_id": junk}, {"subset_img_id": junk, "img_id": "x"}])
    )
    if not write(root / "classes.csv", text):
        return
    source = RsnaSource(root=str(root), labels="labels.csv", class_info="classes.csv", mapping="mapping.json")
    try:
        table = read_rsna(source, "rsna", PatientRegistry(), SourceNotes())
    except UserError:
        assert (text, junk) != (CLASSES, "0")
        return
    assert text != CLASSES or len(table) == 8
    classes = {row["patientId"]: row["class"] for row in rows(text)}
    for _, got in table.iterrows():
        named = [label for label in RSNA_LABELS if got[label] == 1]
        told = label_key(classes.get(Path(got["image"]).stem) or "")
        assert list(map(label_key, named)) == ([told] if told in map(label_key, RSNA_LABELS) else [])


ENTRIES = "Image Index,Finding Labels,Follow-up #\n" + "".join(
    f"{i:08}_000.png,{('No Finding', 'Effusion|Nodule', 'Hernia')[i % 3]},{i}\n" for i in range(8)
)
LISTED = "\n".join(f"{i:08}_000.png" for i in range(6))


@fuzz
@given(edited(ENTRIES), edited(LISTED))
@example(ENTRIES, LISTED)
def test_nih(root: Path, text: str, listed: str):
    if not (write(root / "entries.csv", text) and write(root / "train.txt", listed)):
        return
    (root / "test.txt").write_text("00000006_000.png\n00000007_000.png\n")
    source = NihSource(root=str(root), entries="entries.csv", train_val_list="train.txt", test_list="test.txt")
    try:
        table = read_nih(source, "nih", PatientRegistry(), SourceNotes())
    except UserError:
        assert (text, listed) != (ENTRIES, LISTED)
        return
    assert (text, listed) != (ENTRIES, LISTED) or len(table) == 8
    findings = {row["Image Index"]: row["Finding Labels"] for row in rows(text)}
    assert not table["image"].duplicated().any()
    for _, got in table.iterrows():
        name = Path(got["image"]).name
        told = {label_key(finding) for finding in findings[name].split("|")} - {"", label_key(NO_FINDING)}
        assert {label_key(label) for label in NIH_LABELS if got[label] == 1} == told
        assert got["split"] == ("test" if name in ("00000006_000.png", "00000007_000.png") else "train_val")


LIST = "".join(
    f"{i} {i}.png {('normal', 'pneumonia', 'COVID-19')[i % 3]} {('cohen', 'sirm')[i % 2]}\n" for i in range(8)
)


@fuzz
@given(edited(LIST))
@example(LIST)
def test_covidx(root: Path, text: str):
    if not write(root / "train_list.txt", text):
        return
    source = CovidxSource(root=str(root), train_list="train_list.txt", val_list=None, test_list=None)
    try:
        table = read_covidx(source, "covidx", PatientRegistry(), SourceNotes())
    except UserError:
        assert text != LIST
        return
    assert text != LIST or len(table) == 8
    classes = {
        "normal": "normal",
        "pneumonia": "pneumonia",
        "covid-19": "COVID-19",
        "positive": "COVID-19",
        "negative": None,
    }
    for _, got in table.iterrows():
        name = Path(got["image"]).name
        lines = [line.split() for line in text.removeprefix("\ufeff").splitlines() if loose(name) in loose(line)]
        told = {classes[word.lower()] for words in lines for word in words[-2:] if word.lower() in classes}
        found = {label for label in COVIDX_LABELS if got[label] == 1}
        assert found <= told
        if len(lines) == 1 and len(lines[0]) == 4:
            assert found == {classes[lines[0][2].lower()]} - {None}


PAIRS = "image,mask,split\n" + "".join(
    f"images/{i}.png,masks/{i}.png,{('train', 'test', '')[i % 3]}\n" for i in range(8)
)


@fuzz
@given(edited(PAIRS))
@example(PAIRS)
def test_lung_table(root: Path, text: str):
    if not write(root / "pairs.csv", text):
        return
    try:
        table = read_lung_folder("own", LungFolder(root=str(root), table="pairs.csv"))
    except UserError:
        assert text != PAIRS
        return
    assert text != PAIRS or len(table) == 8
    pairs = {((root / row["image"]).resolve(), (root / row["mask"]).resolve()) for row in rows(text) if row["mask"]}
    assert {
        (Path(image).resolve(), Path(mask).resolve()) for image, mask in table[["image", "mask"]].to_numpy()
    } <= pairs
    for path in (*table["image"], *table["mask"]):
        assert Path(path).resolve().is_relative_to(root.resolve())


def folders(names: list[str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            with suppress(OSError, ValueError):
                (Path(folder) / "o" / name).mkdir(parents=True)
                (Path(folder) / "o" / name / "x.png").touch()
        yield Path(folder)


NAMES = st.lists(
    st.sampled_from(["0_a", "1_b", "train", "test", "normal", "image", "split", "patient", "boxes", ".x", "Val/normal"])
    | st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=5).filter(
        lambda name: name not in (".", "..")
    ),
    max_size=4,
    unique=True,
)  # fmt: skip


@fuzz
@given(NAMES)
def test_class_folders(names: list[str]):
    for folder in folders(names):
        with suppress(UserError):
            table = read_user_folder(FolderSource(root=str(folder / "o")), "own", PatientRegistry(), SourceNotes())
            for _, row in table.iterrows():
                assert row[Path(row["image"]).parent.name] == 1
        with suppress(UserError):
            source = WacxrSource(root=str(folder), originals="o", received="o")
            table = read_wacxr(source, "wacxr", PatientRegistry(), SourceNotes())
            truth = [str(int(value)) for value in table[source.label]]
            assert [Path(path).parent.name[0] for path in table["image"]] == truth


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def _dicom() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        dicom(Path(folder) / "x.dcm", PatientName="X^Y", WindowCenter=[120], WindowWidth=[200], RescaleSlope=1)
        return (Path(folder) / "x.dcm").read_bytes()


GREY = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 9), np.uint8))
FILES = {
    "png": saved(GREY, "png"),
    "16 bit": saved(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 16), "png"),
    "jpeg": saved(
        GREY.convert("RGB"), "jpeg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    ),
    "webp": saved(GREY, "webp"),
    "tiff": saved(GREY, "tiff"),
    "bmp": saved(GREY, "bmp"),
    "dicom": _dicom(),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.filterwarnings("ignore")
def test_images(kind: str):
    @fuzz
    @given(mutated(FILES[kind]))
    def check(content: bytes) -> None:
        with suppress(UserError):
            image = decode(content)
            assert image.dtype == np.uint8
            assert image.ndim == 2
            assert image.size

    check()


@pytest.mark.filterwarnings("ignore")
@fuzz
@given(
    bits=st.sampled_from([(8, 8), (16, 10), (16, 12), (16, 16)]),
    inverted=st.booleans(),
    signed=st.booleans(),
    slope=st.sampled_from([1, 2, 0.5]),
    intercept=st.sampled_from([0, -1024, 7]),
    seed=st.integers(0, 9),
)
def test_dicom_greys(
    tmp_path_factory: pytest.TempPathFactory,
    bits: tuple[int, int],
    inverted: bool,
    signed: bool,
    slope: float,
    intercept: float,
    seed: int,
):
    allocated, stored = bits
    low = -(2 ** (stored - 1)) if signed else 0
    values = np.random.default_rng(seed).integers(0, 2**stored, (64, 64)) + low
    values[0, :2] = low, low + 2**stored - 1
    path = tmp_path_factory.getbasetemp() / "greys.dcm"
    dicom(
        path,
        BitsAllocated=allocated,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=int(signed),
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        PixelData=values.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes(),
    )
    grey = (values - low) * 255 / (2**stored - 1)
    assert np.abs(decode(path) - (255 - grey if inverted else grey)).max() <= 0.51


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "x.ckpt"
    torch.save({"state_dict": torch.nn.Linear(2, 2).state_dict(), "experiment": {"tasks": {}}}, path)
    return path.read_bytes()


@fuzz
@given(st.data())
def test_checkpoints(tiny_checkpoint: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    path = tmp_path_factory.getbasetemp() / "fuzzed.ckpt"
    path.write_bytes(data.draw(mutated(tiny_checkpoint)))
    with suppress(UserError):
        assert isinstance(read_checkpoint(path, "covidmt train"), dict)


DEMO = load_experiment(SHIPPED / "demo.yaml")
VALUES = st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=6) | st.sampled_from(
    ["1", "yes", "${name}", "${nothing}", "${oc.env:X}", "a=b", "[1", "{a: 1", "covidx", "gradcam", "1e3", "0x10",
     "1_0", "~", "2001-01-01"]
)  # fmt: skip
ANY = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | VALUES, inner, max_size=3),
    max_leaves=6,
)


def leaves(values: dict[str, object], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


@slow_fuzz
@given(st.sampled_from(sorted(leaves(to_dict(DEMO)))), ANY)
def test_any_value_of_any_key(tmp_path_factory: pytest.TempPathFactory, path: tuple[str, ...], value: object):
    nested = value
    for key in reversed(path):
        nested = {key: nested}
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    with suppress(yaml.YAMLError, TypeError):  # keys that YAML cannot write
        file.write_text(yaml.safe_dump({"extends": "experiments/demo.yaml", **nested}))
        check(file, path, value)


def check(file: Path, path: tuple[str, ...], value: object) -> None:
    """Refused, or read as it was written: the same number, text or list, and nothing else changed."""
    try:
        experiment = load_experiment(file)
    except UserError:
        return
    read = to_dict(experiment)
    assert to_dict(from_dict(Experiment, read)) == read
    if isinstance(value, str) and "$" in value:
        return
    for key in path:
        read = read[key]
    if isinstance(value, bool) or value is None or isinstance(read, bool):
        assert read == value or str(value).lower() in ("yes", "1", "0", "true", "false", "on", "off", "y", "n")
    elif isinstance(value, int | float) and isinstance(read, int | float):
        assert same(float(read), float(value))
    elif isinstance(value, str) and isinstance(read, str):
        assert read == value or re.fullmatch(r"[-+\d._eE]+", value)  # PyYAML writes 0e0 without quotes


TINY = experiment("active_tasks=[covidx]")
WEIGHTS = MultiTaskModule(TINY, pretrained=False).state_dict()


@pytest.mark.filterwarnings("ignore")
@slow_fuzz
@given(st.sampled_from(sorted(leaves(to_dict(TINY)))), ANY)
@example(("seed",), 1)
def test_the_experiment_of_a_checkpoint(tmp_path_factory: pytest.TempPathFactory, path: tuple[str, ...], value: object):
    values = place = to_dict(TINY)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path_factory.getbasetemp() / "fuzzed.ckpt"
    torch.save({"state_dict": WEIGHTS, "experiment": values}, file)
    try:
        module = load_module(file)
    except UserError:
        assert path != ("seed",) or value != 1
        return
    assert module.state_dict().keys() == WEIGHTS.keys()


@slow_fuzz
@given(edited((SHIPPED / "demo.yaml").read_text()))
def test_edited_yaml(tmp_path_factory: pytest.TempPathFactory, text: str):
    file = tmp_path_factory.getbasetemp() / "edited.yaml"
    if write(file, text.replace("extends: ", "extends: experiments/")):
        with suppress(UserError):
            load_experiment(file)


@slow_fuzz
@given(
    st.sampled_from([".".join(path) for path in sorted(leaves(to_dict(DEMO)))]), st.text(max_size=12) | VALUES.map(str)
)
def test_overrides(key: str, text: str):
    with suppress(UserError):
        load_experiment("experiments/demo.yaml", [f"{key}={text}"])
    with suppress(UserError):
        load_experiment("experiments/demo.yaml", [text])
