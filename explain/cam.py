"""Class activation maps by name: our head-only Grad-CAM, every CAM method of pytorch-grad-cam, Guided Grad-CAM.

===================  =================================================================================================
``gradcam``          :func:`explain.gradcam.gradcam`: exact, for little more than an inference. The default.
``guided_gradcam``   Grad-CAM, resized to the input, times guided backpropagation (Springenberg et al., 2015; paper 002,
                     Fig. 6.11); the positive part, at the input's size. Sharp: its region is a few pixels. For networks
                     with ReLU (:mod:`.guided`).
a class of yours     called with (module, task, images, decision, target); returns the map (N, h, w), or a
                     :class:`.GradCam` (docs/extending.md).
a method's name      pytorch-grad-cam's method on the last feature map, or on a layer named: gradients (``gradcam++``,
                     ``layercam``, ``hirescam``, ``xgradcam``, ``shapleycam``, ...), perturbations (``scorecam``,
                     ``ablationcam``: a forward for each channel, so for few images), or the map's own structure
                     (``eigencam``, ``kpcacam``, ``fem``: the same map whatever the decision).
===================  =================================================================================================

The library's maps are taken as its ``get_cam_image`` returns them, and ReLU follows, for the signed ones (``eigencam``)
too: nothing is subtracted, scaled or resized. So its meta-methods and FullGrad, which rescale inside, are not offered.
"""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from experiments.errors import UserError, nearest
from experiments.plugins.choices import Choice
from experiments.plugins.registry import choose_function, points
from experiments.schema import Target
from explain.decision import Decision
from explain.gradcam import GradCam, gradcams, uncached_autocast
from explain.guided import GuidedBackprop, refuse_smooth_activations

if TYPE_CHECKING:
    from pytorch_grad_cam.base_cam import BaseCAM


_KEY = "robustness.engine"


@functools.cache  # imported where it is asked for: the library brings scikit-learn and matplotlib with it
def methods() -> dict[str, type[BaseCAM]]:
    """Return pytorch-grad-cam's methods by engine name."""
    import pytorch_grad_cam
    from pytorch_grad_cam.base_cam import BaseCAM

    return {
        method.__name__.lower().replace("plusplus", "++").replace("_", ""): method
        for _, method in inspect.getmembers(pytorch_grad_cam, inspect.isclass)
        if issubclass(method, BaseCAM) and method.compute_cam_per_layer is BaseCAM.compute_cam_per_layer
    }


def engines() -> list[str]:
    """Return the names of all engines, sorted.

    Example:
        >>> [engine for engine in engines() if engine.startswith("gradcam")]
        ['gradcam', 'gradcam++', 'gradcamelementwise']
    """
    return sorted({*methods(), "guided_gradcam"})


def engine_title(engine: str) -> str:
    """Return the engine's name as people write it.

    Example:
        >>> engine_title("gradcam++"), engine_title("scorecam")
        ('Grad-CAM++', 'ScoreCAM')
    """
    titles = {"gradcam": "Grad-CAM", "guided_gradcam": "Guided Grad-CAM", "gradcam++": "Grad-CAM++"}
    if engine in titles:
        return titles[engine]
    if _is_own(engine):
        return Choice.parse(engine, _KEY).name.rpartition(".")[2]
    return methods()[engine].__name__


def _is_own(engine: str) -> bool:
    """Return whether an engine is a class or function of the user's own, or of another package's entry point."""
    choice = Choice.parse(engine, _KEY)
    return choice.is_class or choice.name in points("engines")


@runtime_checkable
class Explainable(Protocol):
    """What a LightningModule must have so that its predictions can be explained."""

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of (N, 1, S, S) uint8 images; a classification head reads the last one, (N, C, h, w).

        Engines other than ``gradcam`` pass the images as float32 of the same range, 0 to 255.
        """
        ...

    def head(self, task: str) -> nn.Module:
        """Return the task's head: last feature map -> (N, number of labels) logits."""
        ...


