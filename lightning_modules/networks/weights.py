"""The weights of networks: the hub's cache, a file, an installed package."""

from __future__ import annotations

import importlib.resources
import logging
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from experiments.errors import UserError, nearest
from experiments.files import replace_file, require_stored_archive
from experiments.models.schema import Model
from experiments.paths import expand
from lightning_modules.networks.named import create_named, is_chain

# What a classifier is called in torchvision, timm and the ports of others: no part of a base network.
log = logging.getLogger(__name__)

_CLASSIFIERS = {"fc", "_fc", "classifier", "head", "head_fc", "last_linear"}
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
    network = create_named(model.backbone, pretrained=model.pretrained and model.weights is None, classes=0)
    if is_chain(model.backbone):  # timm leaves it out itself, and a class of the user's own is as it is
        for classifier in _CLASSIFIERS & dict(network.named_children()).keys():
            setattr(network, classifier, nn.Identity())
    if model.weights is not None:
        load_weights(network, model.weights)
    return network


def create_classifier(model: Model, labels: int) -> nn.Module:
    """Return the whole network that ``model.backbone`` names, its last layer a new one of so many classes.

    A classifier's other layers have the weights of ``model.pretrained``; ``model.weights`` is not loaded here.

    Args:
        model: The experiment's ``model`` section.
        labels: Number of classes.

    Raises:
        UserError: As :func:`create_network`, or a network without a classifier.

    Example:
        >>> create_classifier(Model(backbone="resnet18", pretrained=False), labels=3).fc
        Linear(in_features=512, out_features=3, bias=True)
    """
    network = create_named(model.backbone, pretrained=model.pretrained and model.weights is None, classes=labels)
    if not is_chain(model.backbone):
        return network
    name, layer = last_layer(network)
    if isinstance(layer, nn.Linear):
        network.set_submodule(name, nn.Linear(layer.in_features, labels, layer.bias is not None))
    else:  # SqueezeNet's
        new = nn.Conv2d(layer.in_channels, labels, layer.kernel_size, bias=layer.bias is not None)  # ty: ignore[invalid-argument-type]
        network.set_submodule(name, new)
    return network


def last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return the name of the layer that gives a classifier's logits, and the layer."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    return list(layers.items())[-1]


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
    network = create_named(name, pretrained=True)  # with its classifier, which `model.head: native` starts from
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
        log.info("%s: other names than the network's; loaded %d tensors by their order", source, len(weights))
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
    path = find_weights(source, key)
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            if is_zipfile(path):  # else a file of PyTorch before 1.6
                require_stored_archive(path)
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


def find_weights(source: str, key: str = "model.weights") -> Path:
    """Return the file of a weights source.

    Args:
        source: A local file or ``package:<module>/<file>``.
        key: The setting that named the source, for messages.

    Raises:
        UserError: No such file or package.
    """
    path = _package_file(source, key) if source.startswith("package:") else expand(source)
    if not path.is_file():
        raise UserError(f"{key}: no such file: {source}")
    return path


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
