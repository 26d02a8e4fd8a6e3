import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datamodules.dataset import ImageDataset, batch_groups
from datamodules.images.decode import decode, resize
from datamodules.sampler import BalancedStream, Item, StepSampler
from experiments.errors import UserError
from experiments.schema import Augment, Balance, Task, TaskKind

SIZE = 32
NAN = float("nan")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Three sources of 10 images of 80 x 40 px; the last two images are validation."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    tables = {}
    for source in ("chests", "boxed", "findings"):
        paths = []
        for i in range(10):
            paths.append(str(root / f"{source} {i}.png"))
            Image.fromarray(rng.integers(0, 256, (5, 10), np.uint8)).resize((80, 40)).save(paths[-1])
        tables[source] = pd.DataFrame({"image": paths, "patient": paths, "source": source})
        tables[source]["split"] = ["train"] * 8 + ["val"] * 2
    tables["chests"][["a", "b", "c"]] = np.eye(3)[[0, 0, 0, 0, 0, 1, 1, 2, 0, 1]]
    tables["findings"]["x"] = [0, 1] * 5
    tables["findings"]["y"] = [NAN, NAN, 1, 0, 0, 0, 0, 0, NAN, 0]
    tables["findings"].loc[9, "x"] = NAN
    boxes = [np.array([[8, 4, 24, 20], [40, 0, 80, 40]][: i % 3], np.float32).reshape(-1, 4) for i in range(10)]
    tables["boxed"]["boxes"] = pd.Series(boxes, dtype=object)
    return tables


def tasks(**changes):
    made = {
        "first": Task(source="chests", kind=TaskKind.multiclass, labels=["a", "b", "c"], batch_size=3),
        "x": Task(source="findings", labels=["x"], batch_size=2),
        "places": Task(source="boxed", kind=TaskKind.boxes, batch_size=2),
        "y": Task(source="findings", labels=["y"], batch_size=2),
    }
    for name, task in made.items():
        task.name = name
        for key, value in changes.get(name, {}).items():
            setattr(task, key, value)
    return list(made.values())


def loader(tables, active, workers=0, *, augment=True, rank=0, world=1):
    groups = batch_groups(active, tables)
    steps = StepSampler([g.stream(0) for g in groups], [g.batch_size for g in groups], rank=rank, world_size=world)
    dataset = ImageDataset(active, groups, SIZE, Augment() if augment else Augment(0, 0, 0, 0, 0))
    return DataLoader(dataset, batch_sampler=steps, collate_fn=dataset.collate, num_workers=workers)


def test_groups_by_source_and_own_batches(tables):
    groups = batch_groups(tasks(), tables)
    assert [(g.name, [t.name for t in g.tasks]) for g in groups] == [
        ("chests", ["first"]),
        ("findings", ["x", "y"]),
        ("boxed", ["places"]),
    ]
    own = batch_groups(tasks(y={"share_batch": False, "batch_size": 5}), tables)
    assert [(g.name, g.batch_size) for g in own] == [("chests", 3), ("findings", 2), ("boxed", 2), ("findings/y", 5)]
    assert own[3].rows("train").tolist() == list(range(6))  # of the 8, two have no label of the task


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


def test_unknown_labels_are_nan(tables):
    table = tables["chests"].copy()
    table["a"] = table["a"].replace(1, NAN)
    (group,) = batch_groups(tasks()[:1], {"chests": table})
    assert len(group.images) == 4  # those known to be b or c
    both = pd.concat([tables["findings"]] * 2).assign(y=lambda t: t["y"].where(t["x"].isna()))
    (group,) = batch_groups([tasks()[1], tasks()[3]], {"findings": both})
    assert np.isnan(group.targets["y"]).any()
    assert (~np.isnan(group.targets["x"]) | ~np.isnan(group.targets["y"])).all()


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


def test_streams_as_the_task_says(tables):
    (group,) = batch_groups(tasks(first={"upsample": {"c": "a", "b": "a"}})[:1], tables)
    drawn = group.targets["first"][group.stream(0).elements(0, 15)]
    assert drawn.sum(axis=0).tolist() == [5, 5, 5]
    (group,) = batch_groups(tasks(first={"balance": Balance.classes})[:1], tables)
    stream = group.stream(0)
    assert isinstance(stream, BalancedStream)
    assert group.targets["first"][stream.elements(0, 30)].sum(axis=0).tolist() == [10, 10, 10]
    (group,) = batch_groups(tasks(x={"balance": Balance.classes})[1:2], tables)
    assert group.targets["x"][group.stream(0).elements(0, 30)].mean() == 0.5  # with the finding, without it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": {"batch_size": 3}}, r"findings.*batch_size differs: x 3, y 2.*share_batch: false"),
        ({"y": {"balance": Balance.classes}}, r"tasks\.y: balance and upsample.*share_batch: false"),
        ({"x": {"upsample": {"x": "x"}}}, r"tasks\.x: balance and upsample"),
        ({"first": {"labels": ["a", "d"]}}, r"tasks\.first\.labels: source 'chests' has no label 'd'"),
        ({"x": {"kind": TaskKind.boxes}}, r"tasks\.x: source 'findings' has no boxes"),
    ],
)
def test_what_groups_refuse(tables, changes, message):
    with pytest.raises(UserError, match=message):
        batch_groups(tasks(**changes), tables)


def test_a_label_without_training_images_is_refused(tables):
    table = tables["chests"].assign(c=0.0)
    (group,) = batch_groups([Task("first", "chests", labels=["a", "b", "c"])], {"chests": table})
    with pytest.raises(UserError, match=r"tasks\.first: no training image of source 'chests' has c"):
        group.stream(0)


def test_several_labels_are_no_class(tables):
    table = tables["chests"].assign(b=1.0)
    with pytest.raises(UserError, match=r"tasks\.first: kind multiclass.*chests 0\.png.*multilabel"):
        batch_groups(tasks()[:1], {"chests": table})