class Cam:
    """Explain decisions by the engine named.

    It works inside ``torch.no_grad``, ``torch.inference_mode`` and ``torch.autocast``. After each call, parameters,
    their gradients and ``requires_grad``, every submodule's mode, hooks and random states are as before.

    Args:
        engine: One of :func:`engines`, or a class or function by its path.
        layer: Dotted name of the module, inside the LightningModule, whose output (N, C, h, w) is explained; None: the
            map that the head reads. With one, ``gradcam`` is the library's.

    Raises:
        UserError: No such engine.

    Example:
        A network whose only feature map is the image, and whose logit is that map's mean.

        >>> class Mean(nn.Module):
        ...     def features(self, images):
        ...         return [images.float()]
        ...     def head(self, task):
        ...         return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> image = torch.tensor([[[[4, 0], [0, 8]]]], dtype=torch.uint8)
        >>> cam = Cam("gradcam")(Mean(), "covidx", image, Decision("COVID-19", index=0))
        >>> cam.logits, cam.map  # the channel's weight is 1/4
        (tensor([[3.]]), tensor([[[1., 0.],
                 [0., 2.]]]))
    """

    def __init__(self, engine: str = "gradcam", layer: str | None = None) -> None:
        self._own: Callable[..., Any] | None = None
        if _is_own(engine):
            self._own = choose_function("engines", engine, _KEY)
            if layer is not None:
                raise UserError(f"robustness.layer: is for engines by name; {engine} explains what it was written for")
        elif engine != "gradcam" and engine not in engines():
            raise UserError(f"{_KEY}: no engine {engine!r}{nearest(engine, engines())}")
        self.engine = engine
        self.layer = layer

    def check(self, module: nn.Module) -> None:
        """Check before the first image that the module has what is needed.

        Raises:
            UserError: A method is missing, there is no such layer (with the nearest ones), or ``guided_gradcam`` is to
                explain a network without ReLU.
        """
        if not isinstance(module, Explainable):
            raise UserError(f"PI and OLS: {type(module).__name__} needs the methods features(images) and head(task)")
        layers = [name for name, _ in module.named_modules() if name]
        if self.layer is not None and self.layer not in layers:
            as_deep = [name for name in layers if name.count(".") <= self.layer.count(".")]
            raise UserError(
                f"robustness.layer: {type(module).__name__} has no module {self.layer!r}{nearest(self.layer, as_deep)}"
            )
        if self.engine == "guided_gradcam":
            refuse_smooth_activations(module)

    def __call__(
        self, module: nn.Module, task: str, images: Tensor, decision: Decision, target: Target = Target.decision
    ) -> GradCam:
        """Return the raw maps of one batch, and the logits that they explain; see :meth:`explain`."""
        return self.explain(module, task, images, decision, [target])[target]

    @property
    def reads_last_map(self) -> bool:
        """Whether the engine explains the last feature map and needs no other run of the network for it."""
        return self.engine == "gradcam" and self.layer is None

    def explain(
        self,
        module: nn.Module,
        task: str,
        images: Tensor,
        decision: Decision,
        targets: Sequence[Target],
        feature: Tensor | None = None,
    ) -> dict[Target, GradCam]:
        """Return the raw maps of one batch by the answer that they explain, and the logits.

        ``gradcam`` runs the network and the head once for all targets; the other engines run anew for each.

        Args:
            module: An :class:`Explainable` in eval mode.
            task: Its classification task.
            images: (N, 1, S, S) uint8 on the module's device.
            decision: What is decided by the task's logits.
            targets: Which answers are explained.
            feature: (N, C, h, w) the images' last feature map, where it is known already; else it is computed.

        Returns:
            Maps (N, h, w), of the layer's size or for ``guided_gradcam`` (N, S, S), and logits.

        Raises:
            UserError: The layer gives no (N, C, h, w) tensor or takes no part in the task's prediction, or
                ``guided_gradcam`` on a network without ReLU.
        """
        if self._own is not None:
            return {target: self._by_own(module, task, images, decision, target) for target in targets}
        if self.layer is None and self.engine in ("gradcam", "guided_gradcam"):
            model = cast(Explainable, module)
            if feature is None:
                with torch.no_grad():
                    feature = model.features(images)[-1]
            scores = [partial(decision.score, target=target) for target in targets]
            cams = dict(zip(targets, gradcams(feature, model.head(task), scores), strict=True))
        else:
            cams = {target: self._by_library(module, task, images, decision, target) for target in targets}

        if self.engine != "guided_gradcam":
            return cams
        with _restored(module, images.device):
            return {
                target: cam._replace(map=_guided_map(cam, _Network(module, task), images, decision, target))
                for target, cam in cams.items()
            }

    def _by_own(self, module: nn.Module, task: str, images: Tensor, decision: Decision, target: Target) -> GradCam:
        assert self._own is not None
        with _restored(module, images.device):
            output = self._own(module, task, images, decision, target)
        if not isinstance(output, GradCam):
            with torch.no_grad():
                output = GradCam(output, _Network(module, task)(images).float())
        shape = tuple(output.map.shape) if isinstance(output.map, Tensor) else type(output.map).__name__
        if len(shape) != 3 or shape[0] != len(images):
            raise UserError(f"{_KEY}: {self.engine} gives {shape}; a map is (N, h, w) of {len(images)} images")
        return GradCam(output.map.detach().float().relu(), output.logits.detach())

    def _by_library(self, module: nn.Module, task: str, images: Tensor, decision: Decision, target: Target) -> GradCam:
        with _restored(module, images.device):
            # Score-CAM holds an image for each channel, so it takes one after the other.
            parts = images.split(1 if self.engine == "scorecam" else len(images))
            cams = [self._run_library(_Network(module, task), part, decision, target) for part in parts]
        return GradCam(*(torch.cat(column) for column in zip(*cams, strict=True)))

    def _run_library(self, network: _Network, images: Tensor, decision: Decision, target: Target) -> GradCam:
        layer = network.last if self.layer is None else network.module.get_submodule(self.layer)

        # the library's hooks between our own
        output = _OutputAsFloat(self.layer)
        first = layer.register_forward_hook(output.convert)
        method = methods()["gradcam" if self.engine == "guided_gradcam" else self.engine]
        cam = _keep_raw_map(method, self.layer)(network, [layer])
        last = layer.register_forward_hook(output.convert_back)

        def score(image: int) -> Callable[[Tensor], Tensor]:
            # The answer is that to the image itself; on a perturbed one its score stays the same one.
            return lambda logits: decision.score(logits[None], target, cam.outputs[image : image + 1].detach())[0]

        try:
            with redirect_stderr(io.StringIO()):  # a progress bar for each image
                cam(_float_leaf(images), [score(image) for image in range(len(images))])
        finally:
            cam.activations_and_grads.release()
            first.remove()
            last.remove()
        raw = torch.from_numpy(np.asarray(cam.raw, np.float32)).to(images.device)
        return GradCam(raw.relu_(), cam.outputs.detach().float())


