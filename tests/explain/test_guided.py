"""Guided backpropagation: the rule of rectifiers, and what has no such rule."""

from functools import partial

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from experiments.errors import UserError
from explain.cam import Cam
from explain.decision import Decision
from explain.guided import GuidedBackprop, refuse_smooth_activations

X = torch.tensor([-1.0, 2.0, 3.0, 7.0])
OUTER = torch.tensor([1.0, 1.0, -1.0, 1.0])


def gradient(function) -> list[float]:
    leaf = X.clone().requires_grad_()
    with GuidedBackprop():
        y = function(leaf + 0)  # no leaf, for those in place
    return torch.autograd.grad((y * OUTER).sum(), leaf)[0].tolist()


@pytest.mark.parametrize("relu", [F.relu, torch.relu, nn.ReLU(), nn.ReLU(inplace=True), torch.Tensor.relu_])
def test_relu(relu):
    """Only where input and gradient are positive."""
    assert gradient(relu) == [0, 1, 0, 1]


@pytest.mark.parametrize("relu6", [F.relu6, nn.ReLU6(), nn.ReLU6(inplace=True), lambda x: F.hardtanh(x, 0.0, 6.0)])
def test_relu6_stops_above_six_too(relu6):
    assert gradient(relu6) == [0, 1, 0, 0]
    with GuidedBackprop():
        assert torch.equal(relu6(X.clone()), F.relu6(X))


def test_arguments_may_be_named():
    assert gradient(lambda x: F.relu(input=x)) == [0, 1, 0, 1]
    assert gradient(lambda x: torch.relu(input=x)) == [0, 1, 0, 1]
    assert gradient(lambda x: F.hardtanh_(input=x, min_val=0.0, max_val=6.0)) == [0, 1, 0, 0]
    assert gradient(lambda x: F.hardtanh_(x, 0.0)) == [0, 0, 0, 0]
    with GuidedBackprop():
        assert F.hardtanh_(X.clone(), 0.0).tolist() == [0, 1, 1, 1]  # torch's default
    assert gradient(lambda x: F.hardtanh(input=x, min_val=0.0, max_val=6.0)) == [0, 1, 0, 0]
    assert gradient(lambda x: F.hardtanh(x, 0.0, max_val=9.0)) == [0, 1, 0, 1]
    assert gradient(lambda x: F.hardtanh(x, min_val=0.0)) == [0, 0, 0, 0]  # from 1 on it is flat


def test_a_function_without_a_name_is_called():
    assert GuidedBackprop().__torch_function__(partial(max, 1), (), (2,)) == 2


@pytest.mark.parametrize("limits", [{}, {"min_val": -2.0}, {"min_val": 0.5, "max_val": 3.0}])
def test_a_hardtanh_that_is_no_rectifier_is_refused(limits):
    with pytest.raises(UserError, match="through Hardtanh it is plain"), GuidedBackprop():
        F.hardtanh(X, **limits)
    with pytest.raises(UserError, match="through Hardtanh it is plain"), GuidedBackprop():
        F.hardtanh_(X.clone(), **limits)


def test_a_smooth_activation_in_place_is_refused_too():
    with pytest.raises(UserError, match="through elu it is plain"), GuidedBackprop():
        F.elu_(X.clone())


def test_rectifiers_are_counted_and_a_network_without_one_is_named():
    with GuidedBackprop() as mode:
        X.relu()
        F.relu6(X)
    assert mode.relus == 2
    mode.require_relu(nn.Identity())
    with pytest.raises(UserError, match="through what Identity has in place of a ReLU it is plain"):
        GuidedBackprop().require_relu(nn.Identity())


SMOOTH = [
    nn.SiLU(),
    nn.GELU(),
    nn.Hardswish(),
    nn.LeakyReLU(),
    nn.ELU(),
    nn.Mish(),
    nn.PReLU(),
    nn.Softplus(),
    nn.Tanh(),
]


@pytest.mark.parametrize("activation", SMOOTH, ids=lambda activation: type(activation).__name__)
def test_smooth_activations_have_no_such_rule(activation):
    with pytest.raises(UserError, match=f"guided_gradcam needs a network with ReLU.*{type(activation).__name__}"):
        refuse_smooth_activations(nn.Sequential(nn.ReLU(), activation))
    with pytest.raises(UserError, match="guided_gradcam needs a network with ReLU"), GuidedBackprop():
        activation(X)  # as a function, where no module tells


def test_a_gate_beside_relus_is_none():
    refuse_smooth_activations(nn.Sequential(nn.ReLU(), nn.Sigmoid()))
    assert gradient(lambda x: x.relu() * torch.sigmoid(torch.zeros(4))) == [0, 0.5, 0, 0.5]


@pytest.mark.parametrize(
    ("build", "refused"),
    [
        (lambda: torchvision.models.efficientnet_b0(), True),
        (lambda: torchvision.models.convnext_tiny(), True),
        (lambda: torchvision.models.mobilenet_v3_small(), True),
        (lambda: timm.create_model("efficientnet_b0"), True),
        (lambda: timm.create_model("seresnet50"), False),
        (lambda: torchvision.models.resnet18(), False),
        (lambda: torchvision.models.vgg11(), False),
        (lambda: torchvision.models.densenet121(), False),
        (lambda: timm.create_model("tf_efficientnet_lite0"), False),
    ],
)
def test_networks(build, refused):
    with torch.device("meta"):
        network = build()
    if refused:
        with pytest.raises(UserError, match="guided_gradcam"):
            refuse_smooth_activations(network)
    else:
        refuse_smooth_activations(network)


def test_a_network_without_any_relu_is_refused():
    """Its activation is written out, so that no name tells it."""

    class Handmade(nn.Module):
        def features(self, images):
            x = images.float() / 255
            return [x * torch.sigmoid(x)]

        def head(self, task):
            return nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    image = torch.full((1, 1, 8, 8), 9, dtype=torch.uint8)
    with pytest.raises(UserError, match="what Handmade has in place of a ReLU"):
        Cam("guided_gradcam")(Handmade(), "covidx", image, Decision("COVID-19", 0))
