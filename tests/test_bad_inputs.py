"""What a user gets who gives covidmt something wrong: a row a mistake, with the message.

Every mistake ends with exit status 2 and one message that says what, where and what to do; there is no traceback, and
nothing half-written. In a command and a message ``DATA`` is the data set's folder, ``HERE`` the working folder, and
``...`` in a message stands for what differs from machine to machine.
"""

from __future__ import annotations

import ctypes
import http.server
import os
import re
import shlex
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image, ImageOps

from datamodules.demo.write import write_demo
from lightning_modules.multitask import MultiTaskModule
from tests.conftest import REPO
from tests.helpers.tiny_experiment import experiment

pytestmark = pytest.mark.slow

Damage = Callable[[Path], object]


class Row(NamedTuple):
    """A mistake.

    Attributes:
        id: In a word or two.
        command: What is typed after ``covidmt``.
        message: On stderr, after ``covidmt:``, whole.
        damage: How things are broken first, given the working folder; ``data/`` in it is then a copy of the data sets.
        left: Files (globs) that may be there afterwards: what was done before the mistake could be met.
        printed: A part of what is printed besides.
    """

    id: str
    command: str
    message: str
    damage: Damage | None = None
    left: tuple[str, ...] = ()
    printed: str = ""


def file(path: str, content: str | bytes) -> Damage:
    """Writes a file, also in place of a folder."""

    def do(here: Path) -> None:
        target = here / path
        if target.is_dir():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    return do


def edit(path: str, pattern: str, new: str, count: int = 1) -> Damage:
    """Replaces what a regular expression matches in a file of the data sets."""

    def do(here: Path) -> None:
        target = here / "data" / path
        text, made = re.subn(pattern, new, target.read_text(), count=count, flags=re.M)
        assert made
        target.write_text(text)

    return do


def remove(path: str) -> Damage:
    def do(here: Path) -> None:
        target = here / "data" / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return do


def again(path: str, change: Callable[[str], str]) -> Damage:
    """Appends a changed copy of a list's last line."""

    def do(here: Path) -> None:
        target = here / "data" / path
        lines = target.read_text().splitlines()
        target.write_text("\n".join([*lines, change(lines[-1])]) + "\n")

    return do


def each(pattern: str, do: Callable[[Path], object]) -> Damage:
    return lambda here: [do(path) for path in sorted(here.glob(pattern))]


# -- experiments -------------------------------------------------------------------------------------------------------

LOAD = "train mine.yaml --print-config"


def wrong_yaml(id: str, text: str | bytes, message: str) -> Row:
    return Row(f"yaml: {id}", LOAD, message, file("mine.yaml", text))


def setting(id: str, override: str, message: str) -> Row:
    return wrong_yaml(id, f"extends: experiments/demo.yaml\n{override}\n", message)


YAML = [
    Row("yaml: no such file", "train dmo.yaml", "dmo.yaml: no such experiment file..."),
    Row("yaml: a folder", "train .", ".: no such experiment file..."),
    wrong_yaml("syntax", "a: [", "mine.yaml: cannot be read as YAML: while parsing a flow node...line 2, column 1"),
    wrong_yaml(
        "tabs", "data:\n\troot: x", "mine.yaml: cannot be read as YAML:...cannot start any token...line 2, column 1"
    ),
    wrong_yaml(
        "UTF-16", "name: x".encode("utf-16"), "mine.yaml: cannot be read as YAML: 'utf-8' codec can't decode..."
    ),
    wrong_yaml("empty", "", "mine.yaml: tasks: an experiment needs at least one task"),
    wrong_yaml("a list", "- 1", "mine.yaml: an experiment is a mapping of keys to values, not a list"),
    setting(
        "key twice", "seed: 1\nseed: 2", "mine.yaml: cannot be read as YAML:...found duplicate key seed...line 3..."
    ),
    setting("unknown key", "modle: {}", "mine.yaml: unknown key 'modle'; did you mean 'model'?"),
    setting(
        "wrong type",
        "tasks: {covidx: {batch_size: four}}",
        "mine.yaml: tasks.covidx.batch_size: Value 'four' of type 'str' could not be converted to Integer",
    ),
    setting(
        "a mapping for a text",
        "tasks: {covidx: {labels: [{}, {}]}}",
        "mine.yaml: tasks.covidx.labels[0]: Cannot convert 'dict' to string: '{}'",
    ),
    setting("a section is null", "data: null", "mine.yaml: data: takes a mapping of keys to values, not None"),
    setting(
        "code in a tag",
        "name: !!python/object/apply:os.system [echo]",
        "mine.yaml: cannot be read as YAML: could not determine a constructor for the tag...os.system'...",
    ),
    wrong_yaml(
        "nested a thousand deep",
        "trainer: " + "{a: " * 1000 + "1" + "}" * 1000,
        "mine.yaml: cannot be read as YAML: its values are nested too deeply",
    ),
    wrong_yaml(
        "a bomb of aliases",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
        "mine.yaml: holds more than 100000 values, by aliases that repeat each other; an experiment has some hundred: "
        "write it without them",
    ),
    setting("circular value", "name: ${name}", "mine.yaml: name: Recursive interpolation detected"),
    wrong_yaml("extends itself", "extends: mine.yaml", "mine.yaml: 'extends' goes round in a circle: mine.yaml"),
    setting("NaN", "data: {val_fraction: .nan}", "mine.yaml: data.val_fraction: must be above 0 and below 1, is nan"),
    setting(
        "nothing left below the cut",
        "data: {crop_top: 1.0}",
        "mine.yaml: data.crop_top: must be 0 or more and below 1, is 1.0",
    ),
    setting(
        "cut from below", "data: {crop_top: -0.1}", "mine.yaml: data.crop_top: must be 0 or more and below 1, is -0.1"
    ),
    setting("cut: NaN", "data: {crop_top: .nan}", "mine.yaml: data.crop_top: must be 0 or more and below 1, is nan"),
    setting("negative split seed", "data: {split_seed: -1}", "mine.yaml: data.split_seed: must be 0 or more, is -1"),
    setting(
        "learning rate: NaN",
        "optimizer: {name: SGD, lr: .nan}",
        "mine.yaml: optimizer.lr: must be 0 or more, is nan",
    ),
    setting("infinite loss", "losses: {attention: .inf}", "mine.yaml: losses.attention: must be 0 or more, is inf"),
    setting(
        "infinite weight",
        "tasks: {covidx: {loss_weight: .inf}}",
        "mine.yaml: tasks.covidx.loss_weight: must be above 0, is inf; leave the task out instead",
    ),
    setting(
        "negative class weight",
        "tasks: {covidx: {class_weights: [1, -1, 1]}}",
        "mine.yaml: tasks.covidx.class_weights: must be 0 or more, are [1.0, -1.0, 1.0]",
    ),
    setting(
        "no channels",
        "model: {transition_channels: 0}",
        "mine.yaml: model.transition_channels: must be 1 or more, is 0",
    ),
    setting(
        "unknown source kind",
        "data: {sources: {covidx: {kind: covidxx}}}",
        "mine.yaml: data.sources.covidx.kind: no kind 'covidxx'; did you mean 'covidx'?",
    ),
    setting(
        "Trainer: unknown argument",
        "trainer: {max_epoch: 3}",
        "mine.yaml: trainer.max_epoch: Lightning's Trainer has no such argument; did you mean 'max_epochs'?",
    ),
    setting(
        "Trainer: wrong type",
        "trainer: {max_epochs: many}",
        "trainer.max_epochs: takes a whole number, null; not 'many'",
    ),
    setting(
        "Trainer: never validates",
        "trainer: {check_val_every_n_epoch: 0}",
        "trainer.check_val_every_n_epoch: must be 1 or more, is 0",
    ),
    setting(
        "Trainer: precision",
        "trainer: {precision: 8}",
        "trainer.precision: takes 64, 32, 16, transformer-engine, ...null; not 8",
    ),
    Row("no override", "train experiments/demo.yaml seed", "command line: 'seed' is not an override;...key.path=value"),
    Row(
        "not UTF-8",
        "predict best.ckpt a\udce9.png",
        "'a\\udce9.png': is not UTF-8, so it cannot be written down anywhere; rename the file",
    ),
]

