import math

import numpy as np
import pytest
import torch
from opacus.accountants import PRVAccountant, RDPAccountant
from torch import nn
from torchvision.ops import StochasticDepth

from experiments.batch import TaskBatch
from experiments.errors import UserError
from experiments.schema import Accountant, Entropy, Privacy, PrivacyUnit
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.privacy import PerImage, PrivateTraining, by_patient, group_epsilon, prepare_network
from tests.helpers.tiny_experiment import covidx_batch, experiment


def module(backbone: str = "timm:test_resnet") -> MultiTaskModule:
    torch.manual_seed(0)
    return MultiTaskModule(experiment("active_tasks=[covidx]", "model.norm=group", f"model.backbone={backbone}"))


class Affine(nn.Module):
    """A network of two weights and the loss ``w . x``: an image's gradient is the image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))


def stepped(gradients: list[list[float]], *, noise: float = 0.0, clip: float = 1.0, expected: int = 4) -> torch.Tensor:
    """The weights after a step of SGD with learning rate 1."""
    net = Affine()
    settings = Privacy(noise_multiplier=noise or 1e-9, max_grad_norm=clip, accountant=Accountant.rdp)
    private = PrivateTraining(settings, np.arange(100), expected, 1)
    optimizer = private.optimizer(torch.optim.SGD(net.parameters(), lr=1.0))
    net.weight.grad_sample = torch.tensor(gradients).reshape(-1, 2)
    optimizer.step()
    return net.weight.detach()


def test_every_image_is_clipped_for_itself():
    """Norms 5, 0.5 and 1 under a clip of 1: (3, 4) / 5 + (0, 0.5) + (-1, 0), over the 4 expected images."""
    found = stepped([[3.0, 4.0], [0.0, 0.5], [-1.0, 0.0]])
    torch.testing.assert_close(found, -torch.tensor([0.6 - 1.0, 0.8 + 0.5]) / 4, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(stepped([]), torch.zeros(2), atol=1e-6, rtol=0)  # an empty batch


@pytest.mark.slow
def test_noise_has_its_scale_also_without_images():
    """Standard deviation noise_multiplier * max_grad_norm / expected images: 2 * 3 / 4."""
    torch.manual_seed(0)
    values = torch.cat([stepped([], noise=2.0, clip=3.0) for _ in range(1500)])
    assert float(values.std()) == pytest.approx(1.5, rel=0.06)
    assert abs(float(values.mean())) < 0.1


@pytest.mark.parametrize("backbone", ["timm:test_resnet", "resnet18"])
def test_the_gradients_are_those_of_single_images(backbone):
    net = module(backbone).double()  # in single precision some ReLU is on in one way and off in the other
    batch, task = covidx_batch(3), net.tasks["covidx"]
    prepare_network(net.backbone)
    found, losses, logits = PerImage(net.backbone, task).gradients(
        net.normalise(batch.images), batch.tasks["covidx"].targets
    )
    for i in range(3):
        net.zero_grad()
        output = task(net.features(batch.images[i : i + 1]))
        one = task.loss(output, TaskBatch(slice(0, 1), batch.tasks["covidx"].targets[i : i + 1], []))
        one.backward()
        torch.testing.assert_close(losses[i], one.detach())
        torch.testing.assert_close(logits[i], output[0].detach(), atol=1e-5, rtol=1e-4)
        for name, p in net.named_parameters():
            if p.requires_grad:
                assert p.grad is not None
                torch.testing.assert_close(found[name][i], p.grad, atol=1e-5, rtol=1e-4)
    empty, losses, logits = PerImage(net.backbone, task).gradients(
        net.normalise(covidx_batch(0).images), torch.zeros(0, 3)
    )
    assert {g.shape[0] for g in empty.values()} == {0}
    assert (len(losses), tuple(logits.shape)) == (0, (0, 3))


def test_an_image_counts_by_its_own_class_weight():
    """And not by its share in the batch's weights, which would tell of the other images."""
    settings = ["active_tasks=[covidx]", "model.norm=group", "model.backbone=timm:test_resnet"]
    torch.manual_seed(0)
    net = MultiTaskModule(experiment(*settings, "tasks.covidx.kind=multiclass", "tasks.covidx.class_weights=[1,2,4]"))
    prepare_network(net.backbone)
    batch, task = covidx_batch(3), net.tasks["covidx"]
    _, losses, logits = PerImage(net.backbone, task).gradients(
        net.normalise(batch.images), batch.tasks["covidx"].targets
    )
    plain = nn.functional.cross_entropy(logits, torch.arange(3), reduction="none")
    torch.testing.assert_close(losses, plain * torch.tensor([1.0, 2.0, 4.0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "accountant"), [(Accountant.rdp, RDPAccountant()), (Accountant.prv, PRVAccountant())])
def test_epsilon_is_opacus_own(name, accountant):
    settings = Privacy(noise_multiplier=1.1, delta=1e-5, accountant=name)
    private = PrivateTraining(settings, np.arange(1000), 50, 1)
    net = Affine()
    optimizer = private.optimizer(torch.optim.SGD(net.parameters(), lr=1.0))
    assert private.epsilon == private.epsilon_patient == 0
    for _ in range(20):
        optimizer.zero_grad()
        net.weight.grad_sample = torch.zeros(0, 2)
        optimizer.step()
    accountant.history = [(1.1, 0.05, 20)]
    assert private.epsilon == private.epsilon_patient == pytest.approx(accountant.get_epsilon(1e-5), abs=1e-12)


def test_the_tight_accountant_spends_less_for_the_same_noise():
    """And never more than what was asked for."""
    loose = PrivateTraining(Privacy(target_epsilon=3.0, accountant=Accountant.rdp), np.arange(300), 30, 200)
    accountant = RDPAccountant()
    accountant.history = [(loose.noise_multiplier, 0.1, 200)]
    assert 2.9 < accountant.get_epsilon(1e-5) <= 3.0
    tight = PRVAccountant()
    tight.history = accountant.history
    assert 0.84 < tight.get_epsilon(1e-5) / accountant.get_epsilon(1e-5) < 0.95


def test_a_patient_of_k_images_by_group_privacy():
    history = [(4.0, 0.01, 1000)]
    accountant = RDPAccountant()
    accountant.history = history
    assert group_epsilon(history, 1, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5))
    epsilon = group_epsilon(history, 3, 1e-5)
    smaller = 1e-5 / 3 / math.exp(2 * epsilon / 3)  # the single image's delta that 3 exp(2 e) times is 1e-5
    assert 3 * accountant.get_epsilon(smaller) == pytest.approx(epsilon, rel=1e-3)
    assert group_epsilon(history, 5000, 1e-5) == math.inf

    private = PrivateTraining(Privacy(noise_multiplier=4.0, delta=1e-5), np.repeat(np.arange(500), 2), 10, 1)
    private.accountant.history = history
    assert private.most_images == 2
    assert private.epsilon_patient == group_epsilon(history, 2, 1e-5) > 2 * private.epsilon


