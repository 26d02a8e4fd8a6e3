"""How answers of batches and processes are put together."""

import numpy as np
import torch

from covidmt.evaluation.answers import PairRows, TaskRows, _join, _join_tasks


def test_batches_are_joined_whatever_their_form():
    rows = [
        PairRows(["a"], {"original": np.array([[1.0]])}, {}, np.array([[1]])),
        PairRows(["b", "c"], {"original": np.array([[2.0], [3.0]])}, {}, np.array([[2], [3]])),
    ]
    joined = _join(rows)
    assert joined.ids == ["a", "b", "c"]
    assert joined.logits["original"].tolist() == [[1], [2], [3]]
    assert joined.lungs.tolist() == [[1], [2], [3]]


def share(*values: int) -> dict[str, TaskRows]:
    """A batch of a task whose logits, targets and true boxes are these numbers."""
    column = np.array(values, np.float32)[:, None]
    boxes = [torch.full((1, 4), float(value)) for value in values]
    return {"task": TaskRows(column, column, [{"scores": box[:, 0]} for box in boxes], boxes, {})}


def test_two_processes_had_every_second_image():
    patients = np.array(list("abcde"))
    task = _join_tasks([[share(0, 2), share(4)], [share(1, 3)]], patients)["task"]
    assert task.logits[:, 0].tolist() == task.targets[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert task.patients.tolist() == list("abcde")
    assert [int(boxes[0, 0]) for boxes in task.truths] == [0, 1, 2, 3, 4]
    assert [int(image["scores"][0]) for image in task.detections] == [0, 1, 2, 3, 4]


def test_a_limit_on_batches_leaves_the_last_images_out():
    task = _join_tasks([[share(0, 2)], [share(1)]], np.array(list("abcde")))["task"]
    assert task.logits[:, 0].tolist() == [0, 1, 2]
    assert task.patients.tolist() == list("abc")
