import numpy as np
import pandas as pd
import pytest

from datamodules.groups import batch_groups
from datamodules.sampler import BalancedStream
from experiments.errors import UserError
from experiments.schema import Balance, Task, TaskKind
from tests.helpers.three_sources import NAN, make_tables, tasks


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return make_tables(tmp_path_factory.mktemp("images"))


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


def test_unknown_labels_are_nan(tables):
    table = tables["chests"].copy()
    table["a"] = table["a"].replace(1, NAN)
    (group,) = batch_groups(tasks()[:1], {"chests": table})
    assert len(group.images) == 4  # those known to be b or c
    both = pd.concat([tables["findings"]] * 2).assign(y=lambda t: t["y"].where(t["x"].isna()))
    (group,) = batch_groups([tasks()[1], tasks()[3]], {"findings": both})
    assert np.isnan(group.targets["y"]).any()
    assert (~np.isnan(group.targets["x"]) | ~np.isnan(group.targets["y"])).all()


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
