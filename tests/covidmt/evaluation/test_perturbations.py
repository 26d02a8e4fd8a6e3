import pytest
import torch

from covidmt.evaluation.perturbations import blacked_out, change_inside, inner_square, white_noise

ORIGINAL = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_noise_has_the_rms_of_the_change():
    received = (ORIGINAL.int() + 3).clamp(max=255).to(torch.uint8)
    noisy = white_noise(ORIGINAL, received, ["a", "b", "c"])
    for side in range(3):
        change = (received[side].float() - ORIGINAL[side].float()).square().mean().sqrt()
        assert float((noisy[side] - ORIGINAL[side].float()).square().mean().sqrt()) == pytest.approx(
            float(change), 1e-5
        )


def test_noise_depends_on_the_name_alone():
    received = 255 - ORIGINAL
    together = white_noise(ORIGINAL, received, ["a", "b", "c"])
    assert torch.equal(white_noise(ORIGINAL[1:2], received[1:2], ["b"])[0], together[1])
    assert torch.equal(white_noise(ORIGINAL, ORIGINAL, ["a", "b", "c"]), ORIGINAL.float())  # no change, no noise


def test_inside_and_outside_share_the_change():
    received = 255 - ORIGINAL
    area = torch.zeros(3, 16, 16, dtype=torch.bool)
    area[:, :4] = True
    inside, outside = change_inside(ORIGINAL, received, area), change_inside(ORIGINAL, received, ~area)
    assert torch.equal(inside[:, :, :4], received[:, :, :4])
    assert torch.equal(inside[:, :, 4:], ORIGINAL[:, :, 4:])
    assert torch.equal(inside.int() + outside.int(), ORIGINAL.int() + received.int())


def test_black_and_border():
    inner = inner_square(20, 0.1)
    assert inner.sum() == 16 * 16
    frame = blacked_out(torch.full((1, 1, 20, 20), 9, dtype=torch.uint8), inner[None])
    assert int((frame == 9).sum()) == 20 * 20 - 16 * 16
