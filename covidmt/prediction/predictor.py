"""A trained network on image files: its answer before and after each channel, its heat map, the lungs."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from callbacks.pair_maps import PairMaps
from callbacks.task_maps import TaskMaps
from covidmt.prediction.answer import ChannelAnswer, Prediction
from covidmt.prediction.findings import FindingAnswer, FoundBoxes, LabelFinding, ValueFinding, to_boxes, value_findings
from datamodules.channels.registry import Channel, get_channel
from datamodules.images.decode import crop_top, decode, read_picture, resize
from datamodules.images.looks import describe_look, look_at
from datamodules.images.mask_files import Areas
from datamodules.images.masks import LungMasks, in_convention
from datamodules.images.views import hide
from experiments.errors import UserError
from experiments.paths import expand
from experiments.schema import TaskKind, View
from explain.gradcam import GradCam
from explain.heat import heat_map, heat_region
from lightning_modules.heads import BoxHead
from lightning_modules.load import load_module
from lightning_modules.lungs.segmentation import Segmentation, mask_at
from lightning_modules.lungs.segmenters import SHIPPED, Segmenter, load_segmenter, native_of, require_convention
from lightning_modules.multitask import MultiTaskModule
from metrics.saliency import iol

_GREY_FORMATS = ("DICOM", "HEIF")  # whose colours are not looked at
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F")  # Pillow's
COLOURED = 8  # mean distance of a pixel's largest from its smallest colour, of 255, above which an image is not grey


@dataclass(frozen=True)
class LoadedImage:
    """An image from its file.

    Attributes:
        grey: (H, W) uint8 at its full size.
        inputs: (1 + number of channels, S, S) uint8: the image, and what each channel makes of it; cut at the top.
        coloured: The file is no grey image.
        notes: What was passed over or is unusual in the file.
        look: What is odd about it at a glance, "" for nothing.
    """

    grey: np.ndarray
    inputs: np.ndarray
    coloured: bool
    notes: tuple[str, ...] = ()
    look: str = ""


class _Evidence(NamedTuple):
    """What the network and the segmenter give for one image, named as in `Prediction` and `ExplainedImage`."""

    probabilities: list[float]  # of the image itself, then after each channel; NaN where there is none
    decisions: list[bool]
    top_label: str
    iol: float
    heat: np.ndarray
    region: np.ndarray
    lung: np.ndarray
    pose: str | None
    findings: tuple[LabelFinding, ...]
    boxes: tuple[FoundBoxes, ...]
    values: tuple[ValueFinding, ...]
    cells: tuple[int, int]


class SentImage(NamedTuple):
    """What a channel delivered, and what the decision on it rests on.

    Attributes:
        grey: (S, S) uint8, as the network reads it.
        heat: (S, S) float32 in [0, 1].
        region: (S, S) bool.
    """

    grey: np.ndarray
    heat: np.ndarray
    region: np.ndarray


@dataclass(frozen=True)
class ExplainedImage:
    """An image's prediction with what its picture shows.

    Attributes:
        prediction: The answer and the checks.
        grey: (H, W) uint8 at its full size, but of what the network sees: ``data.crop_top``, ``data.view``.
        heat: (S, S) float32 in [0, 1].
        region: (S, S) bool, the heat-map region.
        lung: (S, S) bool, all False where no lungs were found or looked for.
        top_label: The label of the largest logit; of a task of one label the decision.
        cells: Height and width of the raw map that the heat map was resized from.
        sent: By channel what it delivered, where the predictor explains that too.
        received: (S, S) uint8 what the network sees after the first channel; None: there is no channel.
    """

    prediction: Prediction
    grey: np.ndarray
    heat: np.ndarray
    region: np.ndarray
    lung: np.ndarray
    top_label: str
    cells: tuple[int, int]
    sent: Mapping[str, SentImage] = field(default_factory=dict)
    received: np.ndarray | None = None


class Predictor:
    """Predict and explain image files, on the GPU if there is one, in float32.

    Args:
        module: A network in eval mode.
        channels: Name -> channel; the decision is made again after each.
        segmenter: What finds the lungs; None: lungs are not looked for.
        masks: Lung masks that are used where an image has one.
        explain_sent: Explain what the channels deliver too.

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
        *,
        explain_sent: bool = False,
    ) -> None:
        self.explain_sent = explain_sent
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.module = module.to(self.device)
        self.robustness = module.experiment.robustness
        self.maps = PairMaps(self.robustness, module.experiment.tasks[self.robustness.task])
        self.maps.cam.check(module)
        data = module.experiment.data
        self.megapixels = data.max_megapixels
        self.size, self.top, self.view = data.image_size, data.crop_top, data.view
        if self.view is not View.original and segmenter is None and masks is None:
            raise UserError(f"this network was trained with data.view={self.view.value}, so it needs a --segmenter")
        self.heart = data.masks.heart
        if segmenter is not None:
            require_convention(segmenter, self.heart, "--segmenter")
        self.task_decisions = TaskMaps(self.robustness, module.experiment.readable).decisions(module)
        self.channels = channels
        self.masks = masks
        self.segmenter = segmenter.to(self.device) if segmenter else None

    def __call__(self, names: Sequence[str]) -> Iterator[tuple[str, ExplainedImage | UserError]]:
        """Yield each image file in turn with its prediction, or with what is wrong with it."""
        return self.answer(dict.fromkeys(names))

    def answer(self, contents: Mapping[str, bytes | None]) -> Iterator[tuple[str, ExplainedImage | UserError]]:
        """Yield each image in turn with its prediction, or with what is wrong with it.

        Args:
            contents: By name the file's bytes; None: the name is the file's.
        """
        names = list(contents)
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # the decoders let go of the interpreter
            for start in range(0, len(names), self.robustness.batch_size):
                batch = names[start : start + self.robustness.batch_size]
                loaded = threads.map(self.load, batch, [contents[name] for name in batch])
                yield from self.explain_loaded(dict(zip(batch, loaded, strict=True))).items()

    def explain_loaded(self, loaded: Mapping[str, LoadedImage | UserError]) -> dict[str, ExplainedImage | UserError]:
        """Predict and explain a batch of what :meth:`load` gave, by name; what is wrong with an image stays."""
        images = {name: image for name, image in loaded.items() if isinstance(image, LoadedImage)}
        results = dict(zip(images, self.explain(images), strict=True)) if images else {}
        return {name: image if isinstance(image, UserError) else results[name] for name, image in loaded.items()}

    @torch.no_grad()
    def explain(self, batch: Mapping[str, LoadedImage]) -> list[ExplainedImage | UserError]:
        """Predict and explain a batch of images by their names."""
        lung, poses = self._find_lungs(batch)
        inputs = self._network_inputs(batch, lung)

        # the images' own decisions and maps, then the decisions after each channel
        sides = [self.module.features(sent[:, None]) for sent in inputs.unbind(1)]
        cam, *sent_cams = [
            self._explain_side(inputs[:, number : number + 1], maps)
            for number, maps in enumerate(sides)
            if number == 0 or self.explain_sent
        ]
        sent_logits = [each.logits for each in sent_cams] or [self._logits(maps) for maps in sides[1:]]
        logits = [cam.logits, *sent_logits]
        probabilities = torch.stack([self.maps.decision.probability(side) for side in logits], dim=1).tolist()
        decisions = torch.stack([self.maps.decision.positive(side) for side in logits], dim=1).tolist()

        # where the network looked
        heat = heat_map(cam.map, (self.size, self.size))
        region = heat_region(heat, self.robustness.region_threshold)
        maps = (part.cpu().numpy() for part in (heat, region, lung))
        rows = zip(
            *(probabilities, decisions, self._top_labels(cam), iol(region, lung).tolist(), *maps, poses),
            *(self._findings(sides, logits), self._boxes(sides), self._values(sides)),
            strict=True,
        )
        cells = (cam.map.shape[1], cam.map.shape[2])
        evidence = [_Evidence(*row, cells=cells) for row in rows]
        explained = [
            self._explain_image(*item, found, seen)
            for item, found, seen in zip(batch.items(), evidence, inputs.cpu().numpy(), strict=True)
        ]
        if not sent_cams:
            return explained

        # and where it looked after each channel
        sent_heats = [heat_map(each.map, (self.size, self.size)) for each in sent_cams]
        return [
            image if isinstance(image, UserError) else replace(image, sent=self._sent_images(row, inputs, sent_heats))
            for row, image in enumerate(explained)
        ]

    def _sent_images(self, row: int, inputs: Tensor, heats: Sequence[Tensor]) -> dict[str, SentImage]:
        """One image's, by channel."""
        images = {}
        for number, (channel, heat) in enumerate(zip(self.channels, heats, strict=True), 1):
            region = heat_region(heat[row : row + 1], self.robustness.region_threshold)[0]
            images[channel] = SentImage(*(part.cpu().numpy() for part in (inputs[row, number], heat[row], region)))
        return images

    def _explain_side(self, images: Tensor, maps: list[Tensor]) -> GradCam:
        """Explain images whose feature maps are known."""
        engine, target = self.maps.cam, self.maps.target
        last = maps[-1] if engine.reads_last_map else None
        return engine.explain(self.module, self.maps.task, images, self.maps.decision, [target], last)[target]

    def _logits(self, maps: list[Tensor]) -> Tensor:
        return self.module.head(self.maps.task)(maps[-1])

    def _findings(self, sides: list[list[Tensor]], deciding: list[Tensor]) -> list[tuple[LabelFinding, ...]]:
        """Return each image's labels of all tasks but the deciding one: on the image, and after each channel."""
        by_image: list[list[LabelFinding]] = [[] for _ in deciding[0]]
        for name, decisions in self.task_decisions.items():
            logits = deciding if name == self.maps.task else [self.module.head(name)(maps[-1]) for maps in sides]
            p = torch.stack([decisions.probability(side) for side in logits], dim=1).tolist()  # image, side, label
            positive = torch.stack([decisions.decided(side) for side in logits], dim=1).tolist()
            for column, decision in enumerate(decisions.decisions):
                if name == self.maps.task and decision.label == self.maps.decision.label:
                    continue
                for image, findings in enumerate(by_image):
                    rows = zip(p[image], positive[image], strict=True)
                    own, *sent = (FindingAnswer(ps[column], yes[column] == 1) for ps, yes in rows)
                    is_near = decision.is_near(*(side[column] for side in p[image]))
                    after = dict(zip(self.channels, sent, strict=True))
                    findings.append(LabelFinding(name, decision.label, own, after, is_near))
        return [tuple(findings) for findings in by_image]

    def _boxes(self, sides: list[list[Tensor]]) -> list[tuple[FoundBoxes, ...]]:
        """Return each image's boxes: on the image, and after each channel."""
        by_image: list[list[FoundBoxes]] = [[] for _ in sides[0][0]]
        for name, task in self.module.tasks.items():
            if task.task.kind is not TaskKind.boxes:
                continue
            head = cast(BoxHead, task.head)
            decoded = [head.decode(head(maps)) for maps in sides]
            for boxes, *predictions in zip(by_image, *decoded, strict=True):
                own, *sent = (to_boxes(each, self.size, self.robustness.box_score) for each in predictions)
                boxes.append(FoundBoxes(name, own, dict(zip(self.channels, sent, strict=True))))
        return [tuple(boxes) for boxes in by_image]

    def _values(self, sides: list[list[Tensor]]) -> list[tuple[ValueFinding, ...]]:
        """Return what tasks of classes of the user's own say of each image: on it, and after each channel."""
        own = {name: task for name, task in self.module.tasks.items() if task.task.kind is TaskKind.custom}
        said = {name: [task.image_values(task(maps)) for maps in sides] for name, task in own.items()}
        return value_findings(said, list(self.channels), len(sides[0][0]))

    def _top_labels(self, cam: GradCam) -> list[str]:
        """Each image's most probable class; of a task of one label the decision."""
        if len(self.maps.labels) == 1:
            decision = self.maps.decision
            return [decision.answer(positive) for positive in decision.positive(cam.logits).tolist()]
        return [self.maps.labels[index] for index in cam.logits.argmax(dim=1).tolist()]

    def _explain_image(
        self, name: str, image: LoadedImage, evidence: _Evidence, sides: np.ndarray
    ) -> ExplainedImage | UserError:
        lung = evidence.lung
        if not all(map(isfinite, evidence.probabilities)):
            return UserError(f"{name}: the network gives no number for this image; its weights may be broken")
        if self.view is not View.original and not lung.any():
            return UserError(f"{name}: no lungs were found in it, so it cannot be shown as data.view={self.view.value}")

        sent = map(ChannelAnswer, evidence.probabilities[1:], evidence.decisions[1:])
        prediction = Prediction(
            image=name,
            decision=self.maps.decision,
            probability=evidence.probabilities[0],
            positive=evidence.decisions[0],
            channels=dict(zip(self.channels, sent, strict=True)),
            lung_share=float(lung.mean()) if self.segmenter else None,
            heat_found=bool(evidence.region.any()),
            iol=evidence.iol,
            eta=self.robustness.eta,
            size=(image.grey.shape[1], image.grey.shape[0]),
            input_size=self.size,
            coloured=image.coloured,
            notes=image.notes,
            look=image.look,
            heart=self.heart,
            pose=evidence.pose,
            findings=evidence.findings,
            boxes=evidence.boxes,
            values=evidence.values,
            top=int(self.top * len(image.grey)),
        )

        # what the network sees, at the image's own size
        grey = crop_top(image.grey, self.top)
        full_lung = np.asarray(Image.fromarray(lung).resize(grey.shape[::-1], Image.Resampling.NEAREST))
        grey = hide(grey, full_lung, self.view)
        return ExplainedImage(
            *(prediction, grey, evidence.heat, evidence.region, lung, evidence.top_label, evidence.cells),
            received=sides[1] if len(sides) > 1 else None,
        )

    def _network_inputs(self, batch: Mapping[str, LoadedImage], lung: Tensor) -> Tensor:
        """(N, 1 + number of channels, S, S) uint8 in the network's ``data.view``; whole where there are no lungs."""
        inputs = [
            np.stack([hide(side, mask, self.view) for side in image.inputs]) if mask.any() else image.inputs
            for image, mask in zip(batch.values(), lung.cpu().numpy(), strict=True)
        ]
        return torch.from_numpy(np.stack(inputs)).to(self.device)

    def _find_lungs(self, batch: Mapping[str, LoadedImage]) -> tuple[Tensor, list[str | None]]:
        """(N, S, S) bool at the network's input size, from the masks, else the segmenter; and how each image lies."""
        lungs, poses = self._segment([image.grey for image in batch.values()])
        for row, name in enumerate(batch):
            if self.masks is not None and self.masks.find(name) is not None:
                lungs[row] = torch.from_numpy(self.masks.read(name, self.size, self.top))
        return lungs, poses

    def _segment(self, images: list[np.ndarray]) -> tuple[Tensor, list[str | None]]:
        lungs = torch.zeros(len(images), self.size, self.size, dtype=torch.bool)
        if self.segmenter is None:
            return lungs.to(self.device), [None] * len(images)

        # at the images' own sizes, where their tops are cut off
        small = torch.from_numpy(np.stack([resize(image, self.segmenter.image_size) for image in images]))
        drawn = self.segmenter.segment(small[:, None].to(self.device))
        for row, image in enumerate(images):
            lungs[row] = torch.from_numpy(self._mask(drawn, row, image))
        return lungs.to(self.device), drawn.pose_names

    def _mask(self, drawn: Segmentation, row: int, image: np.ndarray) -> np.ndarray:
        """One image's lungs in the convention of the experiment, at the network's input size."""
        heart = None if drawn.heart is None else mask_at(drawn.heart[row], image.shape)
        native = native_of(self.segmenter) if self.segmenter else "in"
        mask = in_convention(Areas(mask_at(drawn.lungs[row], image.shape), heart, native), self.heart)
        if mask is None:
            return np.zeros((self.size, self.size), bool)
        size = (self.size, self.size)
        return np.array(Image.fromarray(crop_top(mask, self.top)).resize(size, Image.Resampling.NEAREST))

    def load(self, name: str, content: bytes | None = None) -> LoadedImage | UserError:
        """Decode an image, and what each channel makes of it; on any thread.

        Args:
            name: Its file; with ``content``, what messages call it.
            content: The file's bytes, of an image that is in no file.
        """
        try:
            source = expand(name) if content is None else content
            grey, record = read_picture(source, name, megapixels=self.megapixels)
        except UserError as error:
            return error

        sent = []
        for title, channel in self.channels.items():
            try:
                sent.append(decode(channel(grey), megapixels=self.megapixels))
            except Exception as error:  # one image's, such as one too large for the format: others are not lost
                return UserError(f"{name}: cannot be sent through {title} ({error}); make it smaller, or leave it out")
        inputs = np.stack([resize(crop_top(image, self.top), self.size) for image in (grey, *sent)])
        coloured = record.format not in _GREY_FORMATS and is_coloured(source)
        return LoadedImage(grey, inputs, coloured, record.notes, describe_look(look_at(grey)))


