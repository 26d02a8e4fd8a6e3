import timm
import torch
from torch import nn

from lightning_modules.lungs.folding import fold_batch_norms


def with_statistics(network: nn.Module) -> nn.Module:
    """Give every normalisation a mean, a variance, a weight and a bias of its own."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias):
                assert tensor is not None
                nn.init.normal_(tensor)
            for tensor in (module.running_var, module.weight):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 2)
    return network.eval()


def count(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_outputs_are_the_same_and_activations_stay():
    for name in ("test_efficientnet", "test_resnet"):
        network = with_statistics(timm.create_model(name, pretrained=False, num_classes=0))
        images = torch.rand(2, 3, 64, 64)
        with torch.no_grad():
            before = network(images)
            fold_batch_norms(network, images[:1])
            assert count(network) == 0
            torch.testing.assert_close(network(images), before, atol=1e-4, rtol=1e-4)


def test_only_a_normalisation_right_after_a_convolution_is_folded():
    network = with_statistics(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)))
    images = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        before = network(images)
        fold_batch_norms(network, images)
        assert count(network) == 1
        assert torch.equal(network(images), before)
