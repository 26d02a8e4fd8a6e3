import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, GuidedBackpropReLUModel
from torch import nn
from torch.nn import functional as F

from experiments.errors import UserError
from experiments.schema import Experiment, Target, Task
from explain.cam import Cam, engine_title, engines, methods
from explain.decision import Decision
from explain.gradcam import GradCam
from explain.guided import GuidedBackprop
from lightning_modules.multitask import MultiTaskModule

DECISION = Decision("COVID-19", 2)
SIZE = 32


class Net(nn.Module):
    """A small network with a ReLU in place, a head, and a head of another task."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.trunk = nn.Sequential(
                nn.Conv2d(1, 6, 3, 2, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(0.2),
                nn.Conv2d(6, 8, 3, 2, padding=1), nn.ReLU(inplace=True),
            )  # fmt: skip
            head = [nn.Conv2d(8, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)]
            self.heads = nn.ModuleDict({"covidx": nn.Sequential(*head), "other": nn.Sequential(nn.Conv2d(8, 1, 1))})
            nn.init.normal_(head[-1].weight)
        self.eval()

    def features(self, images):
        return [self.trunk(images.to(self.trunk[0].weight.dtype) / 255)]

    def head(self, task):
        return self.heads[task]


@pytest.fixture
def net():
    return Net()


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (3, 1, SIZE, SIZE), generator=rng, dtype=torch.uint8)


def logits_of(net, images):
    with torch.no_grad():
        return net.head("covidx")(net.features(images)[-1]).float()


def state_of(net):
    return (
        [(part, part.training, list(part._modules.items()), dict(part._forward_hooks), dict(part._forward_pre_hooks))
         for part in net.modules()],
        [(parameter.requires_grad, parameter.grad) for parameter in net.parameters()],
        torch.get_rng_state().tolist(), str(np.random.get_state(legacy=False)), random.getstate(),
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
    )  # fmt: skip


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("layer", [None, "trunk.4"])
def test_every_engine_gives_raw_maps_and_disturbs_nothing(net, images, engine, layer):
    for number, parameter in enumerate(net.parameters()):
        parameter.grad = torch.full_like(parameter, float(number)) if number % 2 else None
    net.trunk[0].requires_grad_(False)
    net.trunk[4].register_forward_hook(lambda *_: None)
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    net.heads["other"].train()  # any part's mode comes back
    before = state_of(net)
    for mode in (nullcontext, torch.no_grad, torch.inference_mode):
        with mode():
            cam = Cam(engine, layer)(net, "covidx", images, DECISION)
            again = Cam(engine, layer)(net, "covidx", images, DECISION)
        assert cam.map.shape == ((3, SIZE, SIZE) if engine == "guided_gradcam" else (3, 8, 8))
        assert cam.map.dtype == cam.logits.dtype == torch.float32
        assert cam.map.isfinite().all()
        assert (cam.map >= 0).all()
        assert cam.map.any()
        assert not cam.map.requires_grad
        assert not cam.logits.requires_grad
        torch.testing.assert_close(cam.map, again.map)
        torch.testing.assert_close(cam.logits, logits_of(net, images))
    assert state_of(net) == before
    for now, old in zip(net.parameters(), gradients, strict=True):
        assert now.grad is None if old is None else torch.equal(now.grad, old)
    assert all(torch.equal(value, weights[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("layer", [None, "trunk.4"])
def test_bfloat16_autocast(net, images, engine, layer):
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = logits_of(net, images)
        cam = Cam(engine, layer)(net, "covidx", images, DECISION)
    assert torch.equal(cam.logits, expected)  # the very predictions that PI is made from
    assert cam.map.dtype == torch.float32
    assert cam.map.isfinite().all()
    assert cam.map.any()


@pytest.mark.parametrize("engine", sorted(methods()))
def test_bfloat16_weights(net, images, engine):
    net.bfloat16()
    cam = Cam(engine, "trunk.4")(net, "covidx", images, DECISION)
    assert cam.map.isfinite().all()
    assert torch.equal(cam.logits, logits_of(net, images))


class Whole(nn.Module):
    """A module as pytorch-grad-cam takes it."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, images):
        return self.module.head("covidx")(self.module.features(images)[-1])


LAST = {
    "resnet18": "backbone.network.layer4",
    "vgg11": "backbone.network.19",
    "timm:mobilenetv3_small_050": "backbone.network.blocks.5",
}


