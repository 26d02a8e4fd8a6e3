"""The U-Net of segmentation-models-pytorch, and ImageNet weights for its encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import torchvision
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from experiments.errors import UserError, nearest
from experiments.lungs.poses import POSES
from experiments.lungs_schema import LungModel
from experiments.models.schema import Model, Normalisation
from lightning_modules.networks.normalise import network_normalisation
from lightning_modules.networks.weights import create_network, load_weights
from lightning_modules.networks.without import without_wandb

with without_wandb():
    import segmentation_models_pytorch as smp  # imports timm

_OUR_KEY = "model.encoder_weights"
_OTHERWISE = "set model.weights=FILE or model.encoder_weights=null (from scratch)"


def build_unet(model: LungModel) -> smp.Unet:
    """Return a freshly initialised U-Net (paper 001: Lung segmentation with U-Net).

    It draws lungs, and with ``model.heart`` the heart; with ``model.pose`` it returns the logits of the poses too,
    from its encoder's last map.

    Args:
        model: The lung experiment's ``model`` section.

    Raises:
        UserError: An unknown encoder (with the nearest one).

    Example:
        >>> import torch
        >>> unet = build_unet(LungModel(encoder="resnet18", encoder_weights=None, decoder_channels=[16, 8, 8, 4, 4]))
        >>> unet.eval()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 1, 32, 32])
    """
    try:
        return smp.Unet(
            model.encoder,
            encoder_weights=None,
            in_channels=3,
            classes=2 if model.heart else 1,
            decoder_channels=model.decoder_channels,
            aux_params={"classes": len(POSES), "dropout": 0.2} if model.pose else None,
        )
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"model.encoder: segmentation-models-pytorch has no encoder {model.encoder!r}"
            f"{nearest(model.encoder, smp.encoders.get_encoder_names())} (timm's are called tu-<name>)"
        ) from error


def load_encoder_weights(encoder: nn.Module, model: LungModel) -> None:
    """Load the weights that the experiment names into an encoder, or none.

    An encoder is the classification network without its tail, in the same order.

    Args:
        encoder: Of :func:`build_unet`, changed in place.
        model: The lung experiment's ``model`` section.

    Raises:
        UserError: The weights are unavailable or another network's.
    """
    if model.weights is None and model.encoder_weights is None:
        return
    if model.encoder_weights not in (None, "imagenet"):
        raise UserError(f"{_OUR_KEY}: takes imagenet or null, not {model.encoder_weights!r}")

    # the encoder's own weights: from a file, or of a network that torchvision does not have
    backbone = _classification_network(model.encoder)
    if backbone == model.encoder and model.weights is not None:
        return load_weights(encoder, model.weights)
    if backbone == model.encoder and backbone not in torchvision.models.list_models():
        return _load_from_cache(encoder, model.encoder)

    # those of the classification network
    try:
        network = create_network(replace(Model(), backbone=backbone, weights=model.weights))
    except UserError as error:
        raise UserError(_in_our_keys(str(error))) from error
    expected = encoder.state_dict()
    tensors = list(network.state_dict().values())[: len(expected)]
    if [t.shape for t in expected.values()] != [t.shape for t in tensors]:
        raise UserError(f"model.encoder: the weights of {backbone} do not fit; set {_OUR_KEY}=null")
    encoder.load_state_dict(dict(zip(expected, tensors, strict=True)))


def encoder_normalisation(model: LungModel) -> Normalisation:
    """Return what the encoder's input is normalised by: as :func:`.network_normalisation`, of the encoder's weights.

    Args:
        model: The lung experiment's ``model`` section.

    Example:
        >>> encoder_normalisation(LungModel(encoder="tu-tf_efficientnet_lite0")).std
        [0.5, 0.5, 0.5]
    """
    backbone, pretrained = _classification_network(model.encoder), model.encoder_weights is not None
    if pretrained and backbone == model.encoder and backbone not in torchvision.models.list_models():
        config = _cached(model.encoder, "config.json")  # of an encoder that segmentation-models-pytorch alone has
        if config is not None and model.normalisation is None:
            settings = json.loads(Path(config).read_text())
            return Normalisation(settings["mean"], settings["std"])
    return network_normalisation(
        Model(backbone=backbone, pretrained=pretrained, weights=model.weights, normalisation=model.normalisation)
    )


def _classification_network(encoder: str) -> str:
    """The name, as ``model.backbone``, of the classification network that an encoder is the beginning of."""
    timm_name = encoder.removeprefix("tu-")
    return encoder if timm_name == encoder else f"timm:{timm_name}"


def _cached(encoder: str, file: str) -> str | None:
    """The path of a file of segmentation-models-pytorch's own ImageNet weights in the hub's cache."""
    sources = cast("dict[str, dict[str, str]]", smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {}))
    if "imagenet" not in sources:
        return None
    source = sources["imagenet"]
    path = try_to_load_from_cache(source["repo_id"], file, revision=source["revision"])
    return path if isinstance(path, str) else None


def _in_our_keys(message: str) -> str:
    """A message of :func:`.create_network` with the keys of a lung experiment."""
    text = message.replace("model.backbone", "model.encoder")
    return text.replace("model.pretrained=false", f"{_OUR_KEY}=null").replace("model.pretrained", _OUR_KEY)


def _load_from_cache(encoder: nn.Module, name: str) -> None:
    """Load ImageNet weights that segmentation-models-pytorch alone has, from the hub's cache.

    The hub is not asked: its client would try for minutes where there is no internet.
    """
    sources = cast("dict[str, dict[str, str]]", smp.encoders.encoders[name]["pretrained_settings"])
    if "imagenet" not in sources:
        raise UserError(f"{_OUR_KEY}: segmentation-models-pytorch has no ImageNet weights of {name}; {_OTHERWISE}")

    repository, revision = sources["imagenet"]["repo_id"], sources["imagenet"]["revision"]
    path = _cached(name, "model.safetensors")
    if path is None:
        raise UserError(
            f"{_OUR_KEY}: the ImageNet weights of {name} are not in this machine's cache; run `hf download "
            f"{repository} --revision {revision}` where there is internet and bring its cache (HF_HOME), or "
            f"{_OTHERWISE}"
        )
    try:
        encoder.load_state_dict(load_file(path))
    except (KeyError, OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{_OUR_KEY}: {path} cannot be loaded ({error}); delete it and fetch it again") from error