def open_predictor(
    checkpoint: str | Path,
    *,
    channels: Sequence[str] | None = None,
    segmenter: str | None = SHIPPED,
    explain_sent: bool = False,
) -> Predictor:
    """Return the predictor of a checkpoint.

    Args:
        checkpoint: Of ``covidmt train``.
        channels: Each as in :func:`.get_channel`; None: the one that the network's own pairs went through
            (``data.pairs.channel``).
        segmenter: As in :func:`.load_segmenter`; None: lungs are not looked for.
        explain_sent: Explain what the channels deliver too.

    Raises:
        UserError: The checkpoint, a channel or the segmenter cannot be used.
    """
    named_channels = {name: get_channel(name, "--channel") for name in channels or ()}
    lungs = load_segmenter(segmenter) if segmenter else None
    module = load_module(checkpoint)
    if channels is None:
        own = module.experiment.data.pairs.channel
        named_channels = {own: get_channel(own)}
    return Predictor(module, named_channels, lungs, explain_sent=explain_sent)


def is_coloured(source: Path | bytes) -> bool:
    """Return whether a picture file has colours, whatever its format could hold.

    Args:
        source: A path or the file's bytes, which have been read as a picture already.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (8, 8), (90, 90, 90)).save(Path(folder, "grey.png"))
        ...     Image.new("RGB", (8, 8), (40, 120, 200)).save(Path(folder, "blue.png"))
        ...     is_coloured(Path(folder, "grey.png")), is_coloured(Path(folder, "blue.png"))
        (False, True)
    """
    try:
        picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except Image.DecompressionBombError:  # larger than Pillow likes, as data.max_megapixels may allow
        return False
    with picture:
        if picture.mode in _GREY_MODES:  # nothing needs to be decoded
            return False
        picture.draft("RGB", (64, 64))
        colours = np.asarray(picture.convert("RGB").resize((64, 64), Image.Resampling.BOX))
    return float(np.ptp(colours.astype(np.int16), axis=2).mean()) >= COLOURED
