from pathlib import Path

import pytest
import torch

from experiments.pretraining.schema import PretrainExperiment, PretrainModel
from experiments.schema import DataSets, Model
from lightning_modules.networks.backbones import build_backbone
from lightning_modules.pretraining import ContrastiveModule, retrieval, write_backbone


def module(backbone: str = "timm:test_resnet") -> ContrastiveModule:
    torch.manual_seed(0)
    model = PretrainModel(backbone, projection=8)
    return ContrastiveModule(PretrainExperiment("mine", data=DataSets(image_size=64), model=model, temperature=0.5))


def test_the_loss_is_simclrs():
    """Two films, by hand: of each of four views the partner against the three others."""
    first, second = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    views = torch.cat([first, second])
    similar = (views @ views.T / 0.5).fill_diagonal_(-torch.inf)
    expected = -similar.log_softmax(dim=1)[torch.arange(4), torch.tensor([2, 3, 0, 1])].mean()
    torch.testing.assert_close(module().contrast(first, second), expected)
    assert retrieval(first, second) == pytest.approx(0.5)  # of the second film neither view finds the other


def test_a_step_trains_every_weight():
    net = module().train()
    views = torch.randint(0, 256, (4, 2, 1, 64, 64), dtype=torch.uint8)
    net.log = lambda *_, **__: None  # ty: ignore[invalid-assignment]  # no Trainer
    net.training_step(views, 0).backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("backbone", ["timm:test_resnet", "resnet18", "alexnet"])
def test_the_weights_begin_another_network(tmp_path: Path, backbone: str):
    net = module(backbone)
    write_backbone(net, tmp_path / "backbone.pth")
    loaded = build_backbone(Model(backbone=backbone, weights=str(tmp_path / "backbone.pth")), 64).eval()
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(loaded(images)[-1], net.backbone.eval()(images)[-1])
