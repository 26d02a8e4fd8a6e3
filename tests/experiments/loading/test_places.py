from dataclasses import fields

import pytest

from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment, load_lungs_experiment, load_pretrain_experiment
from experiments.loading.places import describe_unknown, setting_places
from experiments.lungs_schema import LungsExperiment
from experiments.pretraining.schema import PretrainExperiment
from experiments.schema import Data, Experiment, Task
from experiments.source_schema import NihSource
from experiments.sweep_schema import Launcher, Search, Sweep
from experiments.trainer.arguments import ARGUMENTS, OWN
from experiments.trials import load_sweep

DEMO = SHIPPED / "demo.yaml"
SECTIONS = {
    Experiment: {
        "": Experiment,
        "data.": Data,
        "tasks.covidx.": Task,
        "data.sources.nih.": NihSource,
        "trainer.": [*ARGUMENTS, *OWN],
    },
    Sweep: {"": Sweep, "launcher.": Launcher, "search.": Search},
    LungsExperiment: {"": LungsExperiment},
    PretrainExperiment: {"": PretrainExperiment},
}


@pytest.mark.parametrize(("schema", "section"), [(schema, name) for schema in SECTIONS for name in SECTIONS[schema]])
def test_every_setting_is_named_where_it_stands(schema, section):
    inside = SECTIONS[schema][section]
    here = inside if isinstance(inside, list) else [item.name for item in fields(inside)]
    elsewhere = {name: keys for name, keys in setting_places(schema).items() if name not in here}
    assert len(elsewhere) > 20
    for name, keys in elsewhere.items():
        assert keys[0] in describe_unknown(f"{section}{name}", here, schema)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("trainer.epoch_length=5", "did you mean data.epoch_length?"),
        ("trainer.epoch_lenght=5", "did you mean data.epoch_length?"),
        ("epoch_length=5", "did you mean data.epoch_length?"),
        ("max_epoch=5", "did you mean trainer.max_epochs?"),
        ("trainer.max_epoch=5", "did you mean 'max_epochs'?"),
        ("data.batch_size=5", "did you mean robustness.batch_size or tasks.<name>.batch_size?"),
        ("tasks.covidx.label=x", "did you mean 'labels' or robustness.label?"),
        ("pairs.channel=telegram", "did you mean data.pairs?"),
        ("data.channel=telegram", "did you mean data.pairs.channel?"),
        ("data.sources.nih.table=x", "did you mean data.sources.<name>.table (kind csv)?"),
        ("optimizer.momentum=0.9", "did you mean optimizer.options.momentum?"),
        ("launcher.kind=slurm", "launcher is a setting of sweeps"),
        ("optimiser.lr=1", "did you mean 'optimizer'?"),
    ],
)
def test_an_unknown_key_of_an_experiment(override, hint):
    with pytest.raises(UserError) as error:
        load_experiment(DEMO, [override])
    assert str(error.value).endswith(f"; {hint}")
    assert f"command line ({override})" in str(error.value)


@pytest.mark.parametrize(
    ("load", "name", "override", "hint"),
    [
        (load_lungs_experiment, "lungs_demo", "trainer.image_size=64", "data.image_size?"),
        (load_pretrain_experiment, "pretrain", "data.temperature=1", "temperature?"),
        (load_pretrain_experiment, "pretrain", "robustness.eta=1", "robustness is a setting of experiments"),
        (load_sweep, "sweeps/mini_cxr", "partition=gpu", "launcher.partition is a setting of sweeps"),
        (load_sweep, "sweeps/mini_cxr", "launcher.qos=high", "launcher.options.qos?"),
        (load_sweep, "sweeps/mini_cxr", "trainer.epoch_length=5", "data.epoch_length?"),
    ],
)
def test_an_unknown_key_of_other_yamls(load, name, override, hint):
    with pytest.raises(UserError) as error:
        load(SHIPPED / f"{name}.yaml", [override])
    assert str(error.value).endswith(hint)


def test_an_experiments_key_in_a_sweep(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"experiment: {DEMO}\nepoch_length: 5\n")
    with pytest.raises(UserError, match=r"data\.epoch_length is a setting of experiments: write it under overrides"):
        load_sweep(path)
    path.write_text(f"experiment: {DEMO}\ngrid: {{trainer.epoch_length: [5, 6]}}\n")
    with pytest.raises(UserError, match=r"trial 'epoch_length 5': trainer\.epoch_length.*did you mean data\.epoch_l"):
        load_sweep(path)
