import numpy as np
import pandas as pd
import pytest

from datamodules.classes import (
    describe_few_validation_images,
    describe_misspellings,
    describe_unlabelled,
    describe_unused_labels,
)
from experiments.schema import SplitPolicy, Task, TaskKind


def table(**rows: int) -> dict[str, pd.DataFrame]:
    """A source with as many rows of each label, and none of the others."""
    labels = [label for label, count in rows.items() for _ in range(count)]
    images = [f"{i}.png" for i in range(len(labels))]
    return {"own": pd.get_dummies(pd.Series(labels), dtype=float).assign(image=images)}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("normal", "Normal"), ("NORMAL ", "Normal"), ("Pneumona", "Pneumonia"), ("Covid 19", "COVID-19")],
)
def test_misspelt_labels_are_named_with_their_rows(written: str, meant: str) -> None:
    tasks = [Task("t", "own", labels=["Normal", "Pneumonia", "COVID-19"])]
    (sentence,) = describe_misspellings(tasks, table(**{"Normal": 3, written: 6}))
    assert sentence == f"own: {written!r} (6 rows) is used by no task; did you mean {meant!r}?"
    assert describe_unused_labels(tasks, table(**{"Normal": 3, written: 6})) == []


def test_labels_that_another_task_uses_are_used() -> None:
    tasks = [Task("t", "own", labels=["Mass"]), Task("u", "own", labels=["Masses"])]
    assert describe_misspellings(tasks, table(Mass=1, Masses=2)) == []
    assert describe_misspellings([Task("b", "own", kind=TaskKind.boxes)], table(Mass=1)) == []


def test_several_labels_in_one_by_a_separator_that_is_not_set() -> None:
    tasks = [Task("t", "own", labels=["Mass", "Edema"])]
    (sentence,) = describe_misspellings(tasks, table(**{"Mass": 1, "Mass, Edema, Hernia of any kind": 2}))
    assert sentence.endswith("(2 rows) is used by no task; are these several labels? Then set label_separator")


def test_other_labels_are_listed() -> None:
    tasks = [Task("t", "own", labels=["Mass"])]
    assert describe_unused_labels(tasks, table(Mass=1, Edema=1200, Hernia=1)) == [
        "own: no task uses Edema (1,200 rows), Hernia (1 row)"
    ]


def test_rows_without_a_label_are_counted() -> None:
    own = pd.DataFrame({"image": list("abcd"), "a": [1, 0, np.nan, np.nan], "b": [0, 0, np.nan, 1]})
    multilabel = Task("m", "own", labels=["a", "b"])
    multiclass = Task("c", "own", labels=["a", "b"], kind=TaskKind.multiclass)
    assert describe_unlabelled([multilabel, multiclass], {"own": own}) == [
        "tasks.m: 1 of 4 images of own has no known label of a, b; the task leaves it out",
        "tasks.c: 2 of 4 images of own have no known label of a, b; the task leaves them out",
    ]


def test_classes_with_fewer_than_two_validation_images() -> None:
    own = pd.DataFrame({"split": ["train"] + ["val"] * 4, "a": [1.0, 1, 0, 0, 0], "b": [1.0, 0, 0, 0, np.nan]})
    tasks = [Task("t", "own", labels=["a", "b"])]
    drawn = describe_few_validation_images(tasks, {"own": own}, SplitPolicy.patient_disjoint)
    remedy = "data.split_policy=stratified draws every class its share"
    assert drawn == [
        f"tasks.t: no validation image is b: its AUROC is undefined; {remedy}",
        f"tasks.t: only 1 validation image is a: its scores say nothing; {remedy}",
    ]
    (_, last) = describe_few_validation_images(tasks, {"own": own}, SplitPolicy.stratified)
    assert last.endswith("give more images, or a larger data.val_fraction")


def test_classes_of_a_task_are_in_one_sentence() -> None:
    own = pd.DataFrame({"split": "val", "a": [0.0] * 4, "b": [0.0] * 4, "c": [1.0, 1, 0, 0]})
    (sentence,) = describe_few_validation_images(
        [Task("t", "own", labels=["a", "b", "c"])], {"own": own}, SplitPolicy.paper
    )
    assert sentence.startswith("tasks.t: no validation image is a, none is b: their AUROC is undefined; ")


def test_each_class_has_its_own_image() -> None:
    own = pd.DataFrame({"split": "val", "a": [1.0, 1, 1, 0], "b": [1.0, 0, 0, 0]})
    (sentence,) = describe_few_validation_images([Task("t", "own", labels=["a", "b"])], {"own": own}, SplitPolicy.paper)
    assert sentence.startswith("tasks.t: only 1 validation image is b, only 1 is without a: their scores say nothing; ")


def test_negatives_and_boxes_are_classes_too() -> None:
    boxes = [np.zeros((n, 4)) for n in (1, 2, 1, 0)]
    own = pd.DataFrame({"split": "val", "a": [1.0, 1, 1, 0], "boxes": pd.Series(boxes, dtype=object)})
    tasks = [Task("t", "own", labels=["a"]), Task("b", "own", kind=TaskKind.boxes)]
    sentences = describe_few_validation_images(tasks, {"own": own}, SplitPolicy.paper)
    assert [sentence.split(":")[1].strip() for sentence in sentences] == [
        "only 1 validation image is without a",
        "only 1 validation image is without a box",
    ]
