import pytest
import torch

from lightning_modules.heads import ClassificationHead
from lightning_modules.losses.attention import heat_outside


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
    share = heat_outside(feature, torch.nn.Identity(), scored, lungs)
    assert share.item() == pytest.approx(1 / 4)
    lungs[0, :2, 2:] = True
    lungs[0, 2:, 2] = True  # half of the cell of the remaining heat
    assert heat_outside(feature, torch.nn.Identity(), scored, lungs).item() == pytest.approx(1 / 8)
    assert heat_outside(feature, torch.nn.Identity(), scored, lungs & False).item() == 0


def test_the_share_is_a_mean_over_the_images_that_count():
    """1/4 and 3/4 of the heat outside; a third image has no lungs."""
    feature = torch.zeros(3, 2, 2, 2)
    feature[:, 0] = torch.tensor([[[3.0, 0], [0, 1]], [[1, 0], [0, 3]], [[1, 0], [0, 1]]])
    lungs = torch.zeros(3, 4, 4, dtype=torch.bool)
    lungs[:2, :, :2] = True
    feature.requires_grad_()
    share = heat_outside(feature, torch.nn.Identity(), scored, lungs)
    assert share.item() == pytest.approx(1 / 2)
    share.backward()
    assert feature.grad.isfinite().all()
    assert feature.grad[2].eq(0).all()


def test_the_penalty_teaches_the_head():
    """Score 3 mean(f0) + mean(f1), f0 inside, f1 outside: w1 / (w0 + w1) = 1/4; its derivatives are -1/16 and 3/16."""
    feature = torch.zeros(1, 2, 1, 2)
    feature[0, 0, 0, 0] = feature[0, 1, 0, 1] = 1.0
    lungs = torch.tensor([[[True, False]]])
    head = torch.nn.Conv2d(2, 1, 1, bias=False)
    head.weight.data = torch.tensor([3.0, 1.0]).view(1, 2, 1, 1)
    share = heat_outside(feature.requires_grad_(), head, lambda maps: maps.mean(dim=(1, 2, 3)), lungs)
    share.backward()
    assert share.item() == pytest.approx(1 / 4)
    assert head.weight.grad.flatten().tolist() == pytest.approx([-1 / 16, 3 / 16])


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e4])
def test_the_share_does_not_depend_on_how_much_heat_there_is(scale):
    feature = torch.zeros(1, 2, 2, 2)
    feature[0, 0] = torch.tensor([[3.0, 0], [0, 1]]) * scale
    lungs = torch.zeros(1, 4, 4, dtype=torch.bool)
    lungs[:, :, :2] = True
    share = heat_outside(feature.requires_grad_(), torch.nn.Identity(), scored, lungs)
    assert share.item() == pytest.approx(1 / 4)


def test_gradients_too_small_for_half_precision_count():
    feature = torch.zeros(1, 2, 2, 2, dtype=torch.float16)
    feature[0, 0] = torch.tensor([[3.0, 0], [0, 1]])
    lungs = torch.zeros(1, 4, 4, dtype=torch.bool)
    lungs[:, :, :2] = True
    share = heat_outside(feature.requires_grad_(), torch.nn.Identity(), lambda z: 1e-8 * scored(z.float()), lungs)
    assert share.item() == pytest.approx(1 / 4)


def test_half_precision_gives_a_share_in_float32():
    feature = torch.zeros(1, 2, 2, 2, dtype=torch.bfloat16)
    feature[0, 0] = torch.tensor([[3.0, 0], [0, 1]])
    lungs = torch.zeros(1, 4, 4, dtype=torch.bool)
    lungs[:, :, :2] = True
    share = heat_outside(feature.requires_grad_(), torch.nn.Identity(), scored, lungs)
    assert (share.dtype, share.item()) == (torch.float32, pytest.approx(1 / 4))


def test_the_heads_mode_is_restored_and_a_frozen_one_stays():
    feature = torch.rand(2, 8, 4, 4, requires_grad=True)
    head = ClassificationHead(8, 1, 16).eval()
    heat_outside(feature, head, lambda z: z[:, 0], torch.ones(2, 4, 4, dtype=torch.bool))
    assert not head.training


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
        share = heat_outside(feature, head, lambda logits: logits[:, 0], lungs)
        shares.append(share.item())
        optimizer.zero_grad()
        share.backward()
        optimizer.step()
    assert shares[-1] < shares[0] - 0.2


def test_an_image_s_heat_does_not_depend_on_the_others():
    torch.manual_seed(0)
    head = ClassificationHead(8, 1, 16)
    for _ in range(30):  # the running statistics know these maps
        head(torch.rand(32, 8, 4, 4))
    feature = torch.rand(5, 8, 4, 4, requires_grad=True)
    lungs = torch.rand(5, 4, 4) < 0.5
    before = head[1].running_mean.clone()
    each = [heat_outside(feature[i : i + 1], head, lambda z: z[:, 0], lungs[i : i + 1]) for i in range(5)]
    together = heat_outside(feature, head, lambda z: z[:, 0], lungs)
    counted = [share for share in each if share > 0]
    assert len(counted) > 2
    torch.testing.assert_close(together, torch.stack(counted).mean())
    assert head.training
    assert torch.equal(head[1].running_mean, before)
    together.backward()
    assert feature.grad is not None