def test_under_patients_each_patient_is_clipped_as_one():
    """Patient 5 has the gradients (3, 4) and (3, 4), their mean clipped to 1; patient 9 has (0, 0.5)."""
    images = torch.tensor([[3.0, 4.0], [0.0, 0.5], [3.0, 4.0]])
    gradients = by_patient({"w": images}, torch.tensor([5, 9, 5]))["w"]
    found = stepped(gradients.tolist())
    torch.testing.assert_close(found, -torch.tensor([0.6, 0.8 + 0.5]) / 4, atol=1e-5, rtol=1e-4)
    empty = by_patient({"w": torch.zeros(0, 2, 3)}, torch.zeros(0, dtype=torch.int64))
    assert empty["w"].shape == (0, 2, 3)

    settings = Privacy(noise_multiplier=2.0, delta=0.005, unit=PrivacyUnit.patient)
    private = PrivateTraining(settings, np.repeat(np.arange(100), 3), 30, 1)
    assert private.rate == 0.1
    assert private.optimizer(torch.optim.SGD(Affine().parameters())).expected_batch_size == 10  # patients
    private.accountant.history = [(2.0, 0.1, 5)]
    assert private.epsilon_patient == private.epsilon
    with pytest.raises(UserError, match=r"privacy\.delta: 0\.02 must be below 1 / 100 training patients"):
        PrivateTraining(
            Privacy(noise_multiplier=2.0, delta=0.02, unit=PrivacyUnit.patient), np.repeat(np.arange(100), 3), 30, 1
        )


