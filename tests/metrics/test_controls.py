import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from explain.heat import heat_region
from metrics.controls import (
    ShuffledShares,
    centre_disc_iol,
    energy_inside,
    iol_over_thresholds,
    pack,
    shuffled_out,
    unpack,
)
from metrics.intervals import mean_interval
from metrics.saliency import iol


def test_energy_by_hand():
    heat = torch.tensor([[[1.0, 0.5], [0.25, 0.25]]])
    lung = torch.tensor([[[True, False], [False, True]]])
    assert energy_inside(heat, lung).tolist() == [0.625]
    assert energy_inside(torch.zeros(1, 2, 2), lung).isnan().all()
    assert energy_inside(heat, torch.zeros(1, 2, 2, dtype=torch.bool)).isnan().all()


def test_iol_over_thresholds_is_iol_of_each():
    torch.manual_seed(0)
    heat, lung = torch.rand(3, 8, 8), torch.rand(3, 8, 8) > 0.5
    curve = iol_over_thresholds(heat, lung, (0.2, 0.8))
    assert torch.equal(curve[:, 1], iol(heat_region(heat, 0.8), lung))
    assert curve.shape == (3, 2)


def test_centre_disc_by_hand():
    # 4 x 4: the four middle pixels are the nearest ones; two of them are lung.
    lung = torch.zeros(1, 4, 4, dtype=torch.bool)
    lung[0, 1, 1:3] = True
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[0, 0, :4] = True  # four pixels, wherever they are
    assert centre_disc_iol(region, lung).tolist() == [0.5]
    assert centre_disc_iol(torch.zeros_like(region), lung).isnan().all()
    assert centre_disc_iol(region, torch.zeros_like(lung)).isnan().all()


def test_lungs_far_from_the_centre_are_lungs():
    lung, region = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    lung[0, 2, 2] = region[0, 0, 0] = True
    assert centre_disc_iol(region, lung).tolist() == [0]


def test_the_disc_has_as_many_pixels_as_the_region():
    """3 x 3 pixels: the middle one is the nearest, the four beside it follow in the order of their rows."""
    lung, region = torch.zeros(3, 3, 3, dtype=torch.bool), torch.zeros(3, 3, 3, dtype=torch.bool)
    lung[:, 1, 1] = True
    for image, area in zip(region, (1, 2, 4), strict=True):
        image.view(-1)[-area:] = True
    assert centre_disc_iol(region, lung).tolist() == [1, 0.5, 0.25]


def test_heat_may_add_up_to_less_than_one():
    heat = torch.tensor([[[0.25, 0.0], [0.0, 0.25]]])
    assert energy_inside(heat, torch.tensor([[[True, False], [False, False]]])).tolist() == [0.5]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 19), st.integers(0, 999))
def test_pack_and_unpack(n, size, seed):
    masks = torch.rand(n, size, size, generator=torch.Generator().manual_seed(seed)) > 0.5
    packed = pack(masks)
    assert torch.equal(unpack(packed, size), masks)
    assert np.bitwise_count(packed).sum() == int(masks.sum())


def test_shuffled_by_hand():
    # Three patients; regions left, left, right; lungs left, right, right.
    left = torch.zeros(2, 8, dtype=torch.bool)
    left[:, :4] = True
    grid = torch.zeros(3, 8, 8, dtype=torch.bool)
    regions, lungs = grid.clone(), grid.clone()
    regions[0, :2], regions[1, :2], regions[2, :2] = left, left, ~left
    lungs[0, :2], lungs[1, :2], lungs[2, :2] = left, ~left, ~left
    shares = shuffled_out(pack(regions), pack(lungs), ["a", "b", "c"], eta=0.4).of_lungs
    # image a: maps of b (inside) and c (outside); b: a (outside), c (inside); c: a and b (both outside)
    assert shares.tolist() == [0.5, 0.5, 1.0]
    same_patient = shuffled_out(pack(regions), pack(lungs), ["a", "b", "b"], eta=0.4).of_lungs
    assert same_patient.tolist() == [0.5, 1.0, 1.0]  # b and c get only a's map


