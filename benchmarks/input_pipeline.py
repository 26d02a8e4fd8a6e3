"""Reading, augmenting and batching images on one core: with ``data.cache``, without, and as a plain script would.

    python benchmarks/input_pipeline.py --data ../shared/mini-cxr [--size 512] [--images 48] [--runs 7]

Files: RSNA DICOM (1024 px, JPEG) and WaCXR's originals (1024 px PNG) of ``--data``. Baselines of each run:

* reading: ``cv2.imread``, or pydicom's ``pixel_array``, with ``cv2.resize(INTER_AREA)``; "cold" first asks the system
  to drop the file from its cache, and is wall time of a local disk, not CPU time;
* pipeline (read, augment, batch of 12): ours without the cache, and the plain reading with our augmentation;
* augmentation: a bare ``cv2.warpAffine`` of the same image, the floor of everything here. Ours is albumentations' plain
  ``Compose``: one Affine, a mirrored copy, one lookup of the grey levels. The flip merged into the warp is timed too.

Times are CPU times of this process, one thread; ratios are medians over the rounds with their 95 % intervals.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import torch
from timing import ratio, rounds

from datamodules.dataset import ImageDataset
from datamodules.groups import Group
from datamodules.images.augment import A, seeded, training_transform
from datamodules.images.cache import ImageCache
from datamodules.sampler import Item
from experiments.schema import Augment, Task

BATCH = 12
SHARE = 12  # one image of so many has boxes: 4 of 12 are RSNA's, of whose 26,684 images 6,012 have one
AFFINE = ("scale", "translate_percent", "rotate", "keep_ratio", "interpolation", "border_mode", "fill")


def plain_read(path: str, size: int) -> np.ndarray:
    """What a script does."""
    dicom = path.endswith(".dcm")
    image = pydicom.dcmread(path).pixel_array if dicom else cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    return cv2.resize(np.asarray(image), (size, size), interpolation=cv2.INTER_AREA)


def data_set(paths: list[str], size: int, cache: ImageCache | None) -> ImageDataset:
    """The data set of a training on these images."""
    task = Task(name="task", source="source", labels=["label"], batch_size=BATCH)
    n = len(paths)
    files = np.array([os.fsencode(path) for path in paths])
    no_boxes = np.empty((0, 4), np.float32), np.zeros(n + 1, np.int64)
    group = Group("source", [task], files, np.full(n, "train"), {"task": np.zeros((n, 1), np.float32)}, *no_boxes)
    return ImageDataset([task], [group], size, Augment(), None if cache is None else [cache.view(paths)])


def batches(dataset: ImageDataset, n: int) -> None:
    """All images once, augmented, in batches."""
    for start in range(0, n, BATCH):
        dataset.collate([dataset[Item(0, row, row)] for row in range(start, min(start + BATCH, n))])


def plain_batches(paths: list[str], size: int, transform: A.Compose) -> None:
    """As :func:`batches`, read as a script does."""
    for start in range(0, len(paths), BATCH):
        rows = range(start, min(start + BATCH, len(paths)))
        images = [seeded(transform, row)(image=plain_read(paths[row], size))["image"] for row in rows]
        torch.from_numpy(np.stack(images))[:, None]


def cold(path: Path, read: list) -> float:
    """Wall seconds of reading, the file dropped from the system's cache before."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    for each in read:
        each()
    return time.perf_counter() - start