# -- tables of the data sets -------------------------------------------------------------------------------------------

CHECK = "data check experiments/demo.yaml data.root=DATA --limit 1"
COVIDX, RSNA, NIH = "covidx/train_COVIDx.txt", "rsna/stage_2_train_labels.csv", "nih/Data_Entry_2017.csv"
CLASSES, MAPPING = "rsna/stage_2_detailed_class_info.csv", "rsna/pneumonia-challenge-dataset-mappings_2018.json"
BOX = r"^([^,\n]*),[\d.]+,[\d.]+,[\d.]+,[\d.]+,1$"


def table(id: str, damage: Damage, message: str, printed: str = "") -> Row:
    return Row(id, CHECK, message, damage, printed=printed)


def wrong_box(id: str, line: str, text: str, shown: str = "") -> Row:
    return table(
        f"RSNA: {id}",
        edit(RSNA, BOX, rf"\1,{line}"),
        f"DATA/{RSNA}, line ...: {text}: '...,{shown or line}'; correct the line or take it out",
    )


TABLES = [
    Row(
        "no data",
        "data check experiments/demo.yaml data.root=/nowhere",
        "data.sources.rsna.root: no folder /nowhere/rsna; set it, or data.root, to where the data set lies",
    ),
    table(
        "a file in place of a folder",
        file("data/rsna/stage_2_train_images", "x"),
        "data.sources.rsna: no listed image lies in DATA/rsna/stage_2_train_images (looked for ... and 36 others); "
        "check the root and the lists",
    ),
    table("COVIDx: no list", remove(COVIDX), "data.sources.covidx.train_list: no file 'train*.txt' in DATA/covidx"),
    table(
        "COVIDx: two lists",
        file("data/covidx/train_2.txt", ""),
        "data.sources.covidx.train_list: 'train*.txt' matches several files in DATA/covidx (train_2.txt, "
        "train_COVIDx.txt); name one of them",
    ),
    table(
        "COVIDx: a class that there is not",
        edit(COVIDX, " normal ", " nromal "),
        f"DATA/{COVIDX}, line 1: '... nromal rsna' is not 'patient file class [source]', class normal, pneumonia, "
        "COVID-19, positive or negative",
    ),
    table(
        "COVIDx: two classes of an image",
        again(COVIDX, lambda line: line.replace("COVID-19", "normal")),
        "data.sources.covidx: DATA/covidx/train/...: listed several times with different classes; leave one line of "
        "each in the lists",
    ),
    table(
        "COVIDx: Latin-1",
        file(f"data/{COVIDX}", b"p \xe9.png normal\n"),
        f"DATA/{COVIDX}: cannot be read as UTF-8 text ('utf-8' codec can't decode byte 0xe9 in position 2: invalid "
        "continuation byte); save it again as UTF-8",
    ),
    Row(
        "COVIDx: out of its folder",
        CHECK,
        "2 problem(s) that would stop or spoil a training; they are listed above",
        file(f"data/{COVIDX}", "p ../../../../../etc/passwd.png normal rsna\n"),
        ("mlruns", "mlruns/missing", "mlruns/missing/covidx.txt"),
        "tasks.covidx: no training image of source 'covidx' has normal; drop the label",
    ),
    table("RSNA: no labels", remove(RSNA), "data.sources.rsna.labels: no file 'stage_2_train_labels.csv' in DATA/rsna"),
    table(
        "RSNA: renamed column",
        edit(RSNA, "width", "breite"),
        f"DATA/{RSNA}: no column 'width'; it has 'patientId', 'x', 'y', 'breite', 'height', 'Target'",
    ),
    table(
        "RSNA: wrong separator",
        edit(RSNA, ",", ";", 0),
        f"DATA/{RSNA}: no column 'patientId', ...; it has 'patientId;x;y;width;height;Target'",
    ),
    table(
        "RSNA: empty", file(f"data/{RSNA}", ""), f"DATA/{RSNA}: cannot be read as CSV: No columns to parse from file"
    ),
    table(
        "RSNA: header alone",
        edit(RSNA, r"\n(.*\n)*", "\n"),
        f"DATA/{RSNA}: has a header but no rows; copy it again",
    ),
    table(
        "RSNA: a line too long",
        edit(RSNA, r"\A(.*\n.*)", r"\1,0"),
        f"DATA/{RSNA}: its lines have more fields than its header; give every column a name, and quote values that "
        "hold the separator ','",
    ),
    table(
        "RSNA: all lines too long",
        edit(RSNA, r"(,[01])$", r"\1,x", 0),
        f"DATA/{RSNA}: its lines have more fields than its header; give every column a name, and quote values that "
        "hold the separator ','",
    ),
    wrong_box("NaN", "nan,1,1,1,1", "Target is 1 but the box is blank", ",1,1,1,1"),
    wrong_box("infinite", "inf,1,1,1,1", "the box is no number"),
    wrong_box("text", "a,1,1,1,1", "the box is no number"),
    wrong_box("a box of no size", "5,5,0,7,1", "the box has no width or no height"),
    wrong_box("a negative size", "5,5,3,-7,1", "the box has no width or no height"),
    wrong_box("a target that there is not", "5,5,3,7,2", "Target is neither 0 nor 1"),
    wrong_box("cut short", "5,5", "Target is neither 0 nor 1", "5,5,,,"),
    wrong_box("a box of a negative", "5,5,3,7,0", "Target is 0 but there is a box"),
    table(
        "RSNA: a box outside",
        edit(RSNA, BOX, r"\1,5000,5,30,7,1"),
        f"DATA/{RSNA}, line ...: the box 5000, 5, 5030, 12 lies outside of the 1024x1024 pixels of "
        "data.sources.rsna.frame; correct the line, or set frame to the size that the boxes are drawn for",
    ),
    Row(
        "RSNA: a box outside of its file",
        "data check experiments/demo.yaml data.root=DATA data.sources.rsna.frame=null",
        "1 problem(s) that would stop or spoil a training; they are listed above",
        edit(RSNA, BOX, r"\1,5000,5,30,7,1"),
        printed="images have boxes outside of their pixels: DATA/rsna/stage_2_train_images/",
    ),
    table(
        "RSNA: negative and positive",
        edit(RSNA, BOX, r"\g<0>\n\1,,,,,0"),
        f"DATA/{RSNA}, line ...: Target is 0, but the same patientId has a box in another line: '...,,,,,0'; correct "
        "the line or take it out",
    ),
    table(
        "RSNA: a class that there is not",
        edit(CLASSES, "Normal$", "Nromal"),
        f"DATA/{CLASSES}: unknown class 'No Lung Opacity / Not Nromal'; RSNA's are Lung Opacity, Normal, No Lung "
        "Opacity / Not Normal",
    ),
    table(
        "RSNA: two classes of an image",
        edit(CLASSES, r"^(.*),Normal$", r"\g<0>\n\1,Lung Opacity"),
        f"DATA/{CLASSES}: ... has several classes; leave one of its lines",
    ),
    table("RSNA: mapping", file(f"data/{MAPPING}", "{"), f"DATA/{MAPPING}: not RSNA's mapping (JSON list of ...): ..."),
    table(
        "NIH: missing column",
        edit(NIH, "Finding Labels", "Labels"),
        f"DATA/{NIH}: no column 'Finding Labels'; it has 'Image Index', 'Labels', ...",
    ),
    table(
        "NIH: a finding that there is not",
        edit(NIH, "Atelectasis", "Atelektasis"),
        f"DATA/{NIH}, line 2: unknown finding 'Atelektasis'; did you mean 'Atelectasis'?",
    ),
    table("NIH: no finding", edit(NIH, r"^(\d+_\d+.png),[^,]*", r"\1,"), f"DATA/{NIH}, line 2: unknown finding ''"),
    table(
        "NIH: no image name",
        edit(NIH, r"_000.png", ".jpg"),
        f"DATA/{NIH}, line 2: '...jpg' is no NIH image name (00000001_000.png)",
    ),
    table(
        "NIH: an image twice, with other findings",
        again(NIH, lambda line: re.sub(r"^([^,]*),[^,]*", r"\1,Hernia", line)),
        f"DATA/{NIH}, line ...: ..._...png has other findings in an earlier line; leave one",
    ),
    table(
        "NIH: no list", remove("nih/test_list.txt"), "data.sources.nih.test_list: no file 'test_list.txt' in DATA/nih"
    ),
    Row(
        "WaCXR: class folders",
        "train experiments/demo.yaml data.root=DATA",
        "DATA/wacxr/covid_binary_test: class folders begin with 0_ (not COVID-19) or 1_ (COVID-19); found "
        "x0_NON_COVID, x1_COVID-19",
        each("data/wacxr/covid_binary_test/*", lambda path: path.rename(path.with_name(f"x{path.name}"))),
    ),
    Row(
        "WaCXR: no pair",
        "train experiments/demo.yaml data.root=DATA",
        "DATA/wacxr: no file in covid_binary_test has a twin (same class, same stem) in covid_binary_test_whatsapp",
        each("data/wacxr/covid_binary_test_whatsapp/*/*", lambda path: path.rename(path.with_name(f"x{path.name}"))),
    ),
    Row(
        "WaCXR: a stem twice",
        "train experiments/demo.yaml data.root=DATA",
        "DATA/wacxr/covid_binary_test/....jpg and DATA/wacxr/covid_binary_test/....png have the same stem, so the pair "
        "is not unique; remove one",
        each("data/wacxr/covid_binary_test/*/*.png", lambda path: shutil.copy(path, path.with_suffix(".jpg"))),
    ),
]

