from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from experiments.errors import UserError
from experiments.models.schema import Model
from explain.decision import Decision
from explain.gradcam import gradcam
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.networks.backbones import build_backbone
from lightning_modules.networks.native import build_native_head
from lightning_modules.networks.weights import last_layer
from tests.helpers.tiny_experiment import batch, experiment

PUBLISHED = {  # parameters with 1000 classes, and inputs of the last layer
    "alexnet": (61_100_840, 4096),
    "vgg11": (132_863_336, 4096),
    "vgg19": (143_667_240, 4096),
    "resnet50": (25_557_032, 2048),
    "efficientnet_b0": (5_288_548, 1280),
    "densenet121": (7_978_856, 1024),
    "mobilenet_v3_small": (2_542_856, 1024),
    "squeezenet1_0": (1_248_424, 512),
    "timm:legacy_xception": (22_855_952, 2048),
    "timm:tf_efficientnet_lite0": (4_652_008, 1280),
}


def native(name: str, **changes) -> Model:
    return Model(backbone=name, **{"pretrained": False, "head": "native", **changes})


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network_has_the_published_number_of_parameters(name):
    published, width = PUBLISHED[name]
    with torch.device("meta"):
        backbone = build_backbone(native(name), 64)
        head = build_native_head(native(name), 3, backbone)
    parameters = sum(p.numel() for part in (backbone, head) for p in part.parameters())
    assert parameters == published - (1000 - 3) * (width + 1)


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "densenet121", "mobilenet_v3_small", "squeezenet1_1"])
def test_map_and_head_are_the_published_network(name, tmp_path):
    """Its weights from a file with the classifier: logits of the published forward, but for the new last layer."""
    torch.manual_seed(0)
    published = torchvision.models.get_model(name).eval()
    torch.save(published.state_dict(), tmp_path / "published.pth")
    model = native(name, weights=str(tmp_path / "published.pth"))
    backbone = build_backbone(model, 64).eval()
    head = build_native_head(model, 3, backbone).eval()

    (_, ours), (_, theirs) = last_layer(head.network), last_layer(published)
    ours.load_state_dict({key: tensor[:3] for key, tensor in theirs.state_dict().items()})
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(head(backbone(images)[-1]), published(images)[:, :3])


@pytest.mark.parametrize("name", ["test_resnet", "convnext_atto"])
def test_map_and_head_are_timms_network(name):
    torch.manual_seed(0)
    published = timm.create_model(name, num_classes=3).eval()
    weights = published.state_dict()
    backbone = build_backbone(native(f"timm:{name}"), 64).eval()
    head = build_native_head(native(f"timm:{name}"), 3, backbone).eval()
    for part in (backbone, head):
        part.load_state_dict({key: weights[key.removeprefix("network.")] for key in part.state_dict()})
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(head(backbone(images)[-1]), published(images))


def test_layers_that_the_file_lacks_are_named(tmp_path):
    torch.save(torchvision.models.alexnet().features.state_dict(prefix="features."), tmp_path / "features.pth")
    model = native("alexnet", weights=str(tmp_path / "features.pth"))
    backbone = build_backbone(native("alexnet"), 64)
    with pytest.warns(UserWarning, match=r"no weights of the classifier's classifier\.1, classifier\.4"):
        build_native_head(model, 3, backbone)


def test_grad_cam_needs_no_hook():
    """Pooling, dropout and a linear layer: the class's weights are the channels' (Zhou et al., CVPR 2016)."""
    backbone = build_backbone(native("efficientnet_b0"), 64).eval()
    head = build_native_head(native("efficientnet_b0"), 3, backbone).eval()
    _, layer = last_layer(head.network)
    with torch.no_grad():
        feature = backbone(torch.rand(1, 3, 64, 64))[-1]
    cam = gradcam(feature, head, lambda logits: logits[:, 2])
    expected = torch.einsum("c,nchw->nhw", layer.weight[2].detach(), feature).relu() / feature[0, 0].numel()
    torch.testing.assert_close(cam.map, expected)


@pytest.mark.parametrize("name", ["resnet18", "timm:test_resnet"])
def test_all_tasks_train_with_native_heads(name):
    module = MultiTaskModule(experiment("model.head=native", f"model.backbone={name}"))
    module.training_step(batch(), 0)["loss"].backward()
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)
    logits = module.head("covidx")(module.features(batch().images)[-1])
    assert Decision("COVID-19", 2).probability(logits).shape == (6,)
    assert isinstance(last_layer(module.head("nodule"))[1], nn.Linear)


def test_a_network_without_a_published_classifier():
    backbone = build_backbone(native("covidnet_like_cxr4b"), 64)
    with pytest.raises(UserError, match=r"model\.head.*model\.head=transition"):
        build_native_head(native("covidnet_like_cxr4b"), 3, backbone)