def test_shuffled_leaves_out_what_the_true_score_leaves_out():
    regions, lungs = torch.ones(3, 8, 8, dtype=torch.bool), torch.ones(3, 8, 8, dtype=torch.bool)
    regions[0] = False
    lungs[1] = False
    shares = shuffled_out(pack(regions), pack(lungs), ["a", "b", "c"], eta=0.4).of_lungs
    assert np.isnan(shares[:2]).all()
    assert shares[2] == 0  # b's map, whole image, all lung; a has no region to be given
    assert np.isnan(shuffled_out(pack(regions)[2:], pack(lungs)[2:], ["c"], eta=0.4).values).all()


def test_two_hundred_maps_of_others_are_drawn_by_seed_0_unless_told():
    generator = torch.Generator().manual_seed(0)
    regions, lungs = (pack(torch.rand(260, 4, 4, generator=generator) > 0.5) for _ in range(2))
    patients = [str(i) for i in range(260)]
    shares = shuffled_out(regions, lungs, patients, eta=0.4)
    times = shares.of_lungs * 200
    np.testing.assert_allclose(times, times.round(), atol=1e-9)  # of exactly 200 maps each
    again = shuffled_out(regions, lungs, patients, eta=0.4, shuffles=200, seed=0)
    np.testing.assert_array_equal(again.of_lungs, shares.of_lungs)
    assert (shuffled_out(regions, lungs, patients, eta=0.4, seed=1).of_lungs != shares.of_lungs).any()


def test_as_many_others_as_are_wanted_are_all_taken():
    """Three others and shuffles=3: each comes once, whatever the seed."""
    regions, lungs = (pack(torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(k)) > 0.5) for k in range(2))
    values = [
        shuffled_out(regions, lungs, list("abcd"), eta=0.5, shuffles=count, seed=seed).of_lungs
        for count, seed in ((3, 0), (3, 1), (200, 0))
    ]
    np.testing.assert_array_equal(values[0], values[2])
    np.testing.assert_array_equal(values[1], values[2])


def test_maps_that_do_not_look_have_the_shuffled_score():
    """If every map is the same, shuffling changes nothing."""
    torch.manual_seed(0)
    lungs = torch.rand(20, 16, 16) > 0.5
    region = (torch.rand(16, 16) > 0.7).expand(20, 16, 16)
    own = (iol(region, lungs) < 0.5).float().mean()
    shares = shuffled_out(pack(region), pack(lungs), [str(i) for i in range(20)], eta=0.5, shuffles=5).of_lungs
    assert shares.mean() == pytest.approx(float(own))


def test_a_map_is_given_to_all_lungs_and_counts_for_one_patient():
    """One of 24 maps misses all lungs: each image's share is nearly the same, and still another map might not."""
    regions, lungs = torch.ones(24, 8, 8, dtype=torch.bool), torch.zeros(24, 8, 8, dtype=torch.bool)
    lungs[:, :6] = True
    regions[0, :6] = False
    shares = shuffled_out(pack(regions), pack(lungs), [str(i) for i in range(24)], eta=0.4)
    assert shares.of_map.tolist() == [1.0] + [0.0] * 23
    assert shares.of_lungs.tolist() == [0.0] + [1 / 23] * 23
    of_lungs, both = (mean_interval(values, np.arange(24), whole=1.0) for values in (shares.of_lungs, shares.values))
    assert both.value == pytest.approx(of_lungs.value)
    assert of_lungs.high < 0.05  # of the lungs alone: far too sure
    assert both.low < 0.01
    assert both.high > 0.2  # as of one hit in 24


def test_the_interval_of_shuffled_maps_holds():
    """Three of ten maps miss all lungs, three of ten lungs are missed by all maps: the truth is 51 %."""
    rng, n = np.random.default_rng(0), 40
    held, held_of_lungs = 0, 0
    for _ in range(200):
        out = (rng.random(n) < 0.3)[:, None] | (rng.random(n) < 0.3)  # lungs by maps
        others = ~np.eye(n, dtype=bool)
        of_lungs, of_map = (np.where(others, out, 0).sum(axis=axis) / (n - 1) for axis in (1, 0))
        _, low, high = mean_interval(ShuffledShares(of_lungs, of_map).values, np.arange(n), whole=1.0)
        held += low <= 0.51 <= high
        _, low, high = mean_interval(of_lungs, np.arange(n), whole=1.0)
        held_of_lungs += low <= 0.51 <= high
    assert held >= 184  # 92 %
    assert held_of_lungs < 170
