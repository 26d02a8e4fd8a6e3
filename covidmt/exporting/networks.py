"""The networks alone, for programs without covidmt: ONNX, torch.export, safetensors.

A network's input is what `datamodules.images.decode.resize` gives, (N, 1, S, S) uint8 grey; it normalises itself. Its
outputs are the logits of every classification task, the box tasks' codes and objectness, and Grad-CAM's raw map of the
decision, in closed form: none of the formats knows a gradient.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from experiments.errors import UserError
from experiments.load import to_dict
from experiments.schema import Target, TaskKind
from explain.decision import Decision
from lightning_modules.heads import BoxHead, BoxOutput, ClassificationHead
from lightning_modules.lungs.unet import LungUNet
from lightning_modules.multitask import MultiTaskModule

TOLERANCE = 1e-4
HEAT_MAP = "gradcam"  # the output's name


class Difference(NamedTuple):
    """How far an exported network's outputs are from ours.

    Attributes:
        network: ``network`` or ``lungs``.
        output: The output in which it is largest.
        largest: Largest absolute difference.
    """

    network: str
    output: str
    largest: float


class PlainNetwork(nn.Module):
    """A network with its heat map as tensors alone, in the order of `names`.

    Args:
        module: In eval mode.

    Attributes:
        names: The outputs' names.

    Example:
        >>> from experiments.load import SHIPPED, load_experiment
        >>> settings = ["model.backbone=timm:test_resnet", "data.image_size=64", "active_tasks=[covidx,nodule]"]
        >>> module = MultiTaskModule(load_experiment(SHIPPED / "demo.yaml", settings), pretrained=False).eval()
        >>> PlainNetwork(module).names
        ['covidx', 'nodule', 'gradcam']
    """

    def __init__(self, module: MultiTaskModule) -> None:
        super().__init__()
        self.module = module
        robustness = module.experiment.robustness
        self.task = robustness.task
        self.decision = Decision.of(module.experiment.tasks[self.task], robustness)
        self.target = robustness.target
        self.explained = explains(module)

        self.names: list[str] = []
        for name, task in module.tasks.items():
            parts = [name] if not isinstance(task.head, BoxHead) else [f"{name}/deltas", f"{name}/anchors"]
            if isinstance(task.head, BoxHead) and task.head.objects is not None:
                parts.append(f"{name}/objectness")
            self.names += parts
        if self.explained:
            self.names.append(HEAT_MAP)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for (N, 1, S, S) uint8 images."""
        maps = self.module.features(images)
        outputs: list[Tensor] = []
        for name, task in self.module.tasks.items():
            output = task(maps)
            if isinstance(output, BoxOutput):
                outputs += [output.deltas, output.anchors]
                outputs += [] if output.objectness is None else [output.objectness]
                continue
            outputs.append(output)
            if name == self.task and self.explained:
                heat = self._heat_map(maps[-1], output)
        return (*outputs, heat) if self.explained else tuple(outputs)

    def _heat_map(self, feature: Tensor, logits: Tensor) -> Tensor:
        """Grad-CAM's raw map, (N, h, w): the head's derivative written out (:func:`explain.gradcam.gradcam`)."""
        convolution, norm, _, _, _, linear = cast(ClassificationHead, self.module.head(self.task))
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(linear, nn.Linear)
        variance = cast(Tensor, norm.running_var)

        # of the score by the pooled channels, by the convolution's output, by the feature map
        pooled = self._score_gradient(logits) @ linear.weight
        active = norm(convolution(feature)) > 0
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        positions = feature.shape[2] * feature.shape[3]
        inner = active * (pooled * scale / positions)[:, :, None, None]
        gradient = conv_transpose2d(inner, convolution.weight, padding=1)  # as of the head

        weights = gradient.mean(dim=(2, 3), keepdim=True)
        return (weights * feature).sum(dim=1).relu()

    def _score_gradient(self, logits: Tensor) -> Tensor:
        """(N, labels): of :meth:`.Decision.score` by the logits."""
        count = logits.shape[1]
        index = torch.full_like(logits[:, :1], self.decision.index, dtype=torch.int64)
        if self.target is Target.predicted and count > 1:
            index = logits.argmax(dim=1, keepdim=True)
        chosen = (torch.arange(count)[None] == index).to(logits.dtype)
        gradient = chosen
        if self.decision.kind is TaskKind.multiclass:
            others = logits.masked_fill(chosen.bool(), -torch.inf).softmax(dim=1)
            gradient = chosen - others
        if self.target is Target.positive or (self.target is Target.predicted and count > 1):
            return gradient
        return torch.where(self.decision.positive(logits)[:, None], gradient, -gradient)


