from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from covidmt.evaluation.membership import image_losses, membership_scores
from covidmt.evaluation.networks import Network
from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Accountant, Privacy, Task, TaskKind
from lightning_modules.checkpoint import PRIVACY
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.privacy import spent_epsilon


def network(root: Path, *overrides: str, tasks: str = "covidx") -> Network:
    settings = [f"data.root={root}", "data.image_size=32", "data.num_workers=0", "trainer.accelerator=cpu"]
    settings += [f"active_tasks=[{tasks}]", "model.backbone=timm:test_resnet", "model.pretrained=false", *overrides]
    experiment = load_experiment(SHIPPED / "demo.yaml", settings)
    torch.manual_seed(0)
    module = MultiTaskModule(experiment).eval()
    return Network("mine", None, experiment, experiment, experiment, module)


def test_losses_are_those_of_the_training():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [float("nan"), float("nan")]])
    softmax = image_losses(Task(kind=TaskKind.multiclass, labels=["a", "b"]), logits, targets)
    assert softmax[:2] == pytest.approx([np.log(1 + np.exp(-2)), np.log(2)])
    sigmoid = image_losses(Task(labels=["a", "b"]), logits, targets)
    assert sigmoid[:2] == pytest.approx([(np.log(1 + np.exp(-2)) + np.log(2)) / 2, np.log(2)])
    assert np.isnan([softmax[2], sigmoid[2]]).all()


def test_a_network_that_has_learnt_nothing_tells_nothing(demo_data: Path):
    scores, notes = membership_scores(network(demo_data), resamples=200)
    advantage = scores["membership/advantage"].estimate
    assert advantage.low <= 0 <= advantage.high
    assert scores["membership/auroc"].estimate.value == pytest.approx(0.5, abs=0.25)
    assert scores["membership/loss_trained"].n > scores["membership/loss_new"].n > 0
    assert notes == []


def test_a_private_network_says_what_any_attack_can_gain(demo_data: Path, tmp_path: Path):
    torch.save({PRIVACY: {"history": [(4.0, 0.1, 100)]}}, tmp_path / "best.ckpt")
    made, privacy = network(demo_data), Privacy(noise_multiplier=4.0, accountant=Accountant.rdp)
    private = replace(made, own=replace(made.own, privacy=privacy), checkpoint=tmp_path / "best.ckpt")
    epsilon = spent_epsilon(privacy, [(4.0, 0.1, 100)])
    _, (note,) = membership_scores(private, resamples=100)
    assert f"epsilon {epsilon:.2f} for an image" in note
    assert note.endswith(f"has an advantage above {np.tanh(epsilon / 2):.3f}")


def test_without_test_images_there_is_nothing_to_compare_with(tmp_path: Path):
    for split, label in product(("train", "val"), ("sick", "well")):
        (tmp_path / split / label).mkdir(parents=True)
        Image.new("L", (32, 32), 90).save(tmp_path / split / label / f"{split}.png")
    settings = [f"data.sources={{own: {{kind: folder, root: {tmp_path}}}}}", "robustness={task: own, label: sick}"]
    settings += ["tasks={own: {source: own, labels: [sick]}}", "data.pairs={val: own, test: null}"]
    settings += ["data.masks.folders=[]"]
    with pytest.raises(UserError, match="no labelled images in both"):
        membership_scores(network(tmp_path, *settings, tasks="own"), resamples=100)