@pytest.mark.parametrize("backbone", LAST)
@pytest.mark.parametrize("target", list(Target))
def test_our_gradcam_is_the_librarys(backbone, target):
    experiment = Experiment(name="x", tasks={"covidx": Task("covidx", "s", labels=["normal", "pneumonia", "COVID-19"])})
    experiment.model.backbone, experiment.model.pretrained = backbone, False
    experiment.data.image_size = 64
    torch.manual_seed(1)
    module = MultiTaskModule(experiment).eval()
    images = torch.randint(0, 256, (6, 1, 64, 64), dtype=torch.uint8)
    linear = module.head("covidx")[-1]
    nn.init.normal_(linear.weight)
    if not Cam()(module, "covidx", images, DECISION, Target.positive).map.any():
        linear.weight.data.neg_()  # maps of random weights tend to have one sign everywhere
    linear.bias.data.sub_(logits_of(module, images).median(dim=0).values)  # decisions of both kinds
    positive = DECISION.positive(logits_of(module, images))
    assert positive.any()
    assert not positive.all()

    ours = Cam()(module, "covidx", images, DECISION, target)
    named = Cam("gradcam", LAST[backbone])(module, "covidx", images, DECISION, target)
    layer = module.get_submodule(LAST[backbone])
    with GradCAM(Whole(module), [layer]) as library:
        library(images.float(), [lambda z: DECISION.score(z[None], target)[0]] * 6)
        kept = library.activations_and_grads
        raw = library.get_cam_image(images, layer, [], kept.activations[0].numpy(), kept.gradients[0].numpy())
    expected = torch.from_numpy(raw).relu()
    assert expected.amax(dim=(1, 2)).gt(0).any()
    for cam in (ours, named):
        assert (cam.map - expected).abs().max() <= 1e-4 * expected.max()  # stricter than 1e-4
        torch.testing.assert_close(cam.logits, library.outputs.detach())


@pytest.mark.parametrize("engine", ["eigencam", "layercam", "gradcam++"])
def test_maps_are_raw(net, images, engine):
    """The library's own formulas, without its scaling."""
    feature = net.features(images)[-1].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(DECISION.score(net.head("covidx")(feature)).sum(), feature)
    f, g = feature.detach(), gradient
    if engine == "layercam":
        expected = (g.relu() * f).sum(dim=1)
    elif engine == "gradcam++":
        alpha = g**2 / (2 * g**2 + f.sum(dim=(2, 3), keepdim=True) * g**3 + 1e-6)
        expected = ((g.relu() * alpha * (g != 0)).sum(dim=(2, 3), keepdim=True) * f).sum(dim=1)
    else:
        columns = f.flatten(2).transpose(1, 2)
        columns = columns - columns.mean(dim=1, keepdim=True)
        axes = np.stack([np.linalg.svd(one.numpy())[2][0] for one in columns])
        expected = (columns @ torch.from_numpy(axes)[:, :, None]).view(3, 8, 8)
    torch.testing.assert_close(Cam(engine)(net, "covidx", images, DECISION).map, expected.relu())


def test_a_perturbed_image_is_scored_by_the_decision_on_the_image_itself(net, images):
    """Score-CAM's weights: the softmax of the margin, of fixed sign, under each channel's mask."""
    feature = net.features(images)[-1].detach()
    masks = F.interpolate(feature, (SIZE, SIZE), mode="bilinear", align_corners=True)
    low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    masks = (masks - low) / (high - low + 1e-8)
    nn.init.normal_(net.heads["covidx"][-1].weight, std=30)
    margins = torch.stack([logits_of(net, images.float() * masks[:, [c]])[:, 2] for c in range(8)], dim=1)
    own = logits_of(net, images)
    net.heads["covidx"][-1].bias.data[2] -= (shift := own[:, 2].median())
    margins -= shift
    signs = torch.where(own[:, 2] >= shift, 1.0, -1.0)
    assert (margins.sign() != signs[:, None]).any(), "the example should have a decision that a mask changes"
    weights = (signs[:, None] * margins).softmax(dim=1)
    expected = (weights[:, :, None, None] * feature).sum(dim=1).relu()
    torch.testing.assert_close(Cam("scorecam")(net, "covidx", images, DECISION).map, expected)