OWN = """
extends: experiments/demo.yaml
active_tasks: [covidx]
data:
  pairs: {test: null}
  sources:
    covidx:
      kind: csv
      root: data/own
      table: own.csv
      labels: {normal: normal, pneumonia: pneumonia, COVID-19: covid}
      box_columns: [x1, y1, x2, y2]
      split_column: split
"""


def own(id: str, line: str, text: str, *, header: str = "image,split,normal,pneumonia,covid,x1,y1,x2,y2") -> Row:
    """A table of one's own: 30 good lines and a wrong one."""

    def do(here: Path) -> None:
        (here / "mine.yaml").write_text(OWN)
        (here / "data/own").mkdir()
        rows = [f"{i}.png,{('train', 'val', 'test')[i // 3 % 3]},{i % 3 == 0:d},{i % 3 == 1:d},{i % 3 == 2:d},,,,"
                for i in range(30)]  # fmt: skip
        for i in range(30):
            Image.new("L", (32, 32), 8 * i).save(here / f"data/own/{i}.png")
        (here / "data/own/own.csv").write_text("\n".join([header, *rows, line]), encoding="latin-1")

    return Row(f"own table: {id}", "data check mine.yaml data.root=DATA", f"HERE/data/own/own.csv{text}", do)


OWN_TABLES = [
    own("missing column", "", ": no column 'covid'; it has 'image', 'split', 'normal', 'pneumonia', 'corona', ...",
        header="image,split,normal,pneumonia,corona,x1,y1,x2,y2"),
    own("out of its folder", "../../../../etc/passwd,train,1,0,0,,,,",
        ", line 32: '../../../../etc/passwd' does not lie below HERE/data/own; files of a data set are named "
        "relative to it"),
    own("an absolute path", "/etc/passwd,train,1,0,0,,,,",
        ", line 32: '/etc/passwd' does not lie below HERE/data/own; files of a data set are named relative to it"),
    own(
        "label",
        "1.png,train,yes,0,0,,,,",
        ", line 32: normal is 'yes'; allowed: 1, 0 or blank (unknown); a column of words is named by label_column",
    ),
    own("split", "1.png,trian,1,0,0,,,,", ", line 32: split is 'trian'; allowed: train, val or test"),
    own("an image twice", "1.png,train,1,1,1,,,,", ": the rows of 1.png disagree about patient, split or labels"),
    own("an image twice, spelt otherwise", "./0.png,test,1,0,0,,,,",
        ": the rows of 0.png disagree about patient, split or labels"),
    own("blank image", ",train,0,0,1,,,,", ", line 32: image is blank"),
    own("box turned round", "2.png,train,0,0,1,9,9,3,3",
        ", line 32: box is '9, 9, 3, 3'; allowed: x1 < x2 and y1 < y2"),
    own("box half blank", "2.png,train,0,0,1,9,9,,", ", line 32: x2 is nan; allowed: a number, or all four blank"),
    own("infinite box", "2.png,train,0,0,1,1,1,inf,3", ", line 32: box is '1, 1, inf, 3'; allowed: finite numbers"),
    own("Latin-1", "\xe9.png,train,0,0,1,,,,", ": cannot be read as CSV: 'utf-8' codec can't decode byte 0xe9..."),
]  # fmt: skip

