"""Networks by name: torchvision's, timm's, and whatever an installed package or a module of the user's own has."""

from __future__ import annotations

from functools import partial
from pickle import UnpicklingError

import torch
import torchvision
from safetensors import SafetensorError
from torch import nn

from experiments.errors import UserError, nearest
from experiments.plugins.choices import Choice
from experiments.plugins.registry import choose, find, points
from lightning_modules.networks.covidnet import VARIANTS
from lightning_modules.networks.hubs import cached_timm_weights, require_torchvision_weights
from lightning_modules.networks.without import without_wandb

_KEY = "model.backbone"
_FAMILIES = ("torchvision", "timm")  # entry points that take a network's name
# Networks whose forward is no chain of stages that gives maps.
_NO_MAPS = ["googlenet", "inception*", "maxvit*", "swin*", "vit*"]


def create_named(text: str, *, pretrained: bool, classes: int | None = None) -> nn.Module:
    """Return the whole network that ``model.backbone`` names.

    ``<family>:<name>`` is of a family (timm's), a plain name is that of an entry point, else one of torchvision's.

    Args:
        text: The setting.
        pretrained: Load its published weights. A class of the user's own gets it if it has such an argument.
        classes: Of timm's networks, so many classes; None: as published.

    Raises:
        UserError: There is no such network, or its weights are unavailable.

    Example:
        >>> create_named("resnet18", pretrained=False).fc
        Linear(in_features=512, out_features=1000, bias=True)
    """
    name = Choice.parse(text, _KEY).name
    family, colon, rest = name.partition(":")
    if not colon and (is_own(text) or name in VARIANTS):
        network = choose("backbones", text, _KEY, pretrained=pretrained)
        if not isinstance(network, nn.Module):
            raise UserError(f"{_KEY}: {text} gives a {type(network).__name__}; a network is a torch.nn.Module")
        return network

    create = find("backbones", family, _KEY) if colon else find("backbones", "torchvision", _KEY)
    try:
        return create(rest if colon else name, pretrained=pretrained, classes=classes)
    except (OSError, EOFError, RuntimeError, UnpicklingError, SafetensorError) as error:
        hint = f"; if a file in the cache ({torch.hub.get_dir()}) was cut short, delete it" if pretrained else ""
        reason = str(error) or type(error).__name__
        raise UserError(f"{_KEY}: {name} cannot be built: {reason}{hint}") from error


def is_own(text: str) -> bool:
    """Return whether a network is of the user's own or of another package: its forward gives maps.

    Example:
        >>> is_own("mynets.Net(width=8)"), is_own("resnet50"), is_own("timm:resnet50")
        (True, False, False)
    """
    choice = Choice.parse(text, _KEY)
    return choice.is_class or (choice.name in points("backbones") and choice.name not in (*_FAMILIES, *VARIANTS))


def is_chain(text: str) -> bool:
    """Return whether a network is a chain of stages, as torchvision's and the COVID-Nets are.

    Example:
        >>> is_chain("resnet50"), is_chain("timm:resnet50"), is_chain("mynets.Net")
        (True, False, False)
    """
    return ":" not in text and not is_own(text)


def torchvision_network(name: str, *, pretrained: bool, classes: int | None = None) -> nn.Module:
    """Return a network of torchvision as published, so with the published number of classes."""
    names = torchvision.models.list_models(module=torchvision.models, exclude=_NO_MAPS)
    if name not in names:
        raise UserError(
            f"{_KEY}: no network {name!r} in torchvision{nearest(name, [*names, *VARIANTS])} (timm's are "
            "called timm:<name>, one of your own by its path, such as mymodule.MyNet)"
        )

    weights = next(iter(torchvision.models.get_model_weights(name))) if pretrained else None
    if weights is not None:
        require_torchvision_weights(weights.url, name)
    return torchvision.models.get_model(name, weights=weights)


def timm_network(name: str, *, pretrained: bool, classes: int | None = None) -> nn.Module:
    """Return a network of timm with so many classes; None: as published."""
    with without_wandb():
        import timm  # knows a thousand networks, which takes its time

    if not timm.is_model(name):
        raise UserError(f"{_KEY}: no network {name!r} in timm{nearest(name, timm.list_models())}")
    create = partial(timm.create_model, name)
    if classes is not None:
        create = partial(create, num_classes=classes)
    if not pretrained:
        return create()

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise UserError(f"model.backbone: timm has no weights for {name!r}; set model.pretrained=false")
    overlay = cached_timm_weights(config, f"timm:{name}")
    return create(pretrained=True, pretrained_cfg_overlay=overlay)
