"""Networks by name, and where their ImageNet weights come from: the hub's cache, a file, an installed package."""

from __future__ import annotations

import importlib.resources
import os
import urllib.request
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
import torchvision
from lightning.pytorch.utilities import rank_zero_info
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

if TYPE_CHECKING:
    import timm

from experiments.errors import UserError, nearest
from experiments.paths import expand
from experiments.schema import Model
from lightning_modules.networks.covidnet import VARIANTS, covidnet

_TIMM = "timm:"
# What a classifier is called in torchvision, timm and the ports of others: no part of a base network.
_CLASSIFIERS = {"fc", "_fc", "classifier", "head", "head_fc", "last_linear"}
# Networks whose forward is no chain of stages that gives maps.
_NO_MAPS = ["googlenet", "inception*", "maxvit*", "swin*", "vit*"]


def create_network(model: Model) -> nn.Module:
    """The network that ``model.backbone`` names, with its weights; torchvision's classifier is left out.

    ``model.weights`` wins over ``model.pretrained``; with neither, the network is freshly initialised. torchvision's
    ImageNet weights are the first published ones (``IMAGENET1K_V1``), those of the paper's time.

    Raises:
        UserError: An unknown name, or weights that cannot be had or do not fit.
    """
    network = _create(model.backbone, pretrained=model.pretrained and model.weights is None)
    if model.weights is not None:
        load_weights(network, model.weights)
    return network


def fetch(name: str, directory: str | Path) -> Path:
    """Write a network's ImageNet weights to ``directory``, for ``model.weights`` on a machine without internet.

    Returns:
        The file that was written.

    Raises:
        UserError: An unknown name, no internet, a folder that cannot be written.
    """
    network = _create(name, pretrained=True)
    path = Path(directory) / f"{name.replace(':', '-').replace('/', '-')}.pth"
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), part)
        os.replace(part, path)
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
    wanted = {name: t for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {
        name: tensor
        for name, tensor in read_weights(source, key).items()
        if not name.endswith("num_batches_tracked") and (name in wanted or name.split(".")[0] not in _CLASSIFIERS)
    }
    if given.keys() != wanted.keys() and _signature(given) == _signature(wanted):
        rank_zero_info(f"{source}: other names than the network's; loaded {len(given)} tensors by their order")
        given = dict(zip(wanted, given.values(), strict=True))
    differences = _differences(given, wanted)
    if differences:
        raise UserError(f"{key}: {source} does not fit the base network: {'; '.join(differences)}")
    network.load_state_dict(given, strict=False)


def read_weights(source: str, key: str = "model.weights") -> dict[str, Tensor]:
    """The tensors of a weights file, by name.

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
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{key}: {source} is no weights file, or is cut short: {reason}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = content.items() if isinstance(content, dict) else ()
    weights = {str(name).removeprefix("module."): tensor for name, tensor in tensors if isinstance(tensor, Tensor)}
    if not weights:
        raise UserError(f"{key}: {source} holds no named tensors; save the network's state_dict()")
    return weights


def _package_file(source: str, key: str) -> Path:
    module, _, name = source.removeprefix("package:").partition("/")
    try:
        path = Path(str(importlib.resources.files(module).joinpath(name)))
    except (ImportError, TypeError, ValueError) as error:
        raise UserError(f"{key}: {source}: no Python package {module!r} is installed ({error})") from error
    if name and path.is_file():
        return path
    root = Path(str(importlib.resources.files(module)))
    files = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.suffix in (".pth", ".pt", ".safetensors")]
    raise UserError(f"{key}: package {module!r} has no file {name!r}{nearest(name, files)}")


def _signature(tensors: dict[str, Tensor]) -> list[tuple[str, torch.Size]]:
    return [(name.rpartition(".")[2], tensor.shape) for name, tensor in tensors.items()]


def _differences(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    def some(names: list[str]) -> str:
        return ", ".join(names[:3]) + (f", ... ({len(names)} in all)" if len(names) > 3 else "")

    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    shapes = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    found = {"it lacks": missing, "it has besides": unexpected, "other shapes": shapes}
    return [f"{what} {some(names)}" for what, names in found.items() if names]


def _create(name: str, *, pretrained: bool) -> nn.Module:
    if name in VARIANTS:
        return _create_covidnet(name, pretrained)
    create = _create_timm if name.startswith(_TIMM) else _create_torchvision
    try:
        return create(name.removeprefix(_TIMM), pretrained)
    except (OSError, EOFError, RuntimeError, UnpicklingError, SafetensorError) as error:
        hint = f"; if a file in the cache ({torch.hub.get_dir()}) was cut short, delete it" if pretrained else ""
        raise UserError(f"model.backbone: {name} cannot be made: {str(error) or type(error).__name__}{hint}") from error


def _create_covidnet(name: str, pretrained: bool) -> nn.Module:
    if pretrained:
        raise UserError(
            f"model.pretrained: there are no ImageNet weights of {name}, a re-implementation (docs/covidnet.md); set "
            "model.pretrained=false"
        )
    return covidnet(name)


def _create_torchvision(name: str, pretrained: bool) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models, exclude=_NO_MAPS)
    if name not in known:
        raise UserError(
            f"model.backbone: no network {name!r} in torchvision{nearest(name, [*known, *VARIANTS])} (timm's are "
            "called timm:<name>)"
        )
    weights = next(iter(torchvision.models.get_model_weights(name))) if pretrained else None
    if weights is not None and not _hub_file(weights.url).is_file():
        _check_reachable(weights.url, name)
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
    return timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=_cached(config, name))


def _cached(config: timm.models.PretrainedCfg, name: str) -> dict[str, str]:
    """The cached file, so that the hub is not asked at all; else nothing, once the hub has answered."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    if config.hf_hub_id:
        for file in (config.hf_hub_filename, "model.safetensors", "pytorch_model.bin"):
            path = try_to_load_from_cache(config.hf_hub_id, file) if file else None
            if isinstance(path, str):
                return {"file": path}
        _check_reachable(hf_hub_url(config.hf_hub_id, "config.json"), f"{_TIMM}{name}")
    elif isinstance(config.url, str) and not _hub_file(config.url).is_file():
        _check_reachable(config.url, f"{_TIMM}{name}")
    return {}


def _hub_file(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name


def _check_reachable(url: str, name: str) -> None:
    """One short question: the hubs' own clients would try for minutes where a firewall drops their packets."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"model.pretrained: the ImageNet weights of {name} are not in this machine's cache and the hub cannot be "
            f"reached ({error}). Run `covidmt weights fetch {name} DIR` on a machine with internet and set "
            "model.weights=FILE, or start from scratch with model.pretrained=false"
        ) from error
