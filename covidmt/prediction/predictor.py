"""A trained network on image files: its answer before and after each channel, its heat map, the lungs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from datamodules.images.views import hide
from experiments.errors import UserError
from experiments.paths import expand
from experiments.schema import View
from explain.heat import heat_map, heat_region
from lightning_modules.lungs.segmenters import Segmenter
from lightning_modules.multitask import MultiTaskModule
from metrics.saliency import iol

COLOURED = 8  # mean distance of a pixel's largest from its smallest colour, of 255, above which an image is not grey


@dataclass(frozen=True)
class LoadedImage:
    """An image from its file.

    Attributes:
        grey: (H, W) uint8 at its full size.
        inputs: (1 + number of channels, S, S) uint8: the image, and what each channel makes of it; cut at the top.
        coloured: The file is no grey image.
    """

    grey: np.ndarray
    inputs: np.ndarray
    coloured: bool


class _Evidence(NamedTuple):
    """What the network and the segmenter give for one image, named as in `Prediction` and `ExplainedImage`."""

    probabilities: list[float]  # of the image itself, then after each channel; NaN where there is none
    top_label: str
    iol: float
    heat: np.ndarray
    region: np.ndarray
    lung: np.ndarray


@dataclass(frozen=True)
class ExplainedImage:
    """An image's prediction with what its picture shows.

    Attributes:
        prediction: The answer and the checks.
        grey: (H, W) uint8 at its full size, but of what the network sees: ``data.crop_top``, ``data.view``.
        heat: (S, S) float32 in [0, 1].
        region: (S, S) bool, the heat-map region.
        lung: (S, S) bool, all False where no lungs were found or looked for.
        top_label: The label of the largest logit.
    """

    prediction: Prediction
    grey: np.ndarray
    heat: np.ndarray
    region: np.ndarray
    lung: np.ndarray
    top_label: str


class Predictor:
    """Predict and explain image files, on the GPU if there is one, in float32.

    Args:
        module: A network in eval mode.
        channels: Name -> channel; the decision is made again after each.
        segmenter: What finds the lungs; None: lungs are not looked for.
        masks: Lung masks that are used where an image has one.

    Raises:
        UserError: The heat map's settings do not fit the network, such as a layer that it lacks; or the network sees
            images by their lungs (``data.view``), and there is no segmenter.
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
            raise UserError(f"this network was trained with data.view={self.view.value}, so it needs a --segmenter")
        self.channels = channels
        self.masks = masks
        self.segmenter = segmenter.to(self.device) if segmenter else None

    def __call__(self, names: Sequence[str]) -> Iterator[tuple[str, ExplainedImage | UserError]]:
        """Yield each image file in turn with its prediction, or with what is wrong with it."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # the decoders let go of the interpreter
            for start in range(0, len(names), self.robustness.batch_size):
                batch = names[start : start + self.robustness.batch_size]
                loaded = dict(zip(batch, threads.map(self._load, batch), strict=True))
                images = {name: image for name, image in loaded.items() if isinstance(image, LoadedImage)}
                results = dict(zip(images, self.explain(images), strict=True)) if images else {}
                for name, image in loaded.items():
                    yield name, image if isinstance(image, UserError) else results[name]

    @torch.no_grad()
    def explain(self, batch: Mapping[str, LoadedImage]) -> list[ExplainedImage | UserError]:
        """Predict and explain a batch of images by their names."""
        lung = self._find_lungs(batch)
        inputs = self._network_inputs(batch, lung)

        # the images' own decisions and maps, then the decisions after each channel
        cam = self.maps.explain(self.module, inputs[:, :1])
        logits = [cam.logits, *(self._logits(sent[:, None]) for sent in inputs[:, 1:].unbind(1))]
        probabilities = torch.stack([self.maps.decision.probability(side) for side in logits], dim=1).tolist()
        labels = [self.maps.labels[index] for index in cam.logits.argmax(dim=1).tolist()]

        # where the network looked
        heat = heat_map(cam.map, (self.size, self.size))
        region = heat_region(heat, self.robustness.region_threshold)
        maps = (part.cpu().numpy() for part in (heat, region, lung))
        rows = zip(probabilities, labels, iol(region, lung).tolist(), *maps, strict=True)
        return [self._explain_image(*item, _Evidence(*row)) for item, row in zip(batch.items(), rows, strict=True)]

    def _explain_image(self, name: str, image: LoadedImage, evidence: _Evidence) -> ExplainedImage | UserError:
        lung = evidence.lung
        if not all(map(isfinite, evidence.probabilities)):
            return UserError(f"{name}: the network gives no number for this image; its weights may be broken")
        if self.view is not View.original and not lung.any():
            return UserError(f"{name}: no lungs were found in it, so it cannot be shown as data.view={self.view.value}")

        prediction = Prediction(
            image=name,
            decision=self.maps.decision,
            probability=evidence.probabilities[0],
            channels=dict(zip(self.channels, evidence.probabilities[1:], strict=True)),
            lung_share=float(lung.mean()) if self.segmenter else None,
            heat_found=bool(evidence.region.any()),
            iol=evidence.iol,
            eta=self.robustness.eta,
            size=(image.grey.shape[1], image.grey.shape[0]),
            input_size=self.size,
            coloured=image.coloured,
        )

        # what the network sees, at the image's own size
        grey = crop_top(image.grey, self.top)
        full_lung = np.asarray(Image.fromarray(lung).resize(grey.shape[::-1], Image.Resampling.NEAREST))
        grey = hide(grey, full_lung, self.view)
        return ExplainedImage(prediction, grey, evidence.heat, evidence.region, lung, evidence.top_label)

    def _network_inputs(self, batch: Mapping[str, LoadedImage], lung: Tensor) -> Tensor:
        """(N, 1 + number of channels, S, S) uint8 in the network's ``data.view``; whole where there are no lungs."""
        inputs = [
            np.stack([hide(side, mask, self.view) for side in image.inputs]) if mask.any() else image.inputs
            for image, mask in zip(batch.values(), lung.cpu().numpy(), strict=True)
        ]
        return torch.from_numpy(np.stack(inputs)).to(self.device)

    def _logits(self, images: Tensor) -> Tensor:
        return self.module.head(self.maps.task)(self.module.features(images)[-1])

    def _find_lungs(self, batch: Mapping[str, LoadedImage]) -> Tensor:
        """(N, S, S) bool at the network's input size, from the masks, else from the segmenter."""
        lungs = self._segment([image.grey for image in batch.values()])
        for row, name in enumerate(batch):
            if self.masks is not None and self.masks.find(name) is not None:
                lungs[row] = torch.from_numpy(self.masks.read(name, self.size, self.top))
        return lungs

    def _segment(self, images: list[np.ndarray]) -> Tensor:
        if self.segmenter is None:
            return torch.zeros(len(images), self.size, self.size, dtype=torch.bool, device=self.device)
        small = torch.from_numpy(np.stack([resize(image, self.segmenter.image_size) for image in images]))
        lungs = self.segmenter.segment(small[:, None].to(self.device))
        lungs = lungs[:, int(self.top * lungs.shape[1]) :]
        return F.interpolate(lungs[:, None].float(), (self.size, self.size), mode="nearest-exact")[:, 0].bool()

    def _load(self, name: str) -> LoadedImage | UserError:
        """Decode an image, and what each channel makes of it."""
        try:
            grey = decode(expand(name))
        except UserError as error:
            return error

        sent = []
        for title, channel in self.channels.items():
            try:
                sent.append(decode(channel(grey)))
            except Exception as error:  # one image's, such as one too large for the format: others are not lost
                return UserError(f"{name}: cannot be sent through {title} ({error}); make it smaller, or leave it out")
        inputs = np.stack([resize(crop_top(image, self.top), self.size) for image in (grey, *sent)])
        return LoadedImage(grey, inputs, coloured=is_coloured(expand(name)))


def is_coloured(path: Path) -> bool:
    """Return whether an image has colours, whatever its file could hold; DICOM files are decoded as grey only.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (8, 8), (90, 90, 90)).save(Path(folder, "grey.png"))
        ...     Image.new("RGB", (8, 8), (40, 120, 200)).save(Path(folder, "blue.png"))
        ...     is_coloured(Path(folder, "grey.png")), is_coloured(Path(folder, "blue.png"))
        (False, True)
    """
    with path.open("rb") as file:
        if file.read(132)[128:] == b"DICM":
            return False
    with Image.open(path) as picture:
        picture.draft("RGB", (64, 64))
        colours = np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BOX))
    return float(np.ptp(colours.astype(np.int16), axis=2).mean()) >= COLOURED
