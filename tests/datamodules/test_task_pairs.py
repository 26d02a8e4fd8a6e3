import numpy as np
import pandas as pd
import pytest
import torch

from datamodules.multitask import MultiTaskDataModule
from datamodules.pairs import PairDataset
from datamodules.sampler import Item
from datamodules.task_pairs import KeptBatches, TaskPairDataset, mark_findings
from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Task, TaskKind


@pytest.fixture(scope="module")
def module(demo_data):
    def make(*overrides):
        settings = [f"data.root={demo_data}", "data.num_workers=0", "data.image_size=32", *overrides]
        made = MultiTaskDataModule(load_experiment(SHIPPED / "demo.yaml", settings))
        made.setup()
        return made

    return make


def test_each_source_has_its_own_tasks(module):
    groups = module().pair_groups("val")
    named = {group.source: ([task.name for task in group.tasks], group.decides) for group in groups}
    assert named == {
        "covidx": (["covidx"], True),
        "rsna": (["rsna_boxes"], False),
        "nih": (["infiltration", "effusion", "atelectasis", "nodule"], False),
    }
    (only,) = module("active_tasks=[covidx]").pair_groups("val")
    assert only.source == "covidx"
    assert [group.source for group in module().pair_groups("test")] == ["wacxr"]
    assert module().pair_tasks("test") == ["covidx"]


def test_the_decisions_pairs_are_those_of_before(module):
    data = module("robustness.batch_size=4", "data.pairs.limit=5")
    alone = list(data.pair_dataloader("val"))
    deciding = [batch for batch in data.task_pair_dataloader("val") if batch.decides]
    assert len(alone) == len(deciding) == 2
    for pair, batch in zip(alone, deciding, strict=True):
        assert pair.id == batch.pair.id
        assert torch.equal(pair.received, batch.pair.received)
        assert torch.equal(pair.lung, batch.pair.lung)


def test_boxes_are_where_the_validation_images_have_them(module):
    data = module("data.pairs.limit=null")
    index = next(i for i, group in enumerate(data.groups) if group.source == "rsna")
    rows = data.groups[index].rows("val")
    paths = data.groups[index].images
    expected = {paths[row].decode(): data.dataset[Item(index, int(row))].boxes for row in rows}
    (group,) = (group for group in data.pair_groups("val") if group.source == "rsna")
    some = 0
    for row, path in enumerate(group.pairs.paths):
        _, boxes = group.pairs.read(row)
        np.testing.assert_allclose(boxes, expected[path])
        some += len(boxes)
    assert some


def test_a_limit_a_source_balanced_over_findings(module):
    data = module("data.pairs={limit: {nih: 4, rsna: null}}")
    groups = {group.source: group.pairs for group in data.pair_groups("val")}
    assert len(groups["nih"]) == 4
    assert len(groups["rsna"]) > 4
    assert sorted(groups["nih"].labels) == [0, 0, 1, 1]
    assert len(module("data.pairs.limit=3").pair_groups("val")[2].pairs) == 3


@pytest.mark.parametrize("world", [1, 2, 5])
def test_every_pair_is_in_one_batch_of_one_source(module, world):
    dataset = TaskPairDataset(module().pair_groups("val"))
    batches = [batch for rank in range(world) for batch in dataset.batches(3, rank, world)]
    assert all(len({place.group for place in batch}) == 1 and len(batch) <= 3 for batch in batches)
    places = sorted(place for batch in batches for place in batch)
    assert places == [(number, row) for number, group in enumerate(dataset.groups) for row in range(len(group.pairs))]


def test_the_second_validation_reads_no_file(module, monkeypatch):
    data = module()
    loader = data.task_pair_dataloader("val")
    assert isinstance(loader, KeptBatches)
    first = list(loader)
    monkeypatch.setattr(PairDataset, "read", lambda *_: pytest.fail("a file was read again"))
    again = list(data.task_pair_dataloader("val"))
    assert all(one is two for one, two in zip(first, again, strict=True))
    assert len(loader) == len(first)


def test_a_validation_that_was_cut_short_is_not_kept(module):
    loader = module("robustness.batch_size=2").task_pair_dataloader("val")
    next(iter(loader))
    assert len(list(loader)) == len(loader) > 1


def test_masks_of_all_pairs_are_asked_for(module):
    data = module()
    images = data.images(["train", "val"])
    assert len(images) == sum(len(group.pairs) for group in data.pair_groups("val"))
    assert any("/nih/" in image for image in images)


def test_a_source_without_validation_images_is_refused(module):
    data = module("data.pairs.val=[covidx, wacxr]", "data.sources.wacxr.root=nowhere", "data.pairs.test=null")
    assert [group.source for group in data.pair_groups("val")] == ["covidx"]  # no task is of it
    with pytest.raises(UserError, match="no image in the val split"):
        module("data.pairs.val=[wacxr, covidx]").pair_groups("val")


def test_the_test_takes_several_sources_each_with_its_own_tasks(module):
    received = ["data.pairs.test=[wacxr, nih_whatsapp, rsna_whatsapp]"]
    for name in ("nih", "rsna"):
        source = f"data.sources.{name}_whatsapp"
        received.append(
            f"{source}={{kind: pairs, root: '${{data.root}}/{name}_whatsapp', originals: null, labels_of: {name}}}"
        )
    data = module(*received)
    groups = {group.source: group for group in data.pair_groups("test")}
    assert {name: [task.name for task in group.tasks] for name, group in groups.items()} == {
        "wacxr": ["covidx"],
        "nih_whatsapp": ["infiltration", "effusion", "atelectasis", "nodule"],
        "rsna_whatsapp": ["rsna_boxes"],
    }
    assert [group.decides for group in groups.values()] == [True, False, False]
    assert all("whatsapp/received/" in path for path in groups["rsna_whatsapp"].pairs.received)
    assert data.pair_dataset("test").paths == groups["wacxr"].pairs.paths

    # a further one that is not here is left out, and the first is not
    absent = module(*received, "data.sources.rsna_whatsapp.root=nowhere")
    assert [group.source for group in absent.pair_groups("test")] == ["wacxr", "nih_whatsapp"]
    with pytest.raises(UserError, match="the test pairs need it"):
        module(*received, "data.sources.wacxr.root=nowhere").pair_groups("test")


def test_findings_are_any_label_or_a_box():
    table = pd.DataFrame({"a": [0.0, 1, np.nan, np.nan], "b": [0.0, np.nan, 0, np.nan]})
    table["boxes"] = [np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((2, 4)), np.zeros((0, 4))]
    labels = [Task("t", "s", labels=["a", "b"])]
    np.testing.assert_array_equal(mark_findings(table, labels), [0, 1, 0, np.nan])
    np.testing.assert_array_equal(mark_findings(table, [*labels, Task("p", "s", TaskKind.boxes)]), [0, 1, 1, 0])
