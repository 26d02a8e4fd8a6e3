import pytest

from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Task, TaskKind

DEMO = SHIPPED / "demo.yaml"


def test_a_kind_takes_the_place_of_a_class_of_ones_own(tmp_path):
    (tmp_path / "owntask.py").write_text("class Own:\n    answers = 'multilabel'\n")
    (tmp_path / "mine.yaml").write_text(f"extends: {DEMO}\ntasks: {{nodule: {{kind: owntask.Own}}}}\n")
    own = load_experiment(tmp_path / "mine.yaml").tasks["nodule"]
    assert (own.kind, own.module) == (TaskKind.multilabel, "owntask.Own")
    ours = load_experiment(tmp_path / "mine.yaml", ["tasks.nodule.kind=multilabel"]).tasks["nodule"]
    assert ours == Task("nodule", "nih", labels=["Nodule"])


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        (["scheduler.name=CosineAnnealingLR", "scheduler.options.T_max=3"], {"T_max": 3}),
        (["scheduler.name=ExponentialLR", "scheduler.options={gamma: 0.9}"], {"gamma": 0.9}),
        (["scheduler.options.last_epoch=-1", "scheduler.name=StepLR"], {"last_epoch": -1}),
        (["scheduler.options.gamma=0.5"], {"milestones": [4], "gamma": 0.5}),
    ],
)
def test_another_scheduler_keeps_the_options_that_it_takes(overrides, options):
    assert load_experiment(DEMO, overrides).scheduler.options == options


def test_another_optimizer_keeps_the_options_that_it_takes():
    adam = ["optimizer.options={betas: [0.8, 0.9], weight_decay: 0.1}"]
    assert load_experiment(DEMO, adam).optimizer.options == {"betas": [0.8, 0.9], "weight_decay": 0.1}
    assert load_experiment(DEMO, [*adam, "optimizer.name=SGD"]).optimizer.options == {"weight_decay": 0.1}
    assert load_experiment(DEMO, [*adam, "optimizer.name=AdamW"]).optimizer.options.keys() == {"betas", "weight_decay"}
    with pytest.raises(UserError, match=r"command line \(optimizer.name=SGDD\).*did you mean 'SGD'"):
        load_experiment(DEMO, [*adam, "optimizer.name=SGDD"])
