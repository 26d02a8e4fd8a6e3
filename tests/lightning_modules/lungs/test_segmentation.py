import numpy as np
import torch

from experiments.lungs.poses import POSES
from lightning_modules.lungs.segmentation import Segmentation, mask_at, tidy


def test_the_two_largest_areas_stay_without_holes():
    lungs = torch.full((1, 12, 12), 0.2)
    lungs[0, 1:5, 1:5] = lungs[0, 6:10, 1:4] = lungs[0, 1:3, 8:10] = 0.9
    lungs[0, 2, 2], lungs[0, 11, 11] = 0.4, 0.6
    wanted = torch.zeros(12, 12, dtype=torch.bool)
    wanted[1:5, 1:5] = wanted[6:10, 1:4] = True
    assert torch.equal(tidy(lungs, 2)[0] >= 0.5, wanted)
    assert torch.equal(tidy(lungs, 1)[0, 6:10, 1:4], torch.zeros(4, 3))
    assert not (tidy(torch.zeros(1, 4, 4), 2) >= 0.5).any()


def test_a_mask_is_smooth_at_the_images_own_size():
    """A ramp from 0 to 1 over two pixels crosses 0.5 in the middle, at any size."""
    ramp = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert mask_at(ramp, (4, 40)).mean() == 0.5
    assert mask_at(ramp, (3, 6))[0].tolist() == [False] * 3 + [True] * 3
    assert mask_at(torch.zeros(8, 8), (3, 5)).shape == (3, 5)


def test_a_pose_is_named_where_upright_is_less_likely_than_not():
    poses = torch.tensor([[0.6, 0.4, 0, 0, 0, 0], [0.4, 0.1, 0.1, 0.1, 0.2, 0.1]])
    drawn = Segmentation(torch.zeros(2, 4, 4), poses=poses)
    assert drawn.pose_names == [POSES[0], "negative"]
    assert np.array_equal(Segmentation(torch.zeros(2, 4, 4)).pose_names, [None, None])