def test_guided_gradcam_by_hand():
    """z = 4 mean(relu(x)) - 4 mean(relu(-x)), x = image - 100: the ReLU rule can be followed."""

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.expand, self.mix = nn.Conv2d(1, 2, 1, bias=False), nn.Linear(2, 3, bias=False)
            self.expand.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
            self.mix.weight.data = torch.tensor([[0.0, 0.0], [0.0, 0.0], [4.0, -4.0]])

        def features(self, images):
            return [F.relu(self.expand(images.float() - 100))]  # a function, no module

        def head(self, task):
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.mix)

    images = torch.tensor([[[[101, 90], [100, 103]]]], dtype=torch.uint8)  # x = 1, -10, 0, 3
    cam = Cam("guided_gradcam")(Line(), "covidx", images, DECISION, Target.positive)
    # dz/df = 1 and -1 everywhere: Grad-CAM = relu(f0 - f1) = 1, 0, 0, 3. Guided: the second channel's negative gradient
    # stops at the ReLU, the first's passes where x > 0.
    assert cam.map.tolist() == [[[1.0, 0.0], [0.0, 3.0]]]
    cam = Cam("guided_gradcam")(Line(), "covidx", images, DECISION)  # mean(f0) - mean(f1) < 0: a negative decision
    # Grad-CAM = relu(f1 - f0) = 0, 10, 0, 0; guided: only the second channel's gradient, d(-x) = -1: darker is more
    # evidence, brighter is none.
    assert not cam.map.any()


def test_guided_gradients_are_the_librarys(net, images):
    leaf = images.float().requires_grad_()
    with GuidedBackprop():
        logits = net.head("covidx")(net.features(leaf)[-1])
    (ours,) = torch.autograd.grad(logits[:, 2].sum(), leaf)
    library = GuidedBackpropReLUModel(Whole(net))
    for image, gradient in zip(images, ours, strict=True):
        expected = library(image[None].float(), target_category=2)
        torch.testing.assert_close(gradient, torch.from_numpy(expected).permute(2, 0, 1))


def test_guided_gradcam_is_the_product(net, images):
    cam = Cam("gradcam", "trunk.2")(net, "covidx", images, DECISION, Target.positive).map
    leaf = images.float().requires_grad_()
    with GuidedBackprop():
        (gradient,) = torch.autograd.grad(net.head("covidx")(net.features(leaf)[-1])[:, 2].sum(), leaf)
    heat = F.interpolate(cam[:, None], (SIZE, SIZE), mode="bilinear")
    guided = Cam("guided_gradcam", "trunk.2")(net, "covidx", images, DECISION, Target.positive).map
    torch.testing.assert_close(guided, (heat * gradient)[:, 0].relu())


def test_a_layer_before_a_relu_in_place_keeps_its_own_output(net, images):
    cam = Cam("gradcam", "trunk.4")(net, "covidx", images, DECISION, Target.positive)  # a convolution
    feature = net.trunk[:4](images.float() / 255)
    output = net.trunk[4](feature).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.head("covidx")(output.relu())[:, 2].sum(), output)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * output.detach()).sum(dim=1).relu()
    torch.testing.assert_close(cam.map, expected)


def brightness(module, task, images, decision, target):
    """An engine of one's own: what it is asked for, as a map of one row."""
    assert torch.is_grad_enabled()
    assert not any(parameter.requires_grad for parameter in module.parameters())
    torch.rand(1)
    numbers = [type(module).__name__ == "Net", task == "covidx", decision.index, list(Target).index(target)]
    return torch.stack([images.float().mean(dim=(1, 2, 3)), *torch.tensor(numbers).expand(len(images), 4).T], 1)[
        :, None
    ]


def answered(module, task, images, decision, target):
    """One that says which logits it explains, and has negative heat."""
    return GradCam(torch.tensor([[[-1.0, 2.0]]], dtype=torch.float64), torch.ones(1, 3, requires_grad=True))


def test_an_engine_of_ones_own_is_asked_for_each_target(net, images):
    before = state_of(net)
    cam = Cam("tests.explain.test_cam.brightness")
    cam.check(net)
    found = cam.explain(net, "covidx", images, DECISION, list(Target))
    assert state_of(net) == before
    for number, target in enumerate(Target):
        assert found[target].map[:, 0, 1:].tolist() == [[1, 1, 2, number]] * 3
        torch.testing.assert_close(found[target].map[:, 0, 0], images.float().mean(dim=(1, 2, 3)))
        assert torch.equal(found[target].logits, logits_of(net, images))


def test_an_engine_of_ones_own_may_give_logits(net, images):
    found = Cam("tests.explain.test_cam.answered")(net, "covidx", images[:1], DECISION)
    assert (found.map.dtype, found.map.tolist()) == (torch.float32, [[[0, 2]]])
    assert found.logits.tolist() == [[1, 1, 1]]
    assert not found.logits.requires_grad


