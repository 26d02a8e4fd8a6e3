"""ImageNet weights in this machine's caches; where they are not, whether their hub can be reached.

The hubs' own clients try for minutes where a firewall drops their packets. So a file in the cache is used without
asking, and before a download one short question tells whether there is a hub at all.
"""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from experiments.errors import UserError

if TYPE_CHECKING:
    import timm


def require_torchvision_weights(url: str, name: str) -> None:
    """Return if a file of PyTorch's hub is in its cache or can be downloaded.

    Args:
        url: Where the weights lie.
        name: The network's, as ``model.backbone`` names it, for the message.

    Raises:
        UserError: The file is not in the cache and the hub cannot be reached.
    """
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name).is_file():
        _require_reachable(url, name)


def cached_timm_weights(config: timm.models.PretrainedCfg, name: str) -> dict[str, str]:
    """Return the cached weights of a timm network as an overlay of its configuration, so that the hub is not asked.

    Args:
        config: timm's configuration of the network.
        name: The network's, as ``model.backbone`` names it, for the message.

    Returns:
        ``{"file": path}``; empty where timm has to download the weights or finds them itself.

    Raises:
        UserError: The weights are not in the cache and the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    if config.hf_hub_id:
        for file in (config.hf_hub_filename, "model.safetensors", "pytorch_model.bin"):
            path = try_to_load_from_cache(config.hf_hub_id, file) if file else None
            if isinstance(path, str):
                return {"file": path}
        _require_reachable(hf_hub_url(config.hf_hub_id, "config.json"), name)
    elif isinstance(config.url, str):
        require_torchvision_weights(config.url, name)
    return {}


def _require_reachable(url: str, name: str) -> None:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"model.pretrained: the ImageNet weights of {name} are not in this machine's cache and the hub cannot be "
            f"reached ({error}). Run `covidmt weights fetch {name} DIR` on a machine with internet and set "
            "model.weights=FILE, or start from scratch with model.pretrained=false"
        ) from error
