"""Networks by name, and where their ImageNet weights come from: the hub's cache, a file, an installed package."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from pickle import UnpicklingError

import torch
import torchvision
from lightning.pytorch.utilities import rank_zero_info
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from experiments.errors import UserError, nearest
from experiments.files import replace_file
from experiments.paths import expand
from experiments.schema import Model
from lightning_modules.networks.covidnet import VARIANTS, build_covidnet
from lightning_modules.networks.hubs import cached_timm_weights, require_torchvision_weights

_TIMM = "timm:"
# What a classifier is called in torchvision, timm and the ports of others: no part of a base network.
_CLASSIFIERS = {"fc", "_fc", "classifier", "head", "head_fc", "last_linear"}
# Networks whose forward is no chain of stages that gives maps.
_NO_MAPS = ["googlenet", "inception*", "maxvit*", "swin*", "vit*"]
_WEIGHT_FILES = (".pth", ".pt", ".safetensors")


def create_network(model: Model) -> nn.Module:
    """Return the network that ``model.backbone`` names, with its weights; torchvision's classifier is left out.

    ``model.weights`` wins over ``model.pretrained``; with neither, the network is freshly initialised. torchvision's
    ImageNet weights are the first published ones (``IMAGENET1K_V1``), those of the paper's time.

    Args:
        model: The experiment's ``model`` section.

    Raises:
        UserError: An unknown name, or weights that are unavailable or do not fit.

    Example:
        >>> network = create_network(Model(backbone="timm:test_resnet", pretrained=False))
        >>> network.conv1[0]
        Conv2d(3, 16, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
    """
    network = _create(model.backbone, pretrained=model.pretrained and model.weights is None)
    if model.weights is not None:
        load_weights(network, model.weights)
    return network


def fetch_weights(name: str, directory: str | Path) -> Path:
    """Write a network's ImageNet weights to ``directory``, for ``model.weights`` on a machine without internet.

    Args:
        name: As ``model.backbone``.
        directory: Made where it does not exist.

    Returns:
        The file that was written.

    Raises:
        UserError: An unknown name, no internet, a folder that cannot be written.
    """
    network = _create(name, pretrained=True)
    path = Path(directory) / f"{name.replace(':', '-').replace('/', '-')}.pth"
    try:
        with replace_file(path) as new:
            torch.save(network.state_dict(), new)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written: {error}") from error
    return path


def load_weights(network: nn.Module, source: str, key: str = "model.weights") -> None:
    """Load a weights file into a network, by the tensors' names or, where the names are others, by their order.

    The order counts when number, shapes and the last parts of the names (weight, bias, running_mean, ...) all agree: a
    port of the same network under other names. A classifier in the file is ignored.

    Args:
        network: The network, changed in place.
        source: A local file (PyTorch or safetensors) or ``package:<module>/<file>``.
        key: The setting that named the source, for messages.

    Raises:
        UserError: The file cannot be read, or holds another network's weights; says what differs.
    """
    expected = {name: t for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    weights = {
        name: tensor
        for name, tensor in read_weights(source, key).items()
        if not name.endswith("num_batches_tracked") and (name in expected or name.split(".")[0] not in _CLASSIFIERS)
    }

    # a port of the same network under other names
    if weights.keys() != expected.keys() and _signature(weights) == _signature(expected):
        rank_zero_info(f"{source}: other names than the network's; loaded {len(weights)} tensors by their order")
        weights = dict(zip(expected, weights.values(), strict=True))

    mismatches = weight_differences(weights, expected)
    if mismatches:
        raise UserError(f"{key}: {source} does not fit the base network: {'; '.join(mismatches)}")
    network.load_state_dict(weights, strict=False)


def read_weights(source: str, key: str = "model.weights") -> dict[str, Tensor]:
    """Return the tensors of a weights file, by name; nothing in the file is executed.

    Args:
        source: A local file (PyTorch or safetensors) or ``package:<module>/<file>``.
        key: The setting that named the source, for messages.

    Raises:
        UserError: No such file or package, or not a file of tensors.
    """
    path = _package_file(source, key) if source.startswith("package:") else expand(source)
    if not path.is_file():
        raise UserError(f"{key}: no such file: {source}")
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler answers garbage with exceptions of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{key}: {source} is not a weights file, or is cut short: {reason}") from error

    # a training's checkpoint wraps them
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = content.items() if isinstance(content, dict) else ()
    weights = {str(name).removeprefix("module."): tensor for name, tensor in tensors if isinstance(tensor, Tensor)}
    if not weights:
        raise UserError(f"{key}: {source} holds no named tensors; save the network's state_dict()")
    return weights


def weight_differences(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """Return how a file's tensors differ from those that a network needs, in words; nothing where they do not.

    Example:
        >>> weights = {"a": torch.zeros(2), "b": torch.zeros(1)}
        >>> weight_differences(weights, {"a": torch.zeros(3), "c": torch.zeros(1)})
        ['it lacks c', 'it has besides b', 'other shapes a (2,) instead of (3,)']
    """
    shapes = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    kinds = {
        "it lacks": [name for name in expected if name not in weights],
        "it has besides": [name for name in weights if name not in expected],
        "other shapes": shapes,
    }
    return [f"{kind} {_first_three(names)}" for kind, names in kinds.items() if names]


def _first_three(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f", ... ({len(names)} in all)" if len(names) > 3 else "")


def _signature(tensors: dict[str, Tensor]) -> list[tuple[str, torch.Size]]:
    return [(name.rpartition(".")[2], tensor.shape) for name, tensor in tensors.items()]


def _package_file(source: str, key: str) -> Path:
    module, _, name = source.removeprefix("package:").partition("/")
    try:
        path = Path(str(importlib.resources.files(module).joinpath(name)))
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(f"{key}: {source}: no Python package {module!r} is installed ({error})") from error
    if name and path.is_file():
        return path

    root = Path(str(importlib.resources.files(module)))
    files = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix in _WEIGHT_FILES]
    raise UserError(f"{key}: package {module!r} has no file {name!r}{nearest(name, files)}")


def _create(name: str, *, pretrained: bool) -> nn.Module:
    if name in VARIANTS:
        return _create_covidnet(name, pretrained)
    create = _create_timm if name.startswith(_TIMM) else _create_torchvision
    try:
        return create(name.removeprefix(_TIMM), pretrained)
    except (OSError, EOFError, RuntimeError, UnpicklingError, SafetensorError) as error:
        hint = f"; if a file in the cache ({torch.hub.get_dir()}) was cut short, delete it" if pretrained else ""
        reason = str(error) or type(error).__name__
        raise UserError(f"model.backbone: {name} cannot be built: {reason}{hint}") from error


def _create_covidnet(name: str, pretrained: bool) -> nn.Module:
    if pretrained:
        raise UserError(
            f"model.pretrained: there are no ImageNet weights of {name}, a re-implementation (docs/covidnet.md); set "
            "model.pretrained=false"
        )
    return build_covidnet(name)


def _create_torchvision(name: str, pretrained: bool) -> nn.Module:
    names = torchvision.models.list_models(module=torchvision.models, exclude=_NO_MAPS)
    if name not in names:
        raise UserError(
            f"model.backbone: no network {name!r} in torchvision{nearest(name, [*names, *VARIANTS])} (timm's are "
            "called timm:<name>)"
        )

    weights = next(iter(torchvision.models.get_model_weights(name))) if pretrained else None
    if weights is not None:
        require_torchvision_weights(weights.url, name)
    network = torchvision.models.get_model(name, weights=weights)
    for classifier in _CLASSIFIERS & dict(network.named_children()).keys():
        setattr(network, classifier, nn.Identity())
    return network


def _create_timm(name: str, pretrained: bool) -> nn.Module:
    import timm  # knows a thousand networks, which takes its time

    if not timm.is_model(name):
        raise UserError(f"model.backbone: no network {name!r} in timm{nearest(name, timm.list_models())}")
    if not pretrained:
        return timm.create_model(name, num_classes=0)

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise UserError(f"model.backbone: timm has no weights for {name!r}; set model.pretrained=false")
    overlay = cached_timm_weights(config, f"{_TIMM}{name}")
    return timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay)