class _Network(nn.Module):
    """Images to a task's logits; ``last`` gives the library the map that the head reads as a layer's output."""

    def __init__(self, module: nn.Module, task: str) -> None:
        super().__init__()
        self.module = module
        self.task = task
        self.last: nn.Module = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        ablated = not isinstance(self.last, nn.Identity)  # AblationCAM's own layer brings the maps
        return self.classify(self.last(images if ablated else self.features(images)))

    def features(self, images: Tensor) -> Tensor:
        return cast(Explainable, self.module).features(images)[-1]

    def classify(self, feature: Tensor) -> Tensor:
        return cast(Explainable, self.module).head(self.task)(feature)


class _OutputAsFloat:
    """Hooks before and after the library's: NumPy has no bfloat16, and a ReLU in place must not reach what is kept."""

    def __init__(self, layer: str | None) -> None:
        self.layer = layer
        self.dtype = torch.float32

    def convert(self, module: nn.Module, _: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise UserError(
                f"robustness.layer: the output of {self.layer} ({type(module).__name__}) is no map (N, C, h, w) but "
                f"{what}; name a layer inside or before it"
            )
        self.dtype = output.dtype
        return output.float()

    def convert_back(self, module: nn.Module, _: Any, output: Tensor) -> Tensor:
        return output.to(self.dtype, copy=True)


def _keep_raw_map(method: Any, name: str | None) -> Any:
    """The library's class, which keeps its raw map of the layer named in ``raw``."""

    class Raw(method):
        raw: np.ndarray

        def get_cam_image(self, images: Tensor, layer: nn.Module, targets: Any, activations: Any, grads: Any, *a: Any):
            if activations is None or (self.uses_gradients and grads is None):
                raise UserError(
                    f"robustness.layer: {name} takes no part in the task's prediction, or only its parts are called; "
                    "name another, or its last part"
                )
            for handle in self.activations_and_grads.handles:
                handle.remove()  # they would keep the maps of every perturbed image
            self.raw = super().get_cam_image(images, layer, targets, activations, grads, *a)
            return self.raw

    return Raw


def _guided_map(cam: GradCam, network: _Network, images: Tensor, decision: Decision, target: Target) -> Tensor:
    """Positive part of Grad-CAM, resized to the images, times guided backpropagation; (N, S, S)."""
    leaf = _float_leaf(images)
    with GuidedBackprop() as guided:
        features = network.features(leaf)
        guided.require_relu(network.module)
        logits = network.classify(features)
    (gradient,) = torch.autograd.grad(decision.score(logits, target, cam.logits).sum(), leaf)
    heat = F.interpolate(cam.map.unsqueeze(1), images.shape[-2:], mode="bilinear", align_corners=False)
    return (heat * gradient).sum(dim=1).relu_()


def _float_leaf(images: Tensor) -> Tensor:
    """The images as float32 that need a gradient; the copy is no inference tensor."""
    return images.to(torch.float32, copy=True).requires_grad_()


@contextmanager
def _restored(module: nn.Module, device: torch.device) -> Generator[None]:
    """Autograd is on inside, but not for parameters; afterwards all is as before, also what the library changes."""
    parts = [(part, part.training, dict(part.named_children())) for part in module.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in module.parameters()]
    with isolate_rng(), torch.inference_mode(False), torch.enable_grad(), uncached_autocast(device):
        try:
            for parameter, _, _ in parameters:
                parameter.requires_grad_(False)
            yield
        finally:
            for part, training, children in parts:
                part.training = training
                for name, child in children.items():  # AblationCAM puts a layer of its own in a child's place
                    if part.get_submodule(name) is not child:
                        part.register_module(name, child)
            for parameter, requires_grad, gradient in parameters:
                parameter.requires_grad_(requires_grad)
                parameter.grad = gradient
