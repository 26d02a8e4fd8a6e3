from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam import GradCAM
from torch import nn
from torchvision.models import resnet18

from explain.decision import Decision
from explain.gradcam import gradcam, gradcams

DECISION = Decision("COVID-19", 2)


def classification_head(channels, width=16):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 3),
    )


@pytest.fixture
def head():
    torch.manual_seed(0)
    return classification_head(8).eval()


@pytest.fixture
def feature():
    torch.manual_seed(1)
    return torch.rand(3, 8, 4, 4)


def test_equals_pytorch_grad_cam():
    torch.manual_seed(0)
    trunk = nn.Sequential(*list(resnet18(weights=None).children())[:-2])
    model = nn.Sequential(trunk, classification_head(512)).eval()
    images = torch.rand(2, 3, 96, 96)

    class Target(nn.Module):
        def forward(self, logits):
            return DECISION.score(logits[None])[0]

    library = GradCAM(model, [trunk[-1]])
    library(images, [Target(), Target()])
    kept = library.activations_and_grads
    activations, gradients = kept.activations[0].numpy(), kept.gradients[0].numpy()
    expected = torch.from_numpy(library.get_cam_image(images, trunk[-1], [], activations, gradients)).relu()

    with torch.no_grad():
        ours = gradcam(trunk(images), model[1], DECISION.score)
    assert expected.amax(dim=(1, 2)).gt(0).all()
    assert (ours.map - expected).abs().max() <= 1e-4 * expected.max()  # stricter than 1e-4: these maps are small
    torch.testing.assert_close(ours.logits, library.outputs.detach())


def test_hand_computed():
    # score = 2 mean(f_0) - 3 mean(f_1): weights 2/hw and -3/hw
    feature = torch.tensor([[[[1.0, 2.0]], [[1.0, 0.0]]]])
    cam = gradcam(feature, lambda f: f.mean(dim=(2, 3)), lambda z: 2 * z[:, 0] - 3 * z[:, 1])
    assert cam.map.tolist() == [[[0.0, 2.0]]]  # (2*1 - 3*1)/2 < 0 after ReLU; 2*2/2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("bf16", [False, True])
def test_inside_lightnings_evaluation_modes(head, feature, mode, bf16):
    expected = gradcam(feature, head, DECISION.score)
    with mode(), torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        inner = feature.clone()  # under inference_mode an inference tensor
        head(inner)  # leaves casts of the weights in autocast's cache
        cam = gradcam(inner, head, DECISION.score)
    assert cam.map.dtype == cam.logits.dtype == torch.float32
    assert not cam.map.requires_grad
    rtol, atol = (0.1, 0.02 * float(expected.map.max())) if bf16 else (0.0, 0.0)
    torch.testing.assert_close(cam.map, expected.map, rtol=rtol, atol=atol)


def test_disturbs_nothing(head, feature):
    for number, parameter in enumerate(head.parameters()):
        parameter.grad = torch.full_like(parameter, float(number)) if number % 2 else None
    before = {k: v.clone() for k, v in head.state_dict().items()}
    state = torch.get_rng_state()
    with torch.no_grad():
        gradcam(feature, head, DECISION.score)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert not head.training
    assert not feature.requires_grad
    for number, parameter in enumerate(head.parameters()):
        assert (parameter.grad == number).all() if number % 2 else parameter.grad is None
    for key, value in head.state_dict().items():
        assert torch.equal(value, before[key])


def test_frozen_head_and_each_image_for_itself(head, feature):
    together = gradcam(feature, head, DECISION.score).map
    head.requires_grad_(False)
    alone = torch.cat([gradcam(image[None], head, DECISION.score).map for image in feature])
    torch.testing.assert_close(together, alone)


@given(
    kernel=st.tuples(*[st.integers(1, 3)] * 2),
    stride=st.integers(1, 2),
    padding=st.one_of(st.integers(0, 2), st.sampled_from(["same", "valid"])),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    skip=st.booleans(),
    is_sequence=st.booleans(),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_any_first_convolution(kernel, stride, padding, dilation, groups, bias, dtype, skip, is_sequence):
    """The weights are autograd's own, whatever the head begins with and however often it reads the map."""
    torch.manual_seed(0)
    stride = 1 if padding == "same" else stride
    conv = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias).to(dtype)
    twin, linear = nn.Conv2d(4, 6, 1).to(dtype), nn.Linear(6, 3).to(dtype)
    feature = torch.randn(2, 4, 6, 5).to(dtype)

    def head(f):
        z = (conv(f).tanh() ** 2).mean(dim=(2, 3))
        if skip:  # the map is read three times, once by no convolution
            z = z + twin(f).relu().mean(dim=(2, 3)) + f.sigmoid().mean(dim=(2, 3)).repeat(1, 2)[:, :6]
        return linear(z)

    if is_sequence:  # its convolution's backward is left out
        head = nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)

    leaf = feature.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(DECISION.score(head(leaf)).sum(), leaf)
    expected = (gradient.float().mean(dim=(2, 3), keepdim=True) * feature.float()).sum(dim=1).relu()
    tolerance = (1e-5 if dtype is torch.float32 else 0.03) * float(expected.max())
    torch.testing.assert_close(gradcam(feature, head, DECISION.score).map, expected, rtol=0, atol=tolerance)


def test_a_heads_parameters_get_their_gradient_elsewhere(head, feature):
    gradcam(feature, head, DECISION.score)
    head(feature).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_head_may_begin_in_place(dtype: torch.dtype):
    head = nn.Sequential(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(dtype)
    feature = torch.tensor([[[[-1.0, 2.0]], [[1.0, 0.0]]]], dtype=dtype)
    found = gradcam(feature, head, lambda logits: logits[:, 0])
    assert found.logits.tolist() == [[1, 0.5]]
    assert found.map.tolist() == [[[0, 0.5]]]  # a weight of 1/4, of the sum over the two cells, times the map
    assert feature.tolist() == [[[[-1, 2]], [[1, 0]]]]


def test_several_scores_are_those_one_by_one():
    torch.manual_seed(0)
    feature, head = torch.rand(2, 4, 3, 3), nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU(inplace=True), nn.Flatten())
    scores = [lambda logits, i=i: logits[:, i] for i in range(3)]
    together = gradcams(feature, head, scores)
    for found, score in zip(together, scores, strict=True):
        alone = gradcam(feature, head, score)
        assert torch.equal(found.map, alone.map)
        assert torch.equal(found.logits, alone.logits)
