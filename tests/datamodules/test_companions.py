from pathlib import Path

import numpy as np
import pytest

from datamodules.multitask import MultiTaskDataModule
from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment

BASE = ["data.image_size=64", "data.num_workers=0", "active_tasks=[rsna_boxes,covidx]", "tasks.covidx.batch_size=4"]


def batch(root: Path, *overrides: str):
    settings = load_experiment(SHIPPED / "demo.yaml", [*BASE, f"data.root={root}", *overrides])
    module = MultiTaskDataModule(settings)
    module.setup()
    return module, next(iter(module.train_dataloader()))


def test_companions_move_as_their_image_does(demo_data: Path):
    """A lossless channel gives the image itself; the lungs fit it, and belong to the task that decides."""
    plain, without = batch(demo_data)
    assert without.received is None
    assert without.lungs is None
    assert plain.needing_lungs == []
    module, found = batch(
        demo_data, "losses.consistency=1", "losses.consistency_channel=resize:4000", "losses.attention=1"
    )
    rows = found.tasks["covidx"].rows
    assert (found.images == without.images).all()
    assert (found.received == found.images[rows]).all()
    assert found.lungs.shape == (4, 64, 64)
    assert 0.1 < found.lungs.float().mean() < 0.5
    for image, lung in zip(found.images[rows][:, 0].numpy(), found.lungs.numpy(), strict=True):
        assert np.median(image[lung]) < np.median(image[~lung & (image > 0)])  # lungs are dark
    group = module.groups[module._deciding]
    assert len(module.needing_lungs) == len(group.rows("train"))


def test_a_copy_is_a_little_worse(demo_data: Path):
    _, found = batch(demo_data, "losses.consistency=1", "losses.consistency_channel=jpeg:20")
    change = (found.received.int() - found.images[found.tasks["covidx"].rows].int()).abs().float()
    assert 0.2 < change.mean() < 15


def test_a_wrong_channel_is_met_at_setup(demo_data: Path):
    with pytest.raises(UserError, match="whatsap"):
        batch(demo_data, "losses.consistency=1", "losses.consistency_channel=whatsap")