@pytest.mark.parametrize("entropy", list(Entropy))
def test_noise_is_replayable_by_the_seed_and_not_from_the_system(entropy):
    def noisy() -> torch.Tensor:
        torch.manual_seed(3)
        net = nn.Linear(500, 1, bias=False)
        nn.init.zeros_(net.weight)
        settings = Privacy(noise_multiplier=2.0, accountant=Accountant.rdp, entropy=entropy)
        optimizer = PrivateTraining(settings, np.arange(100), 4, 1).optimizer(torch.optim.SGD(net.parameters(), lr=1.0))
        net.weight.grad_sample = torch.zeros(0, 1, 500)
        optimizer.step()
        return net.weight.detach()

    first, second = noisy(), noisy()
    assert torch.equal(first, second) == (entropy is Entropy.seed)
    assert float(first.std()) == pytest.approx(2.0 / 4, rel=0.15)  # 4.7 standard errors


@pytest.mark.parametrize(
    ("settings", "images", "words"),
    [
        (Privacy(noise_multiplier=1.0, delta=0.01), 100, r"privacy\.delta: 0\.01 must be below 1 / 100"),
        (Privacy(noise_multiplier=1.0), 10, "a batch of 30 is more than the 10"),
        (Privacy(target_epsilon=1e-6), 300, r"privacy\.target_epsilon: 1e-06 cannot be met"),
    ],
)
def test_what_cannot_be(settings, images, words):
    with pytest.raises(UserError, match=words):
        PrivateTraining(settings, np.arange(images), 30, 200)


def test_stochastic_depth_is_drawn_for_each_image():
    network = nn.Sequential(StochasticDepth(0.25, "row"))
    prepare_network(network)
    torch.manual_seed(0)
    x = torch.ones(400, 1, 2, 2)
    out = torch.func.vmap(lambda image: network(image[None])[0], randomness="different")(x)
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 4 / 3]))
    assert float((out[:, 0, 0, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.07)
    assert torch.equal(network.eval()(x), x)
    with pytest.raises(UserError, match="keeps statistics"):
        prepare_network(nn.Sequential(nn.BatchNorm2d(3)))
    assert math.isclose(network[0].p, 0.25)


def test_a_native_heads_dropout_is_drawn_for_each_image():
    """EfficientNet's own classifier drops in place: under vmap too."""
    settings = ["active_tasks=[covidx]", "model.norm=group", "model.backbone=efficientnet_b0", "model.head=native"]
    torch.manual_seed(0)
    net = MultiTaskModule(experiment(*settings))
    prepare_network(net.backbone)
    batch = covidx_batch(2)
    images = net.normalise(batch.images[:1]).expand(2, -1, -1, -1)
    gradients, _, logits = PerImage(net.backbone, net.tasks["covidx"]).gradients(
        images, batch.tasks["covidx"].targets[:1].expand(2, -1)
    )
    assert all(gradient.shape[0] == 2 for gradient in gradients.values())
    assert not torch.equal(logits[0], logits[1])  # one image, two draws