# -- images, masks -----------------------------------------------------------------------------------------------------

PICTURE = Image.fromarray(np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    """Of a file that claims to be very large."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (chunk, b"IDAT" + zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(some) - 4) + some + struct.pack(">I", zlib.crc32(some)) for some in chunks
    )


def dicom(path: Path, **tags: object) -> None:
    """A DICOM of 64 x 64 pixels with some tags changed, or deleted (None)."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    given = {"Rows": 64, "Columns": 64, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "SamplesPerPixel": 1}
    given |= {"PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2", "PixelData": PICTURE.tobytes()}
    for name, value in (given | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


def picture(id: str, name: str, make: Callable[[Path], object], reason: str) -> Row:
    """A good image, and a bad one that loses only itself."""

    def do(here: Path) -> None:
        (here / "images").mkdir()
        PICTURE.save(here / "images/good.png")
        make(here / "images" / name)

    message = (
        "1 of 2 images could not be sent, the others are in out; correct these and run the same command again: "
        f"images/{name}: {reason}"
    )
    folders = ("covid_binary_test", "covid_binary_test_whatsapp")
    left = ("out", "out/.*.lock", *(f"out/{folder}{end}" for folder in folders for end in ("", "/0_*ed", "/*/good.*")))
    left += ("out/covid_binary_test_whatsapp.csv",)
    return Row(f"image: {id}", "pairs make images out --processes 1", message, do, left)


def shortened(name: str) -> Callable[[Path], object]:
    def do(path: Path) -> None:
        PICTURE.resize((300, 300)).save(path)
        path.write_bytes(path.read_bytes()[:-400])

    return do


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 200)


def animated(path: Path) -> None:
    PICTURE.save(path, save_all=True, append_images=[Image.new("L", (64, 64))])


def one_image(here: Path) -> None:
    (here / "images").mkdir()
    PICTURE.save(here / "images/good.png")


UNREADABLE = "not a readable image (...); replace it or take it out of the list"
NO_PICTURE = "a DICOM file without a picture (...); take it out of the list"
FRAMES = "holds several frames; save the one to use as PNG"
IMAGES = [
    picture("empty", "a.png", lambda path: path.touch(), "the file is empty; copy it again or take it out of the list"),
    picture("a web page", "a.jpg", lambda path: path.write_text("<html>Log in</html>"), UNREADABLE),
    picture("truncated PNG", "a.png", shortened("a.png"), UNREADABLE),
    picture("truncated JPEG", "a.jpg", shortened("a.jpg"), UNREADABLE),
    picture("huge", "a.png", lambda path: path.write_bytes(png_header(60_000, 60_000)),
            "60000 x 60000 pixels are more than the 200 million that are read; make it smaller, raise "
            "data.max_megapixels, or take it out of the list"),
    picture("animated PNG", "a.png", animated, FRAMES),
    picture("animated WebP", "a.webp", animated, FRAMES),
    picture("TIFF of two pages", "a.tif", lambda p: PICTURE.save(p, save_all=True, append_images=[PICTURE]), FRAMES),
    picture("CMYK", "a.jpg", lambda path: PICTURE.convert("CMYK").save(path),
            "has the colours of print (CMYK), whose black is not defined; save it as grey"),
    picture("floating point", "a.tif", lambda path: PICTURE.convert("F").save(path),
            "floating-point pixels have no defined white; save it as 8- or 16-bit PNG"),
    picture("DICOM without pixels", "a.dcm", lambda path: dicom(path, PixelData=None), NO_PICTURE),
    picture("DICOM cut short", "a.dcm", lambda path: dicom(path, PixelData=bytes(100)), UNREADABLE),
    picture("DICOM of two frames", "a.dcm", lambda p: dicom(p, NumberOfFrames=2, PixelData=2 * PICTURE.tobytes()),
            "holds several frames; export the one to use"),
    picture("DICOM of palette colours", "a.dcm", lambda p: dicom(p, PhotometricInterpretation="PALETTE COLOR"),
            "its palette cannot be used (its descriptor does not have three numbers); export it as grey"),
    picture("DICOM without a size", "a.dcm", lambda path: dicom(path, Rows=None), NO_PICTURE),
]  # fmt: skip

TRAIN = (
    "train experiments/demo.yaml data.root=DATA data.image_size=32 data.num_workers=0 data.pairs.test=null "
    "active_tasks=[covidx] trainer.accelerator=cpu trainer.max_epochs=1 trainer.limit_train_batches=1 "
    "trainer.limit_val_batches=1 robustness.overlays=0 data.pairs.limit=2"
)
RUN_FOLDER = ("mlruns", "mlruns/*")  # the run was made, and says there why it failed
MASKS = [
    Row(
        "masks of another size",
        TRAIN,
        "DATA/lungs/masks/....png: a mask of 20x64 pixels does not lie on its image DATA/covidx/...; give the mask of "
        "the whole image, or take it away",
        each("data/lungs/masks/*", lambda path: ImageOps.expand(Image.new("L", (10, 54), 255), border=5).save(path)),
        RUN_FOLDER,
    ),
    Row(
        "mask out of its folder",
        "lungs train experiments/lungs_demo.yaml data.root=DATA",
        "DATA/lungs/pairs.csv, line 2: '../../etc/passwd' does not lie below DATA/lungs; files of a data set are named "
        "relative to it",
        edit("lungs/pairs.csv", r"masks/[^,\n]*", "../../etc/passwd"),
    ),
    Row(
        "no masks",
        "lungs train experiments/lungs_demo.yaml data.root=DATA",
        "DATA/lungs/pairs.csv: 45 files of column 'mask' do not exist, the first is DATA/lungs/masks/...",
        remove("lungs/masks"),
    ),
    Row(
        "no mask folder",
        f"{TRAIN} data.masks.folders=[nothing]",
        "data.masks.folders: there is no folder 'HERE/nothing'; leave it out (data.masks.folders=[]) where the data "
        "brings no masks",
    ),
]

# -- what a training cannot do -----------------------------------------------------------------------------------------

TRAININGS = [
    Row(
        "a DICOM cut short, met by a worker",
        f"{TRAIN} active_tasks=[covidx,rsna_boxes] data.num_workers=1",
        f"DATA/rsna/stage_2_train_images/....dcm: {NO_PICTURE}",
        each("data/rsna/stage_2_train_images/*", cut_short),
        RUN_FOLDER,
    ),
    Row(
        "more GPUs than there are",
        f"{TRAIN} trainer.accelerator=gpu trainer.devices=64",
        "trainer: Lightning refuses these settings: ...",
    ),
    Row(
        "validation after more steps than there are",
        f"{TRAIN} trainer.val_check_interval=1000",
        "trainer: Lightning refuses these settings: `val_check_interval` (1000) must be less than or equal to the "
        "number of the training batches (1)...",
        left=RUN_FOLDER,
    ),
    Row("optimizer", f"{TRAIN} optimizer.name=Adm", "optimizer.name: no 'Adm' in torch.optim; did you mean 'Adam'?"),
    Row(
        "backbone",
        f"{TRAIN} model.backbone=resnet5",
        "model.backbone: no network 'resnet5' in torchvision; did you mean 'resnet50'? (timm's are called timm:<name>, "
        "one of your own by its path, such as mymodule.MyNet)",
    ),
    Row("weights", f"{TRAIN} model.weights=nothing.pth", "model.weights: no such file: nothing.pth"),
    Row(
        "weights to start from",
        f"{TRAIN} model.init_from=nothing.ckpt",
        "model.init_from: nothing.ckpt: neither a checkpoint file nor a run; `covidmt train` ends with both",
    ),
    Row(
        "no MLflow, and a model for its registry",
        f"{TRAIN} tracking.enabled=false tracking.register=mine",
        "experiments/demo.yaml: tracking.register: needs MLflow: leave tracking.enabled at true, or leave register out",
    ),
    Row(
        "a label that the data set has not",
        f"{TRAIN} tasks.covidx.labels=[normal,pneumonia,COVID-19,flu]",
        "experiments/demo.yaml: tasks.covidx.labels: source 'covidx' has no label 'flu'; known: COVID-19, normal, "
        "pneumonia",
    ),
    Row(
        "channel",
        f"{TRAIN} data.pairs.channel=whatsap",
        "data.pairs.channel: no channel 'whatsap'; did you mean 'whatsapp'?",
    ),
]

# -- checkpoints and runs ----------------------------------------------------------------------------------------------

NO_RUN = "0" * 32


def checkpoint(id: str, damage: Damage, message: str) -> Row:
    return Row(f"checkpoint: {id}", "predict CHECKPOINT image.png --segmenter none", message, damage)


def content(change: Callable[[dict], object]) -> Damage:
    def do(here: Path) -> None:
        saved = torch.load(here / "best.ckpt", weights_only=True)
        torch.save(change(saved) or saved, here / "best.ckpt")

    return do


CHECKPOINTS = [
    checkpoint("missing", lambda here: (here / "best.ckpt").unlink(),
               "HERE/best.ckpt: neither a checkpoint file nor a run; `covidmt train` ends with both"),
    checkpoint("truncated", lambda here: os.truncate(here / "best.ckpt", 10_000),
               "HERE/best.ckpt: is not a checkpoint, or is cut short (...)"),
    checkpoint("a text", file("best.ckpt", "hello"), "HERE/best.ckpt: is not a checkpoint, or is cut short (...)"),
    checkpoint("code in it", content(lambda saved: {"state_dict": torch.nn.Linear(1, 1)}),
               "HERE/best.ckpt: is not a checkpoint, or is cut short (Weights only load failed...)"),
    checkpoint("of something else", content(lambda saved: {"state_dict": saved["state_dict"]}),
               "HERE/best.ckpt: is not of `covidmt train`: it holds no experiment with tasks"),
    checkpoint("of other tasks than it says",
               content(lambda saved: saved["experiment"].update(active_tasks=["covidx", "nodule"])),
               "HERE/best.ckpt: its weights do not fit its own experiment: ..."),
    checkpoint("of settings that there are not", content(lambda saved: saved["experiment"]["model"].update(depth=3)),
               "saved experiment: unknown key 'model.depth'; ..."),
    Row("a run that there is not", f"predict {NO_RUN} image.png",
        f"run {NO_RUN}: there is neither HERE/mlruns/checkpoints/{NO_RUN}/best.ckpt nor a tracking store "
        "sqlite:///HERE/mlruns/mlflow.db; start in the folder that the run was started in, set MLFLOW_TRACKING_URI, or "
        "give the checkpoint's path"),
    Row("resume a run that there is not", f"{TRAIN} --resume {NO_RUN}",
        f"--resume {NO_RUN}: there is no HERE/mlruns/checkpoints/{NO_RUN}/last.ckpt; start in the folder that the run "
        "was started in, or give auto or never (a finished run keeps it with checkpoint.keep=all alone)"),
    Row("no sweep", "sweep status nothing",
        "no sweep 'nothing' in HERE/mlruns/sweeps; start in the folder that it was started in"),
]  # fmt: skip

# -- servers, ports, disks ---------------------------------------------------------------------------------------------

PLACES = [
    Row(
        "server: none",
        f"{TRAIN} tracking.uri=http://127.0.0.1:9",
        "tracking server http://127.0.0.1:9 does not answer: start it, put tracking.uri or MLFLOW_TRACKING_URI right, "
        "or leave both out to use the project's own store (ConnectionError)",
    ),
    Row("server: answers 500", f"{TRAIN} tracking.uri=FAILING",
        "tracking server FAILING is unavailable (it answers 500): see its log, or leave tracking.uri and "
        "MLFLOW_TRACKING_URI out to use the project's own store"),
    Row("server: healthy, its database is not", f"{TRAIN} tracking.uri=HEALTHY",
        "tracking store HEALTHY: API request to HEALTHY/api/2.0/mlflow/experiments/get-by-name failed: "
        "ResponseError('too many 500 error responses'): see the server's log"),
    Row(
        "server: file store",
        f"{TRAIN} tracking.uri=mlruns",
        "tracking.uri: 'mlruns' is a file store, which MLflow no longer takes: use a database file, such as "
        "sqlite:///mlruns/mlflow.db",
    ),
    Row("database: no database", f"{TRAIN}",
        "tracking store HERE/mlruns/mlflow.db cannot be read as a sqlite database (file is not a database): restore it "
        "from a copy, or save what can be read (sqlite3 HERE/mlruns/mlflow.db .recover | sqlite3 NEW) and put that in "
        "its place, or set tracking.uri to another file; what runs have not sent waits in mlruns/spool, and `covidmt "
        "sync` sends it then", file("mlruns/mlflow.db", "x" * 5000), RUN_FOLDER),
    Row("database server: no driver", f"{TRAIN} tracking.uri=mysql+oursql://me:secret@127.0.0.1:9/runs",
        "tracking store mysql+oursql://me:***@127.0.0.1:9/runs: its database driver cannot be used (...): install it "
        "(`pip install covidmt[postgresql]` has that of postgresql+psycopg2://...), or name an MLflow server"),
    Row("database: a folder", f"{TRAIN}",
        "tracking store HERE/mlruns/mlflow.db cannot be read as a sqlite database (disk I/O error): "
        "restore it from a copy, or ...",
        lambda here: (here / "mlruns/mlflow.db").mkdir(parents=True), RUN_FOLDER),
    Row("port in use", "ui --port PORT",
        "port PORT on 127.0.0.1 cannot be used (...): choose another --port", file("mlruns/mlflow.db", "")),
    Row("no port", "ui --port 70000",
        "port 70000 on 127.0.0.1 cannot be used (...): choose another --port", file("mlruns/mlflow.db", "")),
    Row("nothing to look at", "ui",
        "no runs yet: HERE/mlruns/mlflow.db does not exist; run `covidmt train` first, in this folder"),
    Row("full disk: predict", "predict CHECKPOINT image.png --segmenter none --out FULL/out",
        "--out FULL/out: cannot be written to (No space left on device); make room, or name another folder"),
    Row("full disk: pairs", "pairs make images FULL/out --processes 1",
        "FULL/out/covid_binary_test_whatsapp.csv: cannot be written (No space left on device); make room, then start "
        "again",
        one_image),
    Row("full disk: masks", "lungs masks image.png FULL/masks",
        "FULL/masks/image.png: cannot be written (No space left on device); make room, or name another folder"),
    Row("full disk: training", f"{TRAIN} tracking.uri=sqlite:///FULL/mlflow.db",
        "tracking store FULL/mlflow.db cannot be made: database or disk is full: set tracking.uri to a writable place"),
    Row("full disk: cache", "data cache experiments/demo.yaml data.root=DATA data.image_size=64 data.cache=FULL/c",
        "data.cache: 43 images of 64 px take 176.1 kB, but FULL/c has 0 bytes left; make room, name another folder, or "
        "set data.cache=null"),
    Row("full disk: cache of a training", f"{TRAIN} data.cache=FULL/c",
        "data.cache: 43 images of 32 px take 176.1 kB, but FULL/c has 0 bytes left; make room, name another folder, or "
        "set data.cache=null"),
    Row("read-only: cache", "data cache experiments/demo.yaml data.root=DATA data.image_size=64 data.cache=READONLY/c",
        "data.cache: READONLY/c: cannot be used (Read-only file system): make room or set the folder's rights, and "
        "give the same command again; it resumes from there"),
    Row("read-only: predict", "predict CHECKPOINT image.png --segmenter none --out READONLY/out",
        "--out READONLY/out: cannot be written to (Read-only file system); name another folder"),
    Row("read-only: made-up data", "data demo READONLY/demo",
        "READONLY/demo: cannot be written (Read-only file system); name another folder"),
    Row("read-only: pairs", "pairs make images READONLY/out",
        "READONLY/out: cannot be written (Read-only file system); make room or set the "
        "folder's rights, then start again", one_image),
    Row("read-only: masks", "lungs masks image.png READONLY/masks",
        "READONLY/masks/image.png: cannot be written (Read-only file system); make room, or name another folder"),
    Row("read-only: training", f"{TRAIN} tracking.uri=sqlite:///READONLY/x/mlflow.db",
        "tracking store READONLY/x/mlflow.db cannot be made: [Errno 30] Read-only file system: 'READONLY/x': set "
        "tracking.uri to a writable place"),
    Row("read-only: masks of a training",
        f"{TRAIN} data.masks.folders=[] data.masks.segmenter=covidmt data.masks.cache=READONLY/m",
        "READONLY/m: cannot be written (Read-only file system); make room or set the "
        "folder's rights, then start again"),
    Row("a file in place of the pairs' folder", "pairs make images image.png",
        "image.png: cannot be used (File exists); name another place, or put this one right", one_image),
    Row("a file in place of the masks' cache",
        f"{TRAIN} data.masks.folders=[] data.masks.segmenter=covidmt data.masks.cache=image.png",
        "HERE/image.png: cannot be used (File exists); name another place, or put this one right"),
    Row("a file in the way of a cross-validation",
        "lungs cross-validate experiments/lungs_demo.yaml data.root=DATA",
        "HERE/mlruns/cross_validation/lungs_demo-5-...: cannot be used (Not a directory); name another place, or put "
        "this one right", file("mlruns/cross_validation", "x")),
    Row("no such user: data", "data check experiments/demo.yaml data.root=~nosuchuser/cxr",
        "~nosuchuser/cxr/rsna: its '~' stands for no home folder here; write the path in full"),
    Row("no such user: cache of images", f"{TRAIN} data.cache=~nosuchuser/c",
        "~nosuchuser/c: its '~' stands for no home folder here; write the path in full"),
    Row("no such user: masks", f"{TRAIN} data.masks.folders=[~nosuchuser/m]",
        "~nosuchuser/m: its '~' stands for no home folder here; write the path in full"),
    Row("no such user: cache of masks",
        f"{TRAIN} data.masks.folders=[] data.masks.segmenter=covidmt data.masks.cache=~nosuchuser/m",
        "~nosuchuser/m: its '~' stands for no home folder here; write the path in full"),
    Row("no such user: predict", "predict CHECKPOINT ~nosuchuser/a.png --segmenter none",
        "~nosuchuser/a.png: its '~' stands for no home folder here; write the path in full"),
    Row("no right to read a folder", CHECK,
        "DATA/covidx/train: cannot be read or written (Permission denied); make room or set the folder's rights, then "
        "start again", lambda here: (here / "data/covidx/train").chmod(0)),
    Row("no right to read an image", "predict CHECKPOINT image.png --segmenter none",
        "1 of 1 images could not be predicted: image.png: not a readable image ([Errno 13] Permission denied: "
        "'image.png'); replace it or take it out of the list", lambda here: (here / "image.png").chmod(0),
        ("predictions", "predictions/predictions.jsonl")),
    Row("a name too long", f"data check experiments/demo.yaml data.root={'x' * 300}",
        f"HERE/{'x' * 300}/rsna: cannot be used (File name too long); name another place, or put this one right"),
    Row("a file in place of the output folder", "predict CHECKPOINT image.png --segmenter none --out image.png",
        "--out image.png: image.png is there already; name another folder, or delete it"),
]  # fmt: skip

ROWS = [*YAML, *TABLES, *OWN_TABLES, *IMAGES, *MASKS, *TRAININGS, *CHECKPOINTS, *PLACES]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made-up") / "demo"
    write_demo(root, seed=0, size=32, patients=48)
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as `covidmt train` writes it."""
    module = MultiTaskModule(experiment("active_tasks=[covidx]"), pretrained=False)
    saved = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(saved)
    path = tmp_path_factory.mktemp("trained") / "best.ckpt"
    torch.save(saved, path)
    return path


class Failing(http.server.BaseHTTPRequestHandler):
    """A server that is ill."""

    def do_GET(self) -> None:
        self.send_error(500)

    do_POST = do_GET

    def log_message(self, *args: object) -> None: ...


class Healthy(Failing):
    """One that says it is well, and fails at all else, as an MLflow server does whose database is away."""

    def do_GET(self) -> None:
        self.send_response(200) if self.path == "/health" else self.send_error(500)
        self.end_headers()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What stands in a command for a place that cannot be used."""
    taken = socket.create_server(("127.0.0.1", 0))
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) for kind in (Failing, Healthy)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    failing, healthy = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    found = {"PORT": str(taken.getsockname()[1]), "FAILING": failing, "HEALTHY": healthy}
    mounted = []
    for name, options in (("FULL", "size=4k"), ("READONLY", "ro")):
        folder = tmp_path_factory.mktemp(name.lower())
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            mounted.append(folder)
            found[name] = str(folder)
    if "FULL" in found:
        (mounted[0] / "filler").write_bytes(bytes(4096))
    yield found
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)
    for server in servers:
        server.shutdown()
    taken.close()


