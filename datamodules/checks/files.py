"""What the image files themselves tell: format, size, unreadable ones, duplicates, boxes outside of the pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from datamodules.checks.counts import class_masks, unknown_rows
from datamodules.images.decode import read_picture
from datamodules.images.looks import Look, look_at
from datamodules.reading.boxes import fits, outside
from datamodules.sources.split import ranked
from datamodules.sources.table import label_columns
from experiments.errors import UserError
from experiments.schema import MAX_MEGAPIXELS

ACROSS_SPLITS = "across splits"  # a kind of duplicates


class FileFacts(NamedTuple):
    """What one file tells.

    Attributes:
        format: ``DICOM``, ``PNG``, ...
        size: Width and height, ``1024x1024``.
        digest: Equal for a DICOM and the PNG made of it.
        problem: Why the file cannot be read; "" for none.
        notes: What was passed over or is unusual in the file.
        look: The picture at a glance; None: unreadable.
    """

    format: str
    size: str
    digest: str
    problem: str
    notes: tuple[str, ...] = ()
    look: Look | None = None


def open_files(
    tables: dict[str, pd.DataFrame],
    limit: int | None,
    progress: Callable[[Iterable[Any], int], Iterable[Any]],
    megapixels: float = MAX_MEGAPIXELS,
) -> pd.DataFrame:
    """Open the images of all tables.

    Args:
        tables: Source -> sample table.
        limit: Open at most so many images of each source's classes; None: all.
        progress: Wraps the iteration over the files (items, total).
        megapixels: At most so many million pixels a file may have.

    Returns:
        One row a file: image, source, split, role (image or received), and the fields of :class:`FileFacts`.
    """
    rows = []
    for name, table in tables.items():
        chosen = table if limit is None else table[table["image"].isin(_draw_images(table, limit))]
        for role in chosen.columns.intersection(["image", "received"]):
            rows.append(pd.DataFrame({"image": chosen[role], "source": name, "split": chosen["split"], "role": role}))
    files = pd.concat(rows, ignore_index=True)

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        inspect = partial(inspect_file, megapixels=megapixels)
        facts = list(progress(pool.map(inspect, files["image"]), len(files)))
    return pd.concat([files, pd.DataFrame(facts, columns=list(FileFacts._fields))], axis=1)


def _draw_images(table: pd.DataFrame, limit: int) -> set[str]:
    """Draw so many of each class, the same ones wherever the data set lies."""
    root = os.path.commonpath([os.path.dirname(image) for image in table["image"]]) if len(table) else ""
    images = {os.path.relpath(image, root): image for image in table["image"]}
    names = table["image"].map({image: name for name, image in images.items()})
    labels = label_columns(table)
    masks = [*class_masks(table, labels).values(), unknown_rows(table, labels)]
    return {images[name] for mask in masks for name in ranked(names[mask], seed=0)[:limit]}


def inspect_file(path: str, megapixels: float = MAX_MEGAPIXELS) -> FileFacts:
    """Decode one file.

    Args:
        path: The file.
        megapixels: At most so many million pixels it may have.

    Example:
        >>> from PIL import Image
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Image.new("L", (30, 20)).save(f"{folder}/film.png")
        ...     facts = inspect_file(f"{folder}/film.png")
        >>> facts.format, facts.size, facts.problem
        ('PNG', '30x20', '')
    """
    try:
        pixels, record = read_picture(path, megapixels=megapixels)
    except UserError as error:
        return FileFacts("", "", "", str(error))
    size = f"{pixels.shape[1]}x{pixels.shape[0]}"
    digest = blake2b(size.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return FileFacts(record.format, size, digest.hexdigest(), "", record.notes, look_at(pixels))


def find_duplicates(files: pd.DataFrame) -> pd.DataFrame:
    """Group the images that have the same pixels.

    Returns:
        A row a group: kind (across splits, across sources, within a source), images, sources, splits, files (a list).
    """
    images = files[(files["role"] == "image") & (files["digest"] != "")].drop_duplicates("image")
    rows = []
    for _, group in images[images["digest"].duplicated(keep=False)].groupby("digest"):
        splits, sources = sorted(set(group["split"])), sorted(set(group["source"]))
        kind = "across sources" if len(sources) == len(group) else "within a source"
        if len(splits) > 1:
            kind = ACROSS_SPLITS
        names = [f"{source}/{Path(image).name}" for source, image in zip(group["source"], group["image"], strict=True)]
        rows.append((kind, len(group), ", ".join(sources), ", ".join(splits), names))
    return pd.DataFrame(rows, columns=["kind", "images", "sources", "splits", "files"])


def find_boxes_outside(tables: dict[str, pd.DataFrame], files: pd.DataFrame) -> list[str]:
    """Return the opened images that one of their boxes leaves, or that are no copy of the frame of their boxes."""
    readable = files[files["problem"] == ""]
    sizes = dict(zip(readable["image"], readable["size"], strict=True))
    images = []
    for table in tables.values():
        if "boxes" not in table:
            continue
        frame = table["frame"].iloc[0] if "frame" in table and len(table) else None
        for image, boxes in zip(table["image"], table["boxes"], strict=True):
            if image not in sizes or not len(boxes):
                continue
            width, height = map(int, sizes[image].split("x"))
            misplaced = outside(boxes, width, height).any() if frame is None else not fits(frame, width, height)
            if misplaced:
                images.append(image)
    return images
