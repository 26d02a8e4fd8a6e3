"""Small pairs of images in WaCXR's layout, and what stands in their CSV files."""

import csv

import numpy as np
from PIL import Image

from datamodules.sources.notes import SourceNotes
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.wacxr import read_wacxr
from experiments.source_schema import WacxrSource


def draw(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12), np.uint8)
    return Image.fromarray(coarse).resize((90, 70), Image.Resampling.BICUBIC)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(out, received="covid_binary_test_whatsapp"):
    return read_wacxr(WacxrSource(root=str(out), received=received), "wacxr", PatientRegistry(), SourceNotes())