class PlainLungs(nn.Module):
    """The lung segmenter as tensors alone: logits of lungs (and heart), and of the poses where it tells them."""

    def __init__(self, segmenter: LungUNet) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.names = ["areas"]
        if segmenter.experiment.model.pose:
            self.names.append("poses")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return (N, 1 or 2, S, S) logits, and (N, P) where there are poses, for (N, 1, S, S) uint8 images."""
        areas, poses = self.segmenter(images)
        return (areas,) if poses is None else (areas, poses)


def explains(module: MultiTaskModule) -> bool:
    """Return whether a network's heat map can be written without a gradient: of the standard head, by Grad-CAM."""
    robustness = module.experiment.robustness
    head = module.head(robustness.task)
    standard = isinstance(head, ClassificationHead) and isinstance(head[1], nn.BatchNorm2d)
    return standard and robustness.engine == "gradcam" and robustness.layer is None


def example_images(size: int, count: int = 2) -> Tensor:
    """Return (count, 1, size, size) uint8 images of noise, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)


def export_networks(module: MultiTaskModule, segmenter: LungUNet | None, folder: Path, kind: str) -> list[Difference]:
    """Write the networks, compare each with ours, and describe them in ``export.json``.

    Args:
        module: In eval mode, on the CPU.
        segmenter: The lungs'; None: it is not written.
        folder: Is there.
        kind: Of `FORMATS`.

    Returns:
        The largest difference of each network's outputs.

    Raises:
        UserError: A package is missing, the format cannot hold the network, or an output differs by over 1e-4.
    """
    plain: dict[str, tuple[nn.Module, int]] = {"network": (PlainNetwork(module), module.experiment.data.image_size)}
    if segmenter is not None:
        plain["lungs"] = (PlainLungs(segmenter), segmenter.image_size)

    differences = []
    description: dict[str, object] = {}
    for name, (network, size) in plain.items():
        names = cast(list[str], network.names)
        images = example_images(size)
        with torch.no_grad():
            expected = network(images)
            given = FORMATS[kind](network.eval(), images, folder / name)
        worst = max(
            (
                Difference(name, output, float((ours - theirs).abs().max()))
                for output, ours, theirs in zip(names, expected, given, strict=True)
            ),
            key=lambda difference: difference.largest,
        )
        if not worst.largest <= TOLERANCE:
            raise UserError(
                f"--format {kind}: {worst.output} of the {name} differs from ours by {worst.largest:.2g}, more than "
                f"{TOLERANCE:g}; use another format"
            )
        differences.append(worst)
        description[name] = {
            "input": f"(N, 1, {size}, {size}) uint8, grey, resized antialiased bilinear",
            "outputs": names,
        }
    description["experiment"] = to_dict(module.experiment)
    (folder / "export.json").write_text(json.dumps(description, indent=2) + "\n")
    return differences


def _to_onnx(network: nn.Module, images: Tensor, stem: Path) -> list[Tensor]:
    """Write ONNX, and return what ONNX Runtime makes of the images."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  PyTorch's exporter needs it
    except ImportError as error:
        raise UserError(f"--format onnx: a package is missing ({error}); run `pip install covidmt[onnx]`") from error

    path = stem.with_suffix(".onnx")
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        network,
        (images,),
        path,
        dynamo=True,
        external_data=False,
        input_names=["images"],
        output_names=cast(list[str], network.names),
        dynamic_shapes=({0: batch},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(output) for output in session.run(None, {"images": images.numpy()})]


def _to_torch_export(network: nn.Module, images: Tensor, stem: Path) -> list[Tensor]:
    """Write a program of torch.export, and return what it makes of the images when it is read again."""
    path = stem.with_suffix(".pt2")
    program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")  # of views; the network is on the CPU
        torch.export.save(program, path)
    return list(torch.export.load(path).module()(images))


def _to_safetensors(network: nn.Module, images: Tensor, stem: Path) -> list[Tensor]:
    """Write the weights, and return what our network makes of the images with these weights."""
    from copy import deepcopy

    from safetensors.torch import load_file, save_file

    inner = cast(nn.Module, getattr(network, "module", None) or network.segmenter)
    path = stem.with_suffix(".safetensors")
    save_file({name: value.contiguous() for name, value in inner.state_dict().items()}, path)

    again = deepcopy(network)
    target = cast(nn.Module, getattr(again, "module", None) or again.segmenter)
    for parameter in target.parameters():
        nn.init.zeros_(parameter)
    target.load_state_dict(load_file(path))
    return list(again(images))


FORMATS: Mapping[str, Callable[[nn.Module, Tensor, Path], list[Tensor]]] = {
    "onnx": _to_onnx,
    "torch-export": _to_torch_export,
    "safetensors": _to_safetensors,
}
