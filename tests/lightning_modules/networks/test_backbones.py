from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from experiments.errors import UserError
from experiments.models.schema import Model
from lightning_modules.networks.backbones import build_backbone


def scratch(name: str, size: int = 64):
    return build_backbone(Model(backbone=name, pretrained=False), size)


@pytest.mark.parametrize(
    ("name", "strides", "channels"),
    [
        ("resnet18", [4, 8, 16, 32], [64, 128, 256, 512]),
        ("resnext50_32x4d", [4, 8, 16, 32], [256, 512, 1024, 2048]),
        ("alexnet", [4, 8, 16], [64, 192, 256]),
        ("densenet121", [4, 8, 16, 32], [256, 512, 1024, 1024]),
        ("mobilenet_v3_small", [4, 8, 16, 32], [16, 24, 48, 576]),
        ("shufflenet_v2_x0_5", [4, 8, 16, 32], [24, 48, 96, 1024]),
        ("timm:tf_efficientnet_lite0", [4, 8, 16, 32], [24, 40, 112, 1280]),
        ("timm:convnext_atto", [4, 8, 16, 32], [40, 80, 160, 320]),
        ("timm:legacy_xception", [4, 8, 16, 32], [128, 256, 728, 2048]),
    ],
)
def test_maps(name, strides, channels):
    backbone = scratch(name)
    maps = backbone(torch.rand(2, 3, 64, 64))
    assert (backbone.strides, backbone.channels) == (strides, channels)
    assert [m.shape[1] for m in maps] == channels
    assert maps[-1].shape[2:] == (backbone.map_size, backbone.map_size)
    maps[-1].sum().backward()  # DDP waits for every parameter that can be trained
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)
    assert all(p.requires_grad for p in backbone.parameters())


def test_last_map_of_resnet_is_layer4():
    torch.manual_seed(0)
    backbone = scratch("resnet18").eval()
    network = torchvision.models.resnet18()
    network.load_state_dict({k.removeprefix("network."): v for k, v in backbone.state_dict().items()}, strict=False)
    network.avgpool, network.fc = nn.Identity(), nn.Identity()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(x)[-1].flatten(1), network.eval()(x))


def test_last_map_of_alexnet_is_the_last_relu():
    backbone = scratch("alexnet").eval()
    with torch.device("meta"):
        network = torchvision.models.alexnet()
    features = {k.replace("network.", "features."): v for k, v in backbone.state_dict().items()}
    assert not network.load_state_dict(features, strict=False, assign=True).unexpected_keys
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        maps = backbone(x)
        assert torch.equal(maps[-1], network.features[:-1](x))
        assert torch.equal(maps[-2], network.features[:5](x))  # what the last pool but one takes in


@pytest.mark.parametrize("name", ["vgg11", "vgg16_bn"])
def test_last_map_of_vgg_is_the_last_relu(name):
    with torch.device("meta"):
        backbone = scratch(name)
    assert isinstance(next(iter(backbone.children()))[-1], nn.ReLU)
    assert (backbone.strides, backbone.channels, backbone.map_size) == ([4, 8, 16], [256, 512, 512], 4)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_050", "densenet121"])
def test_last_map_of_timm_is_forward_features(name):
    torch.manual_seed(0)
    backbone = scratch(f"timm:{name}").eval()
    network = timm.create_model(name, num_classes=0)
    network.load_state_dict({k.removeprefix("network."): v for k, v in backbone.state_dict().items()}, strict=False)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)[-1], network.eval().forward_features(x))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet5", "did you mean 'resnet50'"),
        ("timm:tf_efficientnet_lite", "did you mean 'tf_efficientnet_lite"),
        ("timm:resnet18.no_such_tag", "no_such_tag"),
        ("googlenet", "no network 'googlenet'"),
        ("timm:vit_tiny_patch16_224", "224"),  # other sizes than its own are refused
    ],
)
def test_names_that_cannot_be_used(name, words):
    with pytest.raises(UserError, match=r"model\.backbone") as error:
        scratch(name)
    assert words in str(error.value)


def test_a_network_without_maps():
    with pytest.raises(UserError, match="no feature maps"):
        scratch("timm:vit_tiny_patch16_224", 224)
