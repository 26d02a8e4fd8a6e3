"""Films answered by a warm predictor, several at a time, with the pictures of their answers."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from covidmt.prediction.answer import NOTICE
from covidmt.prediction.picture import draw_prediction
from covidmt.prediction.predictor import ExplainedImage, LoadedImage, Predictor
from covidmt.serving.batching import Batcher
from covidmt.serving.uploads import Json
from datamodules.formats.dicom import is_dicom
from experiments.errors import UserError
from explain.box_picture import outline_boxes
from explain.picture import overlay

WAIT = 0.02  # seconds that a batch waits for films on their way
LARGEST = 16  # films in a batch
MEGAPIXELS = 64.0  # of a film; the largest detectors have 20
FILM = "the film"  # what messages call it: its name may be a patient's
SIDE = 640  # pixels: longest side of a page's picture
_KINDS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg"}


class UnknownKind(UserError):
    """A file that is neither PNG, JPEG nor DICOM."""


@dataclass(frozen=True)
class AnswerPicture:
    """One of an answer's pictures.

    Attributes:
        title: What it shows.
        jpeg: The file's bytes, without any metadata.
    """

    title: str
    jpeg: bytes


class FilmService:
    """Answer films: decoded on threads, predicted in batches.

    Args:
        predictor: Warm after `warm_up`; its ``megapixels`` are cut to 64.
        wait: Seconds that a batch waits for films on their way.
        keep: Folder for films as they were sent, and their answers; None: nothing is kept.
    """

    def __init__(self, predictor: Predictor, wait: float = WAIT, keep: Path | None = None) -> None:
        self.predictor = predictor
        self._keep = keep
        predictor.megapixels = min(predictor.megapixels, MEGAPIXELS)
        self._threads = ThreadPoolExecutor(os.cpu_count(), "films")
        self._batcher = Batcher(self._answer_batch, wait=wait, largest=LARGEST, workers=count_workers(predictor))

    def warm_up(self) -> None:
        """Answer a film of noise, so that the first client does not wait for what is only done once."""
        noise = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
        file = BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        loaded = self.predictor.load(FILM, file.getvalue())
        self.predictor.explain_loaded({FILM: loaded})

    async def answer(self, content: bytes) -> ExplainedImage:
        """Return a film's answer.

        Args:
            content: A PNG, JPEG or DICOM file.

        Raises:
            UnknownKind: It is of another kind.
            UserError: It cannot be read; the message has nothing of a DICOM header.
        """
        kind = kind_of(content)
        loop = asyncio.get_running_loop()
        self._batcher.expect(1)
        try:
            loaded = await loop.run_in_executor(self._threads, self.predictor.load, FILM, content)
        finally:
            self._batcher.expect(-1)
        if isinstance(loaded, UserError):
            raise _plain(loaded, kind)
        result = await asyncio.wrap_future(self._batcher.submit(loaded))
        if isinstance(result, UserError):
            raise _plain(result, kind)
        if self._keep is not None:
            await loop.run_in_executor(self._threads, keep_film, self._keep, content, result)
        return result

    async def pictures(self, explained: ExplainedImage) -> list[AnswerPicture]:
        """Return the film's heat map and that of what each channel delivered, with the lungs; then each one's boxes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, draw_pictures, explained)

    async def report_picture(self, explained: ExplainedImage) -> bytes:
        """Return the picture of `covidmt predict`, with the report in it, as JPEG."""

        def draw() -> bytes:
            return encode_jpeg(draw_prediction(explained, self.predictor.robustness))

        return await asyncio.get_running_loop().run_in_executor(self._threads, draw)

    def close(self) -> None:
        """Finish what is under way."""
        self._threads.shutdown()
        self._batcher.close()

    def _answer_batch(self, films: Sequence[LoadedImage]) -> list[ExplainedImage | UserError]:
        named = {f"{FILM} {number}": film for number, film in enumerate(films)}
        return list(self.predictor.explain_loaded(named).values())


def count_workers(predictor: Predictor) -> int:
    """Return how many batches are answered at the same time: as many as PyTorch's threads leave cores for.

    One on a GPU, and for engines that change the network while they explain it.
    """
    if predictor.device != "cpu" or not predictor.maps.cam.reads_last_map:
        return 1
    return max(1, (os.cpu_count() or 1) // torch.get_num_threads())


def kind_of(content: bytes) -> str:
    r"""Return ``png``, ``jpg`` or ``dcm``, by what is in the file.

    Raises:
        UnknownKind: It is something else.

    Example:
        >>> kind_of(b"\xff\xd8\xff\xe0")
        'jpg'
    """
    for start, kind in _KINDS.items():
        if content.startswith(start):
            return kind
    if content and is_dicom(content):
        return "dcm"
    raise UnknownKind("this is no PNG, JPEG or DICOM file; send the film as one of them")


def record_of(explained: ExplainedImage) -> Json:
    """Return an answer for JSON: as `covidmt predict` writes it, without a file's name."""
    record = explained.prediction.record() | {"notice": NOTICE}
    del record["image"]
    return record


def keep_film(folder: Path, content: bytes, explained: ExplainedImage) -> None:
    """Write a film as it was sent, and its answer beside it, under a name that says nothing of either."""
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
    (folder / f"{stem}.{kind_of(content)}").write_bytes(content)
    (folder / f"{stem}.json").write_text(json.dumps(record_of(explained), indent=2) + "\n")


def draw_pictures(explained: ExplainedImage) -> list[AnswerPicture]:
    """Return the pictures of `FilmService.pictures`."""
    height, width = explained.grey.shape
    scale = SIDE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    hot = overlay(explained.grey, explained.heat, explained.region, explained.lung, size)
    pictures = [AnswerPicture("The film", encode_jpeg(hot))]
    for channel, sent in explained.sent.items():
        hot = overlay(sent.grey, sent.heat, sent.region, explained.lung, size)
        pictures.append(AnswerPicture(f"After {channel} (simulated)", encode_jpeg(hot)))
    return pictures + _draw_boxes(explained, size)


def _draw_boxes(explained: ExplainedImage, size: tuple[int, int]) -> list[AnswerPicture]:
    """Return the pictures of all box tasks' boxes, on the film and after each channel; none without such a task."""
    found = explained.prediction.boxes
    if not found:
        return []
    sides = {"the film": (explained.grey, [box for each in found for box in each.original])}
    for channel, sent in explained.sent.items():
        sides[f"the film after {channel} (simulated)"] = (
            sent.grey,
            [box for each in found for box in each.channels[channel]],
        )
    return [
        AnswerPicture(f"Boxes on {title}: {len(boxes) or 'none'}", encode_jpeg(outline_boxes(grey, boxes, size)))
        for title, (grey, boxes) in sides.items()
    ]


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """Return (H, W, 3) uint8 RGB as a JPEG file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


def _plain(error: UserError, kind: str) -> UserError:
    """Return what a client is told of an error: of a DICOM file's nothing that may come from its header."""
    text = str(error)
    if kind == "dcm" and "more than the" not in text and "no lungs" not in text:
        text = f"{FILM}: this DICOM file cannot be read as one picture"
    return UserError(text.replace("raise data.max_megapixels, or take it out of the list", "and send it again"))
