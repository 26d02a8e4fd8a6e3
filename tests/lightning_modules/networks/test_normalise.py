from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torchvision.transforms._presets import ImageClassification

from experiments.models.schema import Model, Normalisation
from lightning_modules.networks.normalise import Normalise, network_normalisation

HALF, IMAGENET = [0.5] * 3, ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def test_every_channel_has_its_own_scale():
    images = torch.full((2, 1, 3, 4), 51, dtype=torch.uint8)  # a fifth of white
    x = Normalise()(images)
    assert x.shape == (2, 3, 3, 4)
    expected = [(0.2 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(x[1, :, 2, 3], torch.tensor(expected))


def test_the_type_is_the_modules_and_nothing_is_saved():
    module = Normalise().to(torch.bfloat16)
    assert module(torch.zeros(1, 1, 2, 2, dtype=torch.uint8)).dtype is torch.bfloat16
    assert module.state_dict() == {}


@pytest.mark.parametrize(
    ("model", "mean", "std"),
    [
        (Model("timm:legacy_xception"), HALF, HALF),
        (Model("timm:tf_efficientnet_lite0", pretrained=False, weights="some.pth"), HALF, HALF),
        (Model("timm:resnet50"), *IMAGENET),
        (Model("resnet50"), *IMAGENET),
        (Model("timm:legacy_xception", pretrained=False), *IMAGENET),  # from scratch any would do
        (Model("covidnet_like_cxr4a", weights="some.pth"), *IMAGENET),
        (Model("timm:legacy_xception", normalisation=Normalisation(HALF, [0.25] * 3)), HALF, [0.25] * 3),
    ],
)
def test_the_networks_own_mean_and_deviation(model, mean, std):
    own = network_normalisation(model)
    assert (own.mean, own.std) == (mean, std)
    white = Normalise(own)(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)).flatten()
    torch.testing.assert_close(white, (1 - torch.tensor(mean)) / torch.tensor(std))


def test_torchvisions_weights_say_theirs(monkeypatch):
    """Of weights that were trained with others."""
    weights = torchvision.models.get_model_weights("resnet18")
    transforms = partial(ImageClassification, crop_size=224, mean=tuple(HALF), std=tuple(HALF))
    other = SimpleNamespace(transforms=transforms)
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: iter([other]) if weights else None)
    assert network_normalisation(Model("resnet18")) == Normalisation(HALF, HALF)
