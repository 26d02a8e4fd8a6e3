"""A trained network on image files: its answer before and after each channel, its heat map, the lungs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from callbacks.pair_maps import PairMaps
from covidmt.prediction.answer import Prediction
from datamodules.channels.registry import Channel
from datamodules.images.decode import crop_top, decode, resize
from datamodules.images.masks import LungMasks
from datamodules.images.views import show
from experiments.errors import UserError
from experiments.paths import expand
from experiments.schema import View
from explain.heat import heat_map, heat_region
from lightning_modules.lungs.segmenters import Segmenter
from lightning_modules.multitask import MultiTaskModule
from metrics.saliency import iol

COLOUR = 8  # mean distance of a pixel's largest from its smallest colour, of 255, from which a picture is no grey one


class LoadedImage(NamedTuple):
    """An image from its file.

    Attributes:
        grey: (H, W) uint8 at its full size.
        inputs: (1 + number of channels, S, S) uint8: the image, and what each channel makes of it; cut at the top.
        coloured: The file is no grey image.
    """

    grey: np.ndarray
    inputs: np.ndarray
    coloured: bool


class ExplainedImage(NamedTuple):
    """An image's prediction with what its picture shows.

    Attributes:
        grey: (H, W) uint8 at its full size, but of what the network sees: ``data.crop_top``, ``data.view``.
        heat: (S, S) float32 in [0, 1].
        region: (S, S) bool, the heat-map region.
        lung: (S, S) bool, all False where no lungs were found or looked for.
        answer: The label of the largest logit.
    """

    prediction: Prediction
    grey: np.ndarray
    heat: np.ndarray
    region: np.ndarray
    lung: np.ndarray
    answer: str


class Predictor:
    """Predicts and explains on the GPU if there is one, in float32.

    Args:
        module: In eval mode.
        channels: Name -> channel; the decision is made again after each.
        segmenter: None: lungs are not looked for.
        masks: Where an image has a mask here, it is taken.

    Raises:
        UserError: The heat map's settings do not fit the network, such as a layer that it lacks; or it sees images by
            their lungs (``data.view``), and there is no segmenter.
    """

    def __init__(
        self,
        module: MultiTaskModule,
        channels: Mapping[str, Channel],
        segmenter: Segmenter | None,
        masks: LungMasks | None = None,
    ) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.module = module.to(self.device)
        self.robustness = module.experiment.robustness
        self.maps = PairMaps(self.robustness, module.experiment.tasks[self.robustness.task])
        self.maps.cam.check(module)
        data = module.experiment.data
        self.size, self.top, self.view = data.image_size, data.crop_top, data.view
        if self.view is not View.original and segmenter is None and masks is None:
            raise UserError(f"this network sees images as data.view={self.view.value}, so it needs a --segmenter")
        self.channels = channels
        self.masks = masks
        self.segmenter = segmenter.to(self.device) if segmenter else None

    def __call__(self, names: Sequence[str]) -> Iterator[tuple[str, ExplainedImage | UserError]]:
        """Each image file in turn with what was found, or with what is wrong with it."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # the decoders let go of the interpreter
            for start in range(0, len(names), self.robustness.batch_size):
                batch = names[start : start + self.robustness.batch_size]
                loaded = dict(zip(batch, threads.map(self._load, batch), strict=True))
                results: dict[str, ExplainedImage | UserError]
                results = {name: image for name, image in loaded.items() if isinstance(image, UserError)}
                good = {name: image for name, image in loaded.items() if isinstance(image, LoadedImage)}
                if good:
                    results.update(zip(good, self.explain(good), strict=True))
                yield from ((name, results[name]) for name in batch)

    @torch.no_grad()
    def explain(self, batch: Mapping[str, LoadedImage]) -> list[ExplainedImage | UserError]:
        """The network's part: a batch of images by their names."""
        lung = self._lungs(batch)
        seen = [self._seen(image.inputs, lung) for image, lung in zip(batch.values(), lung.cpu().numpy(), strict=True)]
        inputs = torch.from_numpy(np.stack(seen)).to(self.device)
        cam = self.maps.explain(self.module, inputs[:, :1])
        heat = heat_map(cam.map, (self.size, self.size))
        region = heat_region(heat, self.robustness.region_threshold)
        logits = [cam.logits, *(self._logits(sent[:, None]) for sent in inputs[:, 1:].unbind(1))]
        probabilities = torch.stack([self.maps.decision.probability(side) for side in logits], dim=1).tolist()
        maps = zip(*(part.cpu().numpy() for part in (heat, region, lung)), strict=True)
        answers = [self.maps.labels[index] for index in cam.logits.argmax(dim=1).tolist()]
        rows = zip(batch.items(), probabilities, answers, iol(region, lung).tolist(), maps, strict=True)
        return [self._explained(*item, values, answer, inside, *drawn) for item, values, answer, inside, drawn in rows]

    def _explained(
        self,
        name: str,
        image: LoadedImage,
        probabilities: list[float],
        answer: str,
        inside: float,
        heat: np.ndarray,
        region: np.ndarray,
        lung: np.ndarray,
    ) -> ExplainedImage | UserError:
        if not all(map(isfinite, probabilities)):
            return UserError(f"{name}: the network gives no number for this image; its weights may be broken")
        if self.view is not View.original and not lung.any():
            return UserError(f"{name}: no lung was found in it, so there is no data.view={self.view.value} of it")
        grey = crop_top(image.grey, self.top)
        full = np.asarray(Image.fromarray(lung).resize(grey.shape[::-1], Image.Resampling.NEAREST))
        prediction = Prediction(
            image=name,
            decision=self.maps.decision,
            probability=probabilities[0],
            channels=dict(zip(self.channels, probabilities[1:], strict=True)),
            lung_share=float(lung.mean()) if self.segmenter else None,
            heat_found=bool(region.any()),
            iol=inside,
            eta=self.robustness.eta,
            size=(image.grey.shape[1], image.grey.shape[0]),
            input_size=self.size,
            coloured=image.coloured,
        )
        return ExplainedImage(prediction, show(grey, full, self.view), heat, region, lung, answer)

    def _seen(self, inputs: np.ndarray, lung: np.ndarray) -> np.ndarray:
        """The inputs in the representation that the network knows; whole where there are no lungs: said later."""
        return np.stack([show(image, lung, self.view) for image in inputs]) if lung.any() else inputs

    def _logits(self, images: Tensor) -> Tensor:
        return self.module.head(self.maps.task)(self.module.features(images)[-1])

    def _lungs(self, batch: Mapping[str, LoadedImage]) -> Tensor:
        """(N, S, S) bool at the network's input size."""
        lungs = self._segmented([image.grey for image in batch.values()])
        for row, name in enumerate(batch):
            if self.masks is not None and self.masks.find(name) is not None:
                lungs[row] = torch.from_numpy(self.masks.read(name, self.size, self.top))
        return lungs

    def _segmented(self, images: list[np.ndarray]) -> Tensor:
        if self.segmenter is None:
            return torch.zeros(len(images), self.size, self.size, dtype=torch.bool, device=self.device)
        small = torch.from_numpy(np.stack([resize(image, self.segmenter.image_size) for image in images]))
        found = self.segmenter.segment(small[:, None].to(self.device))
        found = found[:, int(self.top * found.shape[1]) :]
        return F.interpolate(found[:, None].float(), (self.size, self.size), mode="nearest-exact")[:, 0].bool()

    def _load(self, name: str) -> LoadedImage | UserError:
        try:
            grey = decode(expand(name))
        except UserError as error:
            return error
        sent = []
        for title, channel in self.channels.items():
            try:
                sent.append(decode(channel(grey)))
            except Exception as error:  # of one image, as of one that is too large for the format: others are not lost
                return UserError(f"{name}: cannot be sent through {title} ({error}); make it smaller, or leave it out")
        inputs = np.stack([resize(crop_top(image, self.top), self.size) for image in (grey, *sent)])
        return LoadedImage(grey, inputs, coloured=_coloured(expand(name)))


def _coloured(path: Path) -> bool:
    """A picture of other colours than grey, whatever its file could hold; DICOM files are decoded as grey only."""
    with path.open("rb") as file:
        if file.read(132)[128:] == b"DICM":
            return False
    with Image.open(path) as picture:
        picture.draft("RGB", (64, 64))
        colours = np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BOX))
    return float(np.ptp(colours.astype(np.int16), axis=2).mean()) >= COLOUR
