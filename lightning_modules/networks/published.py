"""Networks that others have published, for ``model.init_from``: of the Hugging Face hub, and torchxrayvision's."""

from __future__ import annotations

import contextlib
import io
import json
import urllib.request
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

import requests
from torch import Tensor

from experiments.errors import UserError, first_line, nearest
from experiments.models.schema import Normalisation
from lightning_modules.networks.weights import read_weights

HUB, TORCHXRAYVISION = "hf-hub:", "torchxrayvision:"
_KEY = "model.init_from"
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_GREY = Normalisation([0.5] * 3, [1 / 2048] * 3)  # torchxrayvision's networks take grey values from -1024 to 1024


class PublishedWeights(NamedTuple):
    """A network's tensors by the names that its publisher has for them.

    Attributes:
        tensors: Name -> tensor.
        normalisation: What its input was normalised by; None: that is not known.
    """

    tensors: dict[str, Tensor]
    normalisation: Normalisation | None


def published_weights(reference: str) -> PublishedWeights:
    """Return published weights, out of this machine's cache or from where they are published.

    Args:
        reference: ``hf-hub:ORGANISATION/NAME``, with ``@REVISION``; or ``torchxrayvision:NAME``, such as
            ``torchxrayvision:densenet121-res224-all``.

    Raises:
        UserError: There is nothing of that name, it is no file of weights, or it can only be had with internet.
    """
    if reference.startswith(TORCHXRAYVISION):
        return _torchxrayvision_weights(reference)
    repository, _, named = reference.removeprefix(HUB).partition("@")
    revision = named or None
    files = (_hub_file(reference, repository, revision, file) for file in _HUB_FILES)
    path = next((file for file in files if file is not None), None)
    if path is None:
        raise UserError(f"{_KEY}: {reference} has neither {' nor '.join(_HUB_FILES)}; give a repository of weights")
    config = _hub_file(reference, repository, revision, "config.json")
    return PublishedWeights(read_weights(str(path), _KEY), _hub_normalisation(config))


def _hub_file(reference: str, repository: str, revision: str | None, file: str) -> Path | None:
    """Return a file of a repository; None: the repository has none of that name."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    try:
        cached = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        if _is_cached(repository, revision):
            return None
        _require_hub(reference, repository)
        return Path(hf_hub_download(repository, file, revision=revision))
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(f"{_KEY}: {reference} cannot be had from the hub: {first_line(error)}") from error


def _is_cached(repository: str, revision: str | None) -> bool:
    """Return whether the weights of a repository are here: then nobody is asked for its other files."""
    from huggingface_hub import try_to_load_from_cache

    cached = (try_to_load_from_cache(repository, file, revision=revision) for file in _HUB_FILES)
    return any(isinstance(path, str) for path in cached)


def _require_hub(reference: str, repository: str) -> None:
    """Refuse at once where there is no internet: the hub's own client tries for minutes."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repository, "config.json")
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
    except HTTPError:
        return  # it answers
    except (OSError, ValueError) as error:
        raise UserError(
            f"{_KEY}: {reference} is not in this machine's cache and the hub cannot be reached ({error}). Run "
            f"`hf download {repository}` on a machine with internet and bring its cache here, or bring its "
            f"{_HUB_FILES[0]} and set {_KEY}=FILE"
        ) from error


def _hub_normalisation(config: Path | None) -> Normalisation | None:
    """Return what timm's configuration says of the input."""
    if config is None:
        return None
    try:
        values = json.loads(config.read_text())
        values = values.get("pretrained_cfg", values)
        mean, std = ([float(value) for value in values[name]] for name in ("mean", "std"))
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return None
    return Normalisation(mean, std) if len(mean) == len(std) == 3 else None


def _torchxrayvision_weights(reference: str) -> PublishedWeights:
    name = reference.removeprefix(TORCHXRAYVISION)
    try:
        from torchxrayvision.models import get_model, model_urls
    except ImportError as error:
        raise UserError(
            f"{_KEY}: {reference}: run `pip install covidmt[torchxrayvision]`, an optional extra ({error})"
        ) from error
    names = [each for each in model_urls if each.startswith(("densenet", "resnet"))]
    if name not in names:
        raise UserError(f"{_KEY}: torchxrayvision has no network {name!r}{nearest(name, names)}")

    file = Path(str(model_urls[name]["weights_url"])).name
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of its download
            network = get_model(name)
    except requests.RequestException as error:
        raise UserError(
            f"{_KEY}: the weights of {reference} are not in ~/.torchxrayvision/models_data and cannot be downloaded "
            f"({type(error).__name__}); bring {file} from torchxrayvision's release v1 there"
        ) from error
    except Exception as error:  # whatever reading a broken file gives
        raise UserError(
            f"{_KEY}: the weights of {reference} in ~/.torchxrayvision/models_data cannot be loaded "
            f"({first_line(error)}); delete {file} there and fetch it again"
        ) from error
    return PublishedWeights(network.state_dict(), _GREY)