@pytest.fixture(autouse=True)
def without_override() -> Iterator[None]:
    """A file's rights hold for root, too."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, before = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # capabilities(7), of this thread
    assert libc.capget(header, before) == 0
    after = type(before)(before[0] & ~0b110, *before[1:])  # effective, without DAC_OVERRIDE and DAC_READ_SEARCH
    assert libc.capset(header, after) == 0
    yield
    assert libc.capset(header, before) == 0


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_mistake_is_one_message(
    row: Row,
    covidmt: Callable[..., int],
    made_up: Path,
    trained: Path,
    places: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    copied_stores: Callable[[Path], None],
):
    if "FULL" in row.command:
        monkeypatch.setattr("covidmt.tracking.store._create_database", copied_stores)  # the real one
    for name in ("FULL", "READONLY"):
        if name in row.command and name not in places:
            pytest.skip("a file system cannot be mounted here (needs root)")
    shutil.copy(trained, tmp_path / "best.ckpt")
    PICTURE.save(tmp_path / "image.png")
    data = made_up
    if row.damage is not None:
        data = tmp_path / "data"
        if "DATA" in row.command:
            shutil.copytree(made_up, data)
        row.damage(tmp_path)
    words = places | {"DATA": str(data), "HERE": str(tmp_path), "CHECKPOINT": str(tmp_path / "best.ckpt")}

    def filled(text: str) -> str:
        return re.sub(r"\b(?:" + "|".join(words) + r")\b", lambda match: words[match[0]], text)

    before = files(tmp_path)
    status = covidmt(*(filled(word) for word in shlex.split(row.command)))
    out, err = capfd.readouterr()
    assert status == 2, out + err
    assert "Traceback" not in out + err
    assert len(re.findall(r"^covidmt: ", err, re.M)) == 1, err
    message = " ".join(err[err.index("covidmt: ") + 9 :].split())
    expected = ".*".join(re.escape(part) for part in filled(row.message).split("..."))
    assert re.fullmatch(expected, message), message
    assert "".join(filled(row.printed).split()) in "".join(out.split())
    new = files(tmp_path) - before
    assert not {path for path in new if not any(fnmatch(path, pattern) for pattern in row.left)}
    for name in ("FULL", "READONLY"):
        if name in row.command:
            assert not [path for path in files(Path(places[name])) if "." in path and not path.endswith(".lock")]


def test_a_broken_image_in_a_worker_ends_the_training(made_up: Path, tmp_path: Path):
    """With one message, and the run has failed; nothing waits for the workers that are left."""
    shutil.copytree(made_up, tmp_path / "data")
    each("data/covidx/train/*", cut_short)(tmp_path)
    command = TRAIN.replace("DATA", "data").replace("num_workers=0", "num_workers=1")
    ended = subprocess.run(
        [sys.executable, "-m", "covidmt", *command.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    message = ended.stderr.rpartition("covidmt: ")[2].strip()
    reason = "not a readable image (...); replace it or take it out of the list"
    assert fnmatch(message, f"{tmp_path}/data/covidx/train/*: {reason.replace('...', '*')}")
    with sqlite3.connect(tmp_path / "mlruns/mlflow.db") as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("FAILED",)]


def test_the_table_is_long_and_every_row_another():
    assert len(ROWS) >= 60
    assert len({row.id for row in ROWS}) == len(ROWS)