def test_an_engine_of_ones_own_that_gives_no_map_is_named(net, images):
    message = r"^robustness\.engine: tests\.explain\.test_cam\.answered gives \(1, 1, 2\); a map is .* of 3 images$"
    with pytest.raises(UserError, match=message):
        Cam("tests.explain.test_cam.answered")(net, "covidx", images, DECISION)
    with pytest.raises(UserError, match=r"^robustness\.layer: is for engines by name; tests\.explain.*\.answered expl"):
        Cam("tests.explain.test_cam.answered", "trunk.4")


def test_engines_have_the_names_that_people_write():
    names = ["gradcam", "guided_gradcam", "gradcam++", "eigencam", "tests.explain.test_cam.brightness"]
    titles = ["Grad-CAM", "Guided Grad-CAM", "Grad-CAM++", "EigenCAM", "brightness"]
    assert [engine_title(name) for name in names] == titles


def test_scorecam_takes_one_image_after_the_other(net, images):
    """It runs the network on an image, then on its eight channels' masks."""
    sizes = []
    net.trunk.register_forward_hook(lambda module, given, output: sizes.append(len(given[0])))
    Cam("scorecam")(net, "covidx", images, DECISION)
    assert sizes == [1, 8] * 3


@pytest.mark.parametrize(("engine", "meant"), [("gradcam+++", "gradcam++"), ("eigen_cam", "eigencam"), ("Guided", "")])
def test_unknown_engine(engine, meant):
    with pytest.raises(UserError, match=f"robustness.engine: no engine '{engine.replace('+', '.')}'.*{meant}"):
        Cam(engine)


def test_wrong_layers(net, images):
    with pytest.raises(UserError, match=r"robustness\.layer: Net has no module 'trunk\.44'; did you mean 'trunk\.4'"):
        Cam(layer="trunk.44").check(net)
    with pytest.raises(UserError, match="known: heads, trunk"):
        Cam(layer="zzz").check(net)
    with pytest.raises(UserError, match=r"output of heads\.covidx \(Sequential\) is no map .* shape \(3, 3\)"):
        Cam(layer="heads.covidx")(net, "covidx", images, DECISION)
    before = state_of(net)
    for engine in ("eigencam", "gradcam"):
        with pytest.raises(UserError, match="takes no part"):
            Cam(engine, "heads.other")(net, "covidx", images, DECISION)
    assert state_of(net) == before
    with pytest.raises(UserError, match="needs the methods"):
        Cam().check(nn.Identity())


@pytest.mark.parametrize("engine", ["gradcam", "hirescam", "scorecam", "guided_gradcam"])
def test_all_targets_at_once_are_those_one_by_one(net, images, engine):
    cam = Cam(engine)
    together = cam.explain(net, "covidx", images, DECISION, list(Target))
    for target, found in together.items():
        alone = cam(net, "covidx", images, DECISION, target)
        torch.testing.assert_close(found.map, alone.map)
        torch.testing.assert_close(found.logits, alone.logits)


def test_all_targets_take_one_forward(net, images):
    """Of network and head."""
    calls = []
    for part in (net.trunk, net.heads["covidx"][0]):
        part.register_forward_hook(lambda *_, part=part: calls.append(part))
    Cam().explain(net, "covidx", images, DECISION, list(Target))
    assert len(calls) == 2


@pytest.mark.parametrize("engine", ["gradcam", "scorecam"])
def test_the_predicted_class_is_explained(net, images, engine):
    linear = net.heads["covidx"][-1]
    nn.init.normal_(linear.weight, std=30, generator=torch.Generator().manual_seed(1))
    linear.bias.data -= logits_of(net, images).mean(dim=0)
    top = logits_of(net, images).argmax(dim=1)
    assert len(top.unique()) > 1, "the example should not answer one class alone"
    found = Cam(engine)(net, "covidx", images, DECISION, Target.predicted).map
    for image, index, map_ in zip(images, top.tolist(), found, strict=True):
        of_class = Cam(engine)(net, "covidx", image[None], Decision("it", index), Target.positive).map[0]
        torch.testing.assert_close(map_, of_class)


def test_guided_gradcam_of_a_network_without_relu_is_refused_before_the_first_image(net):
    net.trunk[2] = nn.SiLU()
    with pytest.raises(UserError, match=r"robustness\.engine: guided_gradcam needs a network with ReLU.*SiLU"):
        Cam("guided_gradcam").check(net)
    Cam("gradcam").check(net)


def test_ablation_cam_computes_the_maps_of_no_ablated_channel_anew(net, images):
    seen = []
    net.trunk[0].register_forward_hook(lambda *_: seen.append(1))
    Cam("ablationcam")(net, "covidx", images, DECISION)
    assert len(seen) == 2  # for the answer, and for the maps of which the channels are taken
