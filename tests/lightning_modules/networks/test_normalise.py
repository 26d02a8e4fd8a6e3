from __future__ import annotations

import torch

from lightning_modules.networks.normalise import Normalise


def test_every_channel_has_its_own_scale():
    images = torch.full((2, 1, 3, 4), 51, dtype=torch.uint8)  # a fifth of white
    x = Normalise()(images)
    assert x.shape == (2, 3, 3, 4)
    expected = [(0.2 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(x[1, :, 2, 3], torch.tensor(expected))


def test_the_type_is_the_modules_and_nothing_is_saved():
    module = Normalise().to(torch.bfloat16)
    assert module(torch.zeros(1, 1, 2, 2, dtype=torch.uint8)).dtype is torch.bfloat16
    assert module.state_dict() == {}
