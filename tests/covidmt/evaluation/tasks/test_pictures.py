"""Which pairs of other tasks are shown, and what their pictures say."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import torch

from covidmt.evaluation.result import RunEvaluation
from covidmt.evaluation.tasks.answers import BoxRows, LabelRows
from covidmt.evaluation.tasks.pictures import MOST, draw_unstable, unstable_boxes, unstable_labels
from datamodules.evaluation import EvaluationDataModule
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Robustness, Task
from explain.box_picture import HEIGHT as BOX_HEIGHT
from explain.picture import HEIGHT
from explain.task_decisions import TaskDecisions
from lightning_modules.multitask import MultiTaskModule

SETTINGS = ["data.num_workers=0", "data.image_size=32", "model.backbone=timm:test_resnet", "data.pairs.limit=6"]


def label_rows(ids, original, received) -> LabelRows:
    logits = {side: np.array(values, np.float32) for side, values in (("original", original), ("received", received))}
    return LabelRows(ids, ids, logits | {"noise": logits["original"]}, {}, {}, np.empty(0))


def box_rows(ids, original, received, truths) -> BoxRows:
    def predictions(rows):
        return [
            {"boxes": torch.tensor(boxes).reshape(-1, 4), "scores": torch.full((len(boxes),), 0.9)} for boxes in rows
        ]

    true = [torch.tensor(boxes).reshape(-1, 4) for boxes in truths]
    return BoxRows(ids, ids, predictions(original), predictions(received), predictions(original), true, {})


BOX, OTHER = [4.0, 4.0, 20.0, 20.0], [22.0, 22.0, 30.0, 30.0]


def test_the_largest_change_of_a_flip_comes_first():
    decisions = TaskDecisions.of(Task("findings", "nih", labels=["Effusion", "Nodule"]), Robustness())
    stable, small, large, both = [[3.0, 0.1]], [[0.1, 1.0]], [[2.0, -1.0]], [[0.5, 1.0]]
    rows = label_rows(
        list("abcd"), stable + small + large + both, [[0.2, 0.3], [-0.1, 1.0], [-2.0, -1.0], [-0.5, -2.0]]
    )
    chosen = unstable_labels(rows, decisions)
    assert [(each.row, each.label) for each in chosen] == [(2, 0), (3, 1)]  # of d the nodule changes most
    assert len(chosen) == MOST


def test_a_pair_is_shown_whose_box_is_found_on_one_side_only():
    rows = box_rows(list("abcd"), [[BOX], [BOX], [], [BOX]], [[BOX], [], [BOX], [OTHER]], [[BOX], [BOX], [BOX], []])
    assert sorted(unstable_boxes(rows, Robustness())) == [1, 2]  # lost, and gained; d has no true box


def test_pictures_of_a_flipped_finding_and_of_a_lost_box(demo_data):
    torch.manual_seed(0)
    experiment = load_experiment(SHIPPED / "demo.yaml", [f"data.root={demo_data}", *SETTINGS])
    module = MultiTaskModule(experiment, pretrained=False).eval()
    data = EvaluationDataModule(experiment, "val", channel_limit=6)
    data.setup()
    groups = {task.name: group.pairs for group in data.pair_groups("val") for task in group.tasks}
    nodules, boxes = groups["nodule"].ids[:2], groups["rsna_boxes"].ids[:1]
    stability = {
        "nodule": label_rows(nodules, [[1.0], [1.0]], [[1.0], [-1.0]]),
        "rsna_boxes": box_rows(boxes, [[BOX]], [[]], [[BOX]]),
    }
    decisions = {"nodule": TaskDecisions.of(experiment.tasks["nodule"], experiment.robustness)}
    answers = SimpleNamespace(stability=stability, decisions=decisions, size=32)
    network = SimpleNamespace(module=module, experiment=experiment)
    run = cast(RunEvaluation, SimpleNamespace(network=network, answers=answers))

    pictures = {picture.task: picture for picture in draw_unstable(run, data)}
    assert pictures.keys() == {"nodule", "rsna_boxes"}
    assert pictures["nodule"].title == nodules[1]
    assert " on the received image: p of Nodule " in pictures["nodule"].caption
    assert pictures["nodule"].pixels.shape[0] == HEIGHT
    assert pictures["rsna_boxes"].pixels.shape[0] == BOX_HEIGHT
    assert pictures["rsna_boxes"].caption == (
        "1 predicted on the original, 0 on the received image; overlap of both sides' boxes 0.000."
    )
