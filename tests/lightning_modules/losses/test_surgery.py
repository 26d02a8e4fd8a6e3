import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_modules.losses.surgery import pcgrad_backward, project_conflicts


def test_two_conflicting_gradients_by_hand():
    """(1, 0) and (-1, 1): each loses its share along the other: (1/2, 1/2) and (0, 1)."""
    found = project_conflicts(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([0.5, 1.5]))


@pytest.mark.parametrize("scale", [1e-3, 10.0])
def test_the_gradients_size_does_not_count(scale):
    found = project_conflicts(scale * torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    torch.testing.assert_close(found, scale * torch.tensor([0.5, 1.5]))


def test_each_gradient_is_projected_on_the_others_as_they_were():
    """(1, 0), (-1, 1) and (0, -1), in a random order each.

    The first becomes (1/2, 0), or (1/2, 1/2) where the third comes first, which it does not conflict with yet; the
    second (0, 0); the third (0, -1/2), or (-1/2, -1/2).
    """
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])
    before = gradients.clone()
    torch.manual_seed(0)
    sums = {tuple(project_conflicts(gradients).tolist()) for _ in range(200)}
    assert sums == {(0.5, -0.5), (0.5, 0.0), (0.0, -0.5), (0.0, 0.0)}
    assert torch.equal(gradients, before)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_nothing_changes_without_conflict(seed, tasks):
    gradients = torch.rand(tasks, 5, generator=torch.Generator().manual_seed(seed))
    gradients[0] = 0
    torch.testing.assert_close(project_conflicts(gradients), gradients.sum(dim=0))


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_backward_is_the_plain_one_where_tasks_agree_and_another_one_where_not(scale):
    """Also under a factor of Lightning's, a second time on top, and with the heads' own gradients as ever."""
    torch.manual_seed(0)
    trunk, heads = nn.Linear(4, 3), nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])
    x = torch.rand(6, 4)

    def parts(signs):
        maps = trunk(x)
        return torch.stack([sign * head(maps).mean() for head, sign in zip(heads, signs, strict=True)])

    def gradients(run):
        for p in (*trunk.parameters(), *heads.parameters()):
            p.grad = None
        run()
        return [p.grad.clone() for p in (*trunk.parameters(), *heads.parameters())]

    def surgery(signs):
        some = parts(signs)
        pcgrad_backward(scale * some.sum(), some, list(trunk.parameters()), list(heads.parameters()))

    heads[1].load_state_dict(heads[0].state_dict())
    for signs in ((1, 1), (1, -0.5)):
        plain = gradients(lambda s=signs: (scale * parts(s).sum()).backward())
        mine = gradients(lambda s=signs: surgery(s))
        twice = gradients(lambda s=signs: (surgery(s), surgery(s)))
        torch.testing.assert_close(mine[2:], plain[2:])
        torch.testing.assert_close(twice, [2 * g for g in mine])
        if signs == (1, 1):
            torch.testing.assert_close(mine[:2], plain[:2])
        else:  # opposite gradients: nothing is left of either
            assert all(float(g.abs().max()) > 1e-3 for g in plain[:2])
            torch.testing.assert_close(mine[:2], [torch.zeros_like(g) for g in mine[:2]], atol=1e-6, rtol=0)