def reading(name: str, paths: list[str], size: int, runs: int, folder: Path) -> list[np.ndarray]:
    """Prints one kind of file's ratios; its images at input size."""
    cache = ImageCache(folder, name, size)
    cache.fill(paths, processes=1)
    view = cache.view(paths)
    plain_set, cached_set = data_set(paths, size, None), data_set(paths, size, cache)
    transform = training_transform(Augment())
    if not all(np.array_equal(plain_set[Item(0, i)].image, cached_set[Item(0, i)].image) for i in range(len(paths))):
        sys.exit(f"{name}: the cache gives other pixels")
    ways = {
        "plain": lambda: [plain_read(path, size) for path in paths],
        "uncached": lambda: [plain_set[Item(0, i)] for i in range(len(paths))],
        "cached": lambda: [view[i] for i in range(len(paths))],
        "plain pipeline": lambda: plain_batches(paths, size, transform),
        "uncached pipeline": lambda: batches(plain_set, len(paths)),
        "cached pipeline": lambda: batches(cached_set, len(paths)),
    }
    times = rounds(ways, runs)
    each = {way: 1e3 * statistics.median(some) / len(paths) for way, some in times.items()}
    one = [(lambda i=i: view[i]) for i in range(len(paths))]
    for path in paths:
        cold(Path(path), [])
    cold_plain = sum(cold(Path(path), [lambda path=path: plain_read(path, size)]) for path in paths)
    cold_cached = statistics.median(cold(cache.pixels, one) for _ in range(3))
    print(f"{name}, {len(paths)} files of {np.mean([os.path.getsize(path) for path in paths]) / 1e3:.0f} KB, {size} px")
    print("  ms an image: " + ", ".join(f"{way} {some:.2f}" for way, some in each.items()))
    print(f"  reading: plain takes {ratio(times, 'plain', 'cached')} times as long as the cache, warm")
    print(f"  reading: our decoder takes {ratio(times, 'uncached', 'cached')} times as long as the cache, warm")
    print(f"  reading: plain takes {cold_plain / cold_cached:.1f} times as long as the cache, both cold (wall)")
    for way in ("uncached", "plain"):
        print(f"  pipeline: {way} takes {ratio(times, f'{way} pipeline', 'cached pipeline')} times as long as cached")
    return [view[i] for i in range(len(paths))]


class Merged(A.Affine):
    """Affine and horizontal flip in one warp: the same draws, and pixels but for rounding to 1/32 of a pixel."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The matrix with the flip."""
        drawn = super().get_params_dependent_on_data(params, data)
        if self.py_random.random() < 0.5:
            drawn["matrix"] = np.array([[-1, 0, params["shape"][1] - 1], [0, 1, 0], [0, 0, 1]]) @ drawn["matrix"]
        return drawn


def augmentation(images: list[np.ndarray], runs: int) -> None:
    """Prints the ratio to a bare warp."""
    size, settings = len(images[0]), Augment()
    draw = np.random.default_rng(0).uniform
    turns = [cv2.getRotationMatrix2D((size / 2, size / 2), draw(-10, 10), draw(0.85, 1.15)) for _ in images]
    for turn in turns:
        turn[:, 2] += draw(-0.1, 0.1, 2) * size
    ours = training_transform(settings)
    affine, *_, grey_levels = ours.transforms
    merged = Merged(**{name: getattr(affine, name) for name in AFFINE}, p=1)
    some_boxes = np.array([[0.2, 0.3, 0.5, 0.7], [0.6, 0.3, 0.9, 0.7]], np.float32) * size

    def apply(transform: A.Compose, every: int = 0) -> None:
        for seed, image in enumerate(images):
            boxes: dict[str, Any] = {"bboxes": some_boxes} if every and seed % every == 0 else {}
            seeded(transform, seed)(image=image, **boxes)

    def warp() -> None:
        for image, turn in zip(images, turns, strict=True):
            cv2.warpAffine(image, turn, (size, size), flags=cv2.INTER_LINEAR)

    one_warp = A.Compose([merged, grey_levels])
    ways = {
        "warp": warp,
        "ours, of images without boxes": lambda: apply(ours),
        "ours, of images with two boxes": lambda: apply(ours, every=1),
        f"ours, of a six-task batch (one of {SHARE} has boxes)": lambda: apply(ours, every=SHARE),
        "with the flip merged into the warp": lambda: apply(one_warp),
    }
    times = rounds(ways, 3 * runs)
    print(f"augmentation, {size} px: bare warp {1e3 * statistics.median(times['warp']) / len(images):.2f} ms an image")
    for way in list(ways)[1:]:
        print(f"  {way}: {ratio(times, way, 'warp')} of it")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with rsna/ and wacxr/")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--images", type=int, default=48, help="of each kind")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    kinds = {"RSNA DICOM": "rsna/stage_2_train_images/*.dcm", "1024 px PNG": "wacxr/covid_binary_test/0_*/*.png"}
    images: list[np.ndarray] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:  # not /tmp, which may be memory
        for kind, pattern in kinds.items():
            found = [str(path) for path in sorted(options.data.glob(pattern))][: options.images]
            images += reading(kind, found, options.size, options.runs, Path(place))
        augmentation(images[: options.images], options.runs)
