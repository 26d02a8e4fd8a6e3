import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.load import (
    SHIPPED,
    from_dict,
    load_experiment,
    load_lungs_experiment,
    load_pretrain_experiment,
    to_dict,
    to_yaml,
)
from experiments.schema import Experiment, TaskKind
from experiments.source_schema import CovidxSource

BASE = """
data:
  sources: {c: {kind: covidx, root: "${data.root}/c"}, w: {kind: wacxr, root: w}}
  pairs: {val: c, test: w}
tasks:
  covidx: {source: c, labels: [normal, COVID-19]}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def test_shipped_experiments_load():
    names = sorted(p.name for p in SHIPPED.glob("*.yaml"))
    assert {"covidmt_resnet50.yaml", "covidmt_resnext50.yaml", "covidmt_resnet50_paper.yaml", "demo.yaml"} <= set(names)
    for name in names:
        load = load_lungs_experiment if name.startswith("lungs_") else load_experiment
        load = load_pretrain_experiment if name == "pretrain.yaml" else load
        assert load(SHIPPED / name).name == Path(name).stem


def test_extends_overrides_and_interpolation(base: Path, tmp_path: Path):
    child = tmp_path / "child.yaml"
    child.write_text("extends: base.yaml\nname: x\ndata: {root: /a}\ntasks: {covidx: {batch_size: 8}}\n")
    experiment = load_experiment(child, ["data.root=/b", "trainer.devices=[0,1]", "tasks.covidx.kind=multiclass"])
    assert experiment.name == "x"
    assert isinstance(experiment.data.sources["c"], CovidxSource)
    assert experiment.data.sources["c"].root == "/b/c"
    assert experiment.tasks["covidx"].batch_size == 8
    assert experiment.tasks["covidx"].kind is TaskKind.multiclass
    assert experiment.trainer == {"max_epochs": 25, "devices": [0, 1]}


def test_resolved_yaml_gives_the_same_experiment(base: Path, tmp_path: Path):
    experiment = load_experiment(base, ["optimizer.options.betas=[0.8,0.9]"])
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(experiment))
    assert to_dict(load_experiment(again)) == to_dict(experiment)
    assert from_dict(Experiment, to_dict(experiment)) == experiment


def test_numbers_are_read_as_in_files(base: Path):
    experiment = load_experiment(base, ["optimizer.lr=1e-3", "optimizer.options.weight_decay=1e-4"])
    assert experiment.optimizer.lr == 1e-3
    assert experiment.optimizer.options["weight_decay"] == 1e-4


def test_a_source_can_change_its_kind(base: Path):
    experiment = load_experiment(base, ["data.sources.c={kind: csv, root: r, table: t.csv}"])
    assert to_dict(experiment)["data"]["sources"]["c"]["table"] == "t.csv"
    assert "train_list" not in to_dict(experiment)["data"]["sources"]["c"]


WRONG = [
    ("modle.x=1", ["'modle'", "'model'", "command line"]),
    ("model.backbon=x", ["model.backbon", "'backbone'"]),
    ("data.sources.c.train_lst=x", ["data.sources.c.train_lst", "'train_list'"]),
    ("data.sources.c.kind=covidxx", ["data.sources.c.kind", "'covidx'"]),
    ("data.sources.new.root=x", ["data.sources.new", "kind"]),
    ("tasks.covidx.batch_size=four", ["tasks.covidx.batch_size", "four"]),
    ("tasks.covidx.batch_size=0", ["tasks.covidx.batch_size"]),
    ("tasks.covidx.kind=multilable", ["tasks.covidx.kind", "multilabel"]),
    ("tasks.covidx.source=x", ["tasks.covidx.source", "'x'"]),
    ("tasks.covidx.labels=[]", ["tasks.covidx.labels"]),
    ("tasks.covidx.upsample={covid: normal}", ["upsample", "'covid'"]),
    ("tasks.covidx.class_weights=[1.0]", ["class_weights", "1 weights for 2 labels"]),
    ("tasks.covidx.name=other", ["tasks.covidx.name"]),
    ("tasks=[1]", ["tasks: takes a mapping"]),
    ("data={masks: 1, pairs: 2, augment: 3}", ["data.masks: takes a mapping", "1"]),  # the first
    ("data=3", ["data: takes a mapping", "3"]),
    ("data.sources=3", ["data.sources"]),
    ("active_tasks=[covid]", ["active_tasks", "'covidx'"]),
    ("active_tasks=[]", ["active_tasks"]),
    ("active_tasks=[covidx,covidx]", ["active_tasks", "twice"]),
    ("data.root=${data.rot}", ["data.rot"]),
    ("data.image_size=8", ["data.image_size"]),
    ("data.val_fraction=1.5", ["data.val_fraction"]),
    ("data.num_workers=-1", ["data.num_workers"]),
    ("data.epoch_length=many", ["data.epoch_length", "'many'"]),
    ("data.split_policy=none", ["data.split_policy", "patient_disjoint"]),
    ("data.pairs.val=x", ["data.pairs.val", "'x'"]),
    ("data.augment.jpeg_quality=[90,40]", ["jpeg_quality"]),
    ("data.augment.hflip=2", ["data.augment.hflip"]),
    ("robustness.task=x", ["robustness.task"]),
    ("robustness.label=COVID", ["robustness.label", "COVID-19"]),
    ("robustness.threshold=0", ["robustness.threshold"]),
    ("robustness.batch_size=0", ["robustness.batch_size"]),
    ("robustness.target=both", ["robustness.target", "decision"]),
    ("robustness.decision=vote", ["robustness.decision", "argmax"]),
    ("model.head=own", ["model.head", "native"]),
    ("model.boxes.pyramid=fpn", ["model.boxes.pyramid", "paper"]),
    ("model.normalisation={mean: [0.5], std: [0.5]}", ["model.normalisation", "three channels"]),
    ("model.normalisation={std: [0.5, 0, 0.5]}", ["model.normalisation.std", "above 0"]),
    ("model.normalisation={mean: [0.5, .nan, 0.5]}", ["model.normalisation.mean", "nan"]),
    ("model.normalisation={mean: 0.5}", ["model.normalisation.mean"]),
    ("data.root", ["key.path=value"]),
    ("model.weights=[1", ["model.weights", "YAML"]),
    ("seed=-1", ["seed"]),
    ("data.sources.c.kind=[csv]", ["data.sources.c.kind"]),
    ("data.pairs.val=[c,x]", ["data.pairs.val", "'x'"]),
    ("data.pairs.val=[c,c]", ["data.pairs.val", "named twice"]),
    ("data.pairs.val=[]", ["data.pairs.val", "a list of sources"]),
    ("data.pairs.val=3", ["data.pairs.val", "a list of sources"]),
    ("data.pairs.test=[c,x]", ["data.pairs.test", "'x'"]),
    ("data.pairs.test=[c,c]", ["data.pairs.test", "named twice"]),
    ("data.pairs.test=[]", ["data.pairs.test", "a list of sources"]),
    ("data.pairs.test=[3]", ["data.pairs.test", "a list of sources"]),
    ("data.pairs.limit={c: 0}", ["data.pairs.limit", "1 or more"]),
    ("data.pairs.limit={nhi: 5}", ["data.pairs.limit", "'nhi'"]),
    ("data.pairs.limit=many", ["data.pairs.limit", "'many'"]),
    ("robustness.thresholds=best", ["robustness.thresholds"]),
    ("tasks.argmax={source: nih, labels: [Mass]}", ["tasks.argmax", "val/pi/argmax"]),
    ("data.pairs.limit=0", ["data.pairs.limit"]),
    ("tasks.covidx.loss_weight=0", ["tasks.covidx.loss_weight"]),
    ("tasks.new=[]", ["tasks.new: takes a mapping"]),
    ("tasks.covidx.labels=3", ["tasks.covidx.labels"]),
]


@pytest.mark.parametrize(("override", "words"), WRONG)
def test_a_wrong_override_is_named(base: Path, override: str, words: list[str]):
    with pytest.raises(UserError) as error:
        load_experiment(base, [override])
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: nothing.yaml", ["nothing.yaml", "no such experiment"]),
        ("extends: child.yaml", ["circle"]),
        ("extends: [base.yaml]", ["extends"]),
        ("a: [", ["child.yaml", "YAML"]),
        ("a: 1\na: 2", ["child.yaml"]),
        ("- 1", ["mapping"]),
        ("just text", ["child.yaml", "just text"]),
        ("extends: base.yaml\nseeed: 1", ["child.yaml", "'seeed'", "'seed'"]),
        ("extends: base.yaml\nseed: [1]", ["child.yaml", "seed"]),
        ("extends: base.yaml\ndata: {sources: {c: 3}}", ["child.yaml", "data.sources.c"]),
        ("name: x", ["tasks"]),
    ],
)
def test_a_wrong_file_is_named(base: Path, text: str, words: list[str]):
    child = base.parent / "child.yaml"
    child.write_text(text)
    with pytest.raises(UserError) as error:
        load_experiment(child)
    for word in words:
        assert word in str(error.value)


def test_shipped_experiments_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert load_experiment("experiments/demo.yaml").name == "demo"
    with pytest.raises(UserError, match=r"did you mean 'demo.yaml'"):
        load_experiment("experiments/dmo.yaml")


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["data", "tasks", "model", "trainer", "sources", "kind", "root", "covidx", "x"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_any_yaml_loads_or_is_refused_with_a_message(tmp_path_factory: pytest.TempPathFactory, values: object):
    path = tmp_path_factory.mktemp("fuzz") / "any.yaml"
    path.write_text(yaml.safe_dump(values))
    try:
        load_experiment(path)
    except UserError as error:
        assert "any.yaml" in str(error)  # noqa: PT017


@pytest.mark.parametrize("override", ["tasks.covidx=null", "model=null", "data.pairs=[]"])
def test_a_section_takes_a_mapping(base: Path, override: str):
    key = override.partition("=")[0]
    with pytest.raises(UserError, match=f"command line .*: {re.escape(key)}: takes a mapping of keys to values"):
        load_experiment(base, [override])


def test_an_optional_section_takes_null_and_a_free_value_any_kind(base: Path):
    assert load_experiment(base, ["privacy=null"]).privacy is None
    experiment = load_experiment(base, ["trainer.strategy={class_path: x.Y}", "trainer.strategy=ddp"])
    assert experiment.trainer["strategy"] == "ddp"


def test_a_sources_own_section_is_named(base: Path):
    mine = "data.sources.mine={kind: csv, table: t.csv, labels: {sick: sick}}"
    with pytest.raises(UserError, match=r"data\.sources\.mine\.labels: takes a mapping of keys to values, not \['a'\]"):
        load_experiment(base, [mine, "data.sources.mine.labels=[a]"])
