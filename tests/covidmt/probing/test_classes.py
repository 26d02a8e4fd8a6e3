import numpy as np
import pandas as pd
import pytest

from covidmt.probing.classes import column_classes, frequent_classes, task_classes
from experiments.errors import UserError
from experiments.schema import Task


def test_labels_that_do_not_exclude_each_other_are_a_question_each():
    table = pd.DataFrame({"edema": [1.0, 1.0, 0.0, np.nan], "mass": [1.0, 0.0, 0.0, 0.0]})
    questions = task_classes(Task("findings", labels=["edema", "mass"]), table)
    assert {name: classes.tolist() for name, classes in questions.items()} == {
        "edema": ["edema", "edema", "not edema", ""],
        "mass": ["mass", "not mass", "not mass", "not mass"],
    }


def test_a_column_is_one_of_texts():
    table = pd.DataFrame({"image": ["a", "b"], "origin": ["cohen", None], "sick": [1.0, 0.0]})
    assert column_classes("origin", table, "mine").tolist() == ["cohen", ""]
    for name in ("orign", "sick", "image"):
        with pytest.raises(UserError, match=rf"--column: source 'mine' has no text column '{name}'.*it has origin"):
            column_classes(name, table, "mine")


def test_rare_classes_are_left_out():
    classes = np.array(["a"] * 6 + ["b"] * 5 + ["c"] * 6)
    split = np.array(
        ["train"] * 5 + ["test"] + ["train"] * 4 + ["test"] + ["train"] * 6
    )  # b: 4 to train on; c: no test
    assert set(frequent_classes(classes, split).tolist()) == {"a", ""}
    assert "b" in classes.tolist()  # as it was
