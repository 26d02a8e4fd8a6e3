import pytest
import torch

from explain.heat import heat_map, heat_region


def test_heat_map_is_divided_by_its_maximum_and_nothing_subtracted():
    raw = torch.tensor([[[1.0, 3.0], [2.0, 4.0]]])
    assert heat_map(raw, (2, 2))[0].tolist() == [[0.25, 0.75], [0.5, 1.0]]
    assert heat_region(heat_map(raw, (2, 2)))[0].tolist() == [[False, True], [True, True]]  # exactly one half is in


def test_each_heat_map_is_divided_by_its_own_maximum():
    raw = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[2.0, 8.0], [0.0, 0.0]]])
    assert heat_map(raw, (2, 2))[:, 0].tolist() == [[0.5, 1.0], [0.25, 1.0]]


def test_heat_map_is_resized_before_it_is_scaled():
    raw = torch.zeros(1, 2, 2)
    raw[0, 0, 0] = 8.0
    heat = heat_map(raw, (4, 4))
    assert heat.amax() == 1.0
    # bilinear, half-pixel centres: 1, 3/4, 1/4, 0 along each axis
    assert heat[0, 0].tolist() == pytest.approx([1.0, 0.75, 0.25, 0.0])


def test_zero_and_broken_maps_have_no_region():
    raw = torch.stack([torch.zeros(2, 2), torch.full((2, 2), torch.nan), torch.tensor([[1.0, torch.inf], [0, 0]])])
    heat = heat_map(raw, (4, 4))
    assert not heat.any()
    assert not heat_region(heat).any()


def test_flat_map_is_its_maximum_everywhere():
    torch.testing.assert_close(heat_map(torch.full((1, 2, 2), 1e-30), (5, 5)), torch.ones(1, 5, 5))
