import lightning as L
import numpy as np
import pytest
import torch

from callbacks.robustness import RobustnessCallback
from covidmt.evaluation.answers import collect_answers
from covidmt.evaluation.tasks.answers import BoxRows, LabelRows, decided
from covidmt.evaluation.tasks.scores import box_stability, label_stability
from datamodules.evaluation import EvaluationDataModule
from datamodules.multitask import MultiTaskDataModule
from experiments.load import SHIPPED, load_experiment
from lightning_modules.multitask import MultiTaskModule

SETTINGS = ["data.num_workers=0", "data.image_size=32", "model.backbone=timm:test_resnet", "robustness.box_score=0.0"]
SETTINGS += [
    "model.transition_channels=8",
    "model.boxes.channels=8",
    "model.boxes.score_threshold=0",
    "data.pairs.limit=6",
]


@pytest.fixture(scope="module")
def evaluated(demo_data):
    torch.manual_seed(0)
    experiment = load_experiment(SHIPPED / "demo.yaml", [f"data.root={demo_data}", *SETTINGS])
    module = MultiTaskModule(experiment, pretrained=False).eval()
    data = EvaluationDataModule(experiment, "val", channel_limit=6)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        accelerator="cpu", devices=1, enable_model_summary=False, use_distributed_sampler=False, **quiet
    )
    data.trainer = trainer
    data.setup()
    return experiment, module, trainer, collect_answers(trainer, module, data)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_an_evaluation_says_what_a_validation_logs(evaluated):
    """The same pairs, the same answers: PI of every task, LI and the boxes outside the lungs."""
    experiment, module, _, answers = evaluated
    assert list(answers.stability) == list(module.tasks)
    callback = RobustnessCallback(experiment.robustness, experiment.tasks["covidx"], experiment.active)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    run = L.Trainer(
        accelerator="cpu", devices=1, enable_model_summary=False, use_distributed_sampler=False,
        callbacks=[callback], **quiet,
    )  # fmt: skip
    run.validate(module, MultiTaskDataModule(experiment), verbose=False)
    for name, rows in answers.stability.items():
        if isinstance(rows, LabelRows):
            scores = label_stability(rows, answers.decisions[name], experiment.robustness, 20)
            assert scores["pi"].estimate.value == pytest.approx(callback.last[f"val/pi/{name}"])
            assert scores["pi"].n == callback.last[f"val/pi/{name}/pairs"]
        else:
            scores = box_stability(rows, experiment.robustness, 20)
            assert scores["li/0.4"].estimate.value == pytest.approx(callback.last[f"val/li/{name}/0.4"])
            assert scores["iou"].estimate.value == pytest.approx(callback.last[f"val/li/{name}/iou"], abs=1e-4)


def test_noise_is_a_control_of_its_own(evaluated):
    *_, answers = evaluated
    rows = answers.stability["nodule"]
    assert isinstance(rows, LabelRows)
    assert rows.logits["noise"].shape == rows.logits["received"].shape == (6, 1)
    assert not np.array_equal(rows.logits["noise"], rows.logits["received"])
    boxes = answers.stability["rsna_boxes"]
    assert isinstance(boxes, BoxRows)
    assert len(boxes.noise) == len(boxes.truths) == len(boxes.inside["original"]) == 6


def test_decisions_of_arrays(evaluated):
    *_, answers = evaluated
    values = decided(answers.decisions["nodule"], np.array([[1.0], [-1.0], [np.nan]], np.float32))
    np.testing.assert_array_equal(values, [[1], [0], [np.nan]])
