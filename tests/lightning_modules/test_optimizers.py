from __future__ import annotations

import pytest
import torch
from torch import nn

from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Optimizer, Scheduler
from lightning_modules.optimizers import build_optimizer, build_scheduler

PARAMETERS = [nn.Parameter(torch.zeros(2, 2))]


def optimizer(**settings):
    return build_optimizer(PARAMETERS, Optimizer(**settings))


def scheduler(**settings):
    return build_scheduler(optimizer(), Scheduler(**settings))


def test_the_papers_defaults():
    adam, steps = optimizer(), scheduler()
    assert type(adam) is torch.optim.Adam
    assert adam.defaults["lr"] == 2e-4
    assert sorted(steps["scheduler"].milestones) == [8, 16, 20]
    assert steps["interval"] == "epoch"


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RAdam", "RMSprop", "NAdam", "Adagrad", "LBFGS"])
def test_any_optimizer(name):
    assert type(optimizer(name=name, lr=0.5)).__name__ == name


def test_options():
    assert optimizer(name="SGD", options={"momentum": 0.9, "nesterov": True}).defaults["nesterov"] is True
    steps = scheduler(options={"milestones": [2], "gamma": 0.5}, interval="step")
    assert (steps["interval"], steps["scheduler"].gamma) == ("step", 0.5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("CosineAnnealingLR", {"T_max": 25}),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 10}),
        ("StepLR", {"step_size": 3}),
        ("ConstantLR", {}),
    ],
)
def test_any_scheduler_through_yaml(name, options):
    """The default's milestones, which OmegaConf merges in, do not reach another scheduler."""
    overrides = [f"scheduler.options.{key}={value}" for key, value in options.items()]
    settings = load_experiment(SHIPPED / "covidmt_resnet50.yaml", [f"scheduler.name={name}", *overrides]).scheduler
    assert type(build_scheduler(optimizer(), settings)["scheduler"]).__name__ == name


def test_none_and_plateau():
    assert scheduler(name=None) is None
    assert scheduler(name="ReduceLROnPlateau", options={"patience": 2})["monitor"] == "val/loss"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "Adm"}, "did you mean 'Adam"),
        ({"name": "Optimizer"}, "optimizer.name"),
        ({"options": {"momentum": 0.9}}, "optimizer.options.momentum: Adam has no such option"),
        ({"options": {"weight_decy": 0.9}}, "did you mean 'weight_decay'"),
        ({"options": {"lr": 0.9}}, "optimizer.options.lr"),
        ({"lr": -1.0}, "Invalid learning rate"),
    ],
)
def test_wrong_optimizers(settings, words):
    with pytest.raises(UserError) as error:
        optimizer(**settings)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "MultiStep"}, "did you mean 'MultiStepLR'"),
        ({"name": "CosineAnnealingLR", "options": {"T_maxx": 3}}, "did you mean 'T_max'"),
        ({"name": "CosineAnnealingLR", "options": {}}, "T_max"),
        ({"interval": "batch"}, "scheduler.interval: takes epoch or step"),
        ({"name": "LambdaLR", "options": {"lr_lambda": "x"}}, "scheduler: LambdaLR refuses"),
    ],
)
def test_wrong_schedulers(settings, words):
    with pytest.raises(UserError) as error:
        scheduler(**settings)
    assert words in str(error.value)
