import pytest
import torch

from lightning_modules.attention import heat_outside


def scored(feature):
    """The score is the mean of channel 0 less the mean of channel 1: Grad-CAM is ReLU of their difference."""
    return feature[:, 0].mean(dim=(1, 2)) - feature[:, 1].mean(dim=(1, 2))


def test_share_outside_by_hand():
    feature = torch.zeros(3, 2, 2, 2)
    feature[0, 0] = torch.tensor([[3.0, 0], [0, 1]])  # of 4 heat, 1 in the right column
    feature[1, 0] = 1.0  # no lungs: not counted
    feature[2, 1] = 1.0  # heat is zero everywhere: not counted
    lungs = torch.zeros(3, 4, 4, dtype=torch.bool)
    lungs[[0, 2], :, :2] = True
    feature.requires_grad_()
    share = heat_outside(feature, scored(feature), lungs)
    assert float(share) == pytest.approx(1 / 4)
    lungs[0, :2, 2:] = True
    lungs[0, 2:, 2] = True  # half of the cell of the remaining heat
    assert float(heat_outside(feature, scored(feature), lungs)) == pytest.approx(1 / 8)
    assert float(heat_outside(feature, scored(feature), lungs & False)) == 0


def test_descent_moves_the_heat_into_the_lungs():
    torch.manual_seed(0)
    trunk = torch.nn.Conv2d(1, 4, 3, padding=1)
    head = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 1))
    images = torch.rand(8, 1, 6, 6)
    lungs = torch.zeros(8, 12, 12, dtype=torch.bool)
    lungs[:, :, :6] = True
    optimizer = torch.optim.Adam([*trunk.parameters(), *head.parameters()], 1e-2)
    shares = []
    for _ in range(60):
        feature = trunk(images)
        share = heat_outside(feature, head(feature)[:, 0], lungs)
        shares.append(float(share))
        optimizer.zero_grad()
        share.backward()
        optimizer.step()
    assert shares[-1] < shares[0] - 0.2
