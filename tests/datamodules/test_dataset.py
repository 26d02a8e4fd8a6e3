import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from datamodules.dataset import ImageDataset
from datamodules.groups import batch_groups
from datamodules.images.decode import decode, resize
from datamodules.sampler import Item, StepSampler
from experiments.errors import UserError
from experiments.schema import Augment
from tests.helpers.three_sources import make_tables, tasks

SIZE = 32


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return make_tables(tmp_path_factory.mktemp("images"))


def loader(tables, active, workers=0, *, augment=True, rank=0, world=1):
    groups = batch_groups(active, tables)
    steps = StepSampler([g.stream(0) for g in groups], [g.batch_size for g in groups], rank=rank, world_size=world)
    dataset = ImageDataset(active, groups, SIZE, Augment() if augment else Augment(0, 0, 0, 0, 0))
    return DataLoader(dataset, batch_sampler=steps, collate_fn=dataset.collate, num_workers=workers)


def test_a_batch(tables):
    batch = next(iter(loader(tables, tasks(), augment=False)))
    assert batch.images.shape == (7, 1, SIZE, SIZE)
    assert batch.images.dtype == torch.uint8
    assert list(batch.tasks) == ["first", "x", "places", "y"]
    assert [batch.tasks[name].rows for name in batch.tasks] == [slice(0, 3), slice(3, 5), slice(5, 7), slice(3, 5)]
    assert batch.tasks["first"].targets.dtype == torch.float32
    assert batch.tasks["first"].targets.sum(1).tolist() == [1, 1, 1]
    assert batch.tasks["places"].targets.shape == (2, 0)
    assert len(batch.tasks["places"].boxes) == 2
    assert batch.tasks["x"].boxes == []


def test_rows_carry_their_own_images_targets_and_boxes(tables):
    active = tasks()
    groups = batch_groups(active, tables)
    dataset = ImageDataset(active, groups, SIZE, Augment())
    batch = dataset.collate([dataset[Item(1, 2)], dataset[Item(1, 3)], dataset[Item(2, 5)], dataset[Item(2, 0)]])
    for place, (source, row) in enumerate([("findings", 2), ("findings", 3), ("boxed", 5), ("boxed", 0)]):
        expected = resize(decode(tables[source]["image"].iloc[row]), SIZE)
        assert (batch.images[place, 0].numpy() == expected).all()
    assert batch.tasks["x"].targets.tolist() == [[0], [1]]
    assert batch.tasks["y"].targets.tolist() == [[1], [0]]
    # 80 x 40 -> 32 x 32: x by 0.4, y by 0.8
    torch.testing.assert_close(
        batch.tasks["places"].boxes[0], torch.tensor([[3.2, 3.2, 9.6, 16], [16, 0, 32, 32]]), rtol=0, atol=1e-5
    )
    assert batch.tasks["places"].boxes[1].shape == (0, 4)
    assert batch.tasks["places"].boxes[1].dtype == torch.float32


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_the_workers(tables, workers):
    torch.manual_seed(workers)
    batches = list(loader(tables, tasks(), workers))
    again = list(loader(tables, tasks()))
    assert len(batches) == len(again) == 3
    for one, other in zip(batches, again, strict=True):
        assert torch.equal(one.images, other.images)
        for name, task in one.tasks.items():
            torch.testing.assert_close(task.targets, other.tasks[name].targets, equal_nan=True)
            assert all(map(torch.equal, task.boxes, other.tasks[name].boxes))


def test_boxes_of_a_frame_are_scaled_with_the_copies(tables):
    active = tasks()
    framed = tables | {"boxed": tables["boxed"].assign(frame=[(160, 80)] * 10)}  # the files are half of it
    dataset = ImageDataset(active, batch_groups(active, framed), SIZE, Augment())
    plain = ImageDataset(active, batch_groups(active, tables), SIZE, Augment())
    assert (dataset[Item(2, 5)].boxes == plain[Item(2, 5)].boxes / 2).all()
    assert len(dataset[Item(2, 5)].boxes) == 2


@pytest.mark.parametrize(("frame", "says"), [((80, 80), "no copy of the 80x80"), (None, "outside of its 80x40 pixels")])
def test_boxes_that_are_of_no_use_are_refused(tables, frame, says):
    boxed = tables["boxed"].assign(frame=[frame] * 10) if frame else tables["boxed"]
    boxed = boxed.assign(boxes=pd.Series([np.array([[0, 0, 160, 80]], np.float32)] * 10, dtype=object))
    active = tasks()
    dataset = ImageDataset(active, batch_groups(active, tables | {"boxed": boxed}), SIZE, Augment())
    with pytest.raises(UserError, match=says):
        dataset[Item(2, 5)]
