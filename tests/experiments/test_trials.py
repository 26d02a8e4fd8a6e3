"""Sweep YAMLs and the trials that they mean."""

from pathlib import Path

import pytest
import yaml

from experiments.errors import UserError
from experiments.keys import nest
from experiments.load import SHIPPED, load_experiment, to_dict
from experiments.trials import changed_settings, load_sweep, trial_id

TASKS = ["covidx", "rsna_boxes", "infiltration", "effusion", "atelectasis", "nodule"]


@pytest.fixture
def sweep(tmp_path: Path):
    def load(text: str, *overrides: str):
        path = tmp_path / "some.yaml"
        path.write_text(f"experiment: {SHIPPED}/demo.yaml\n{text}")
        return load_sweep(path, overrides)

    return load


def test_the_papers_ablation():
    loaded, trials = load_sweep(SHIPPED / "sweeps" / "ablation_task_count.yaml")
    assert loaded.name == "ablation_task_count"
    assert len(trials) == len({trial.id for trial in trials}) == (6 * 2 + 2) * 3
    for backbone in ("resnet50", "resnext50_32x4d"):
        mine = [trial for trial in trials if trial.experiment.model.backbone == backbone]
        grid = [trial for trial in mine if "batch_size" not in trial.label]
        assert [[task.name for task in trial.experiment.active] for trial in grid[::3]] == [
            TASKS[:count] for count in range(1, 7)
        ]
        assert grid[0].label == f"{backbone}, 1 task"
        assert [trial.experiment.seed for trial in grid] == [0, 1, 2] * 6
        control = [trial for trial in mine if trial not in grid]
        assert {trial.label for trial in control} == {f"{backbone}, 1 task, batch_size 12"}
        assert all(trial.experiment.tasks["covidx"].batch_size == 12 for trial in control)


@pytest.mark.slow
def test_all_shipped_sweeps_are_whole():
    for path in (SHIPPED / "sweeps").glob("*.yaml"):
        assert load_sweep(path)[1]


def test_grid_zip_list_and_seeds(sweep):
    _, trials = sweep(
        "grid: {optimizer.lr: [0.1, 0.2], data: {image_size: [64, 96]}}\n"
        "zip: {model.backbone: [resnet18, resnet34], model.transition_channels: [8, 16]}\n"
        "list: [{optimizer.lr: 0.5}]\nseeds: [3, 4]\n"
    )
    assert len(trials) == (2 * 2 * 2 + 1) * 2
    assert [(t.experiment.optimizer.lr, t.experiment.seed) for t in trials[-2:]] == [(0.5, 3), (0.5, 4)]
    pairs = {(t.experiment.model.backbone, t.experiment.model.transition_channels) for t in trials[:-2]}
    assert pairs == {("resnet18", 8), ("resnet34", 16)}
    assert trials[0].label == "resnet18, lr 0.1, image_size 64"
    assert trials[0].overrides == {
        **{"optimizer.lr": 0.1, "data.image_size": 64, "model.backbone": "resnet18"},
        **{"model.transition_channels": 8, "seed": 3},
    }


def test_equal_trials_are_one(sweep):
    _, trials = sweep("grid: {optimizer.lr: [0.1]}\nlist: [{optimizer.lr: 0.1}, {optimizer.lr: 0.2}]\n")
    assert [trial.experiment.optimizer.lr for trial in trials] == [0.1, 0.2]


def test_labels_are_unique_where_counts_of_tasks_are_not(sweep):
    _, trials = sweep("grid: {active_tasks: [[covidx, nodule], [covidx, effusion]]}\n")
    assert [trial.label for trial in trials] == ["covidx+nodule", "covidx+effusion"]


def test_a_trial_is_what_decides_its_result():
    def identity(*overrides: str) -> str:
        return trial_id(load_experiment(SHIPPED / "demo.yaml", overrides))

    assert identity() == identity("tracking.experiment=other", "data.num_workers=0", "trainer.log_every_n_steps=1")
    assert identity() == identity(f"active_tasks={TASKS}", "name=other")
    assert identity("active_tasks=[covidx]") == identity("active_tasks=[covidx]", "tasks.nodule.batch_size=9")
    different = {identity(), identity("seed=1"), identity("optimizer.lr=0.5"), identity("data.root=/elsewhere")}
    assert len(different | {identity("trainer.max_epochs=9"), identity("tasks.covidx.batch_size=9")}) == 6


def test_a_changed_default_is_seen_and_a_new_setting_is_none():
    now = load_experiment(SHIPPED / "demo.yaml", ["active_tasks=[covidx]"])
    saved = to_dict(now)
    saved["robustness"]["eta"] = 0.3
    saved["tasks"]["covidx"]["loss_weight"] = 2.0
    saved["tasks"]["nodule"]["loss_weight"] = 2.0  # is not learnt
    saved["tracking"]["experiment"] = "another"
    del saved["robustness"]["engine"]
    assert changed_settings(saved, now) == ["robustness.eta", "tasks.0.loss_weight"]


def test_the_launcher_shapes_the_trainer(sweep):
    _, (trial,) = sweep("launcher: {kind: slurm, nodes: 2, gpus_per_node: 4}\n")
    expected = {"devices": 4, "num_nodes": 2, "strategy": "ddp", "accelerator": "gpu"}
    assert {key: trial.experiment.trainer[key] for key in expected} == expected
    _, (trial,) = sweep("overrides: {trainer: {devices: 2, strategy: ddp_find_unused_parameters_true}}\n")
    assert trial.experiment.trainer["devices"] == 2
    assert trial.experiment.trainer["strategy"] == "ddp_find_unused_parameters_true"


def test_overrides_go_where_they_belong(sweep):
    loaded, trials = sweep("overrides: {optimizer: {lr: 0.3}}\n", "launcher.partition=gpu", "seeds=[7]", "data.root=/x")
    assert loaded.launcher.partition == "gpu"
    assert [(t.experiment.seed, t.experiment.data.root, t.experiment.optimizer.lr) for t in trials] == [(7, "/x", 0.3)]
    _, trials = sweep("overrides: {optimizer: {lr: 0.3}}\n", "optimizer.lr=0.4")
    assert trials[0].experiment.optimizer.lr == 0.4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gird: {}", ["gird", "grid"]),
        ("grid: {optimizer.lr: 0.1}", ["grid.optimizer.lr", "list of values"]),
        ("grid: {optimizer.rl: [0.1]}", ["optimizer.rl", "'lr'", "trial"]),
        ("grid: {model.backbone: [resnet18], seed: [1]}\nseeds: [1]", ["seeds", "keep one"]),
        ("zip: {optimizer.lr: [0.1], seed: [1, 2]}", ["zip", "one length"]),
        ("seeds: [1, 1]", ["seeds", "twice"]),
        ("launcher: {nodes: 2}", ["launcher.nodes", "slurm"]),
        ("launcher: {kind: slurm, time_hours: 0.1, signal_seconds: 360}", ["launcher.signal_seconds", "time_hours"]),
        ("launcher: {time: 3}", ["launcher.time", "time_hours"]),
        ("launcher: {kind: slrum}", ["launcher.kind", "slrum"]),
        ("overrides: {trainer: {devices: auto}}", ["trainer.devices", "launcher.gpus_per_node"]),
        ("search: {metric: val/pi_score}", ["search.space"]),
        ("search: {metric: train/loss, space: {optimizer.lr: {low: 1, high: 2}}}", ["search.metric", "train/loss"]),
        ("search: {metric: val/x, space: {optimizer.lr: {low: 2, high: 1}}}", ["search.space.optimizer.lr", "low"]),
        ("search: {metric: val/x, space: {optimizer.rl: {low: 1, high: 2}}}", ["optimizer.rl", "'lr'"]),
        ("search: {metric: val/x, space: {optimizer.lr: {low: 1, high: 2}}}\nseeds: [1]", ["search", "seeds"]),
        ("search: {metric: val/x, space: {optimizer.lr: {low: 1, hihg: 2}}}", ["hihg", "high"]),
        ("name: a/b", ["name", "a/b"]),
        ("search: 3", ["some.yaml: search: takes a mapping", "3"]),
    ],
)
def test_mistakes_are_named(sweep, text: str, words: list[str]):
    with pytest.raises(UserError) as error:
        sweep(text)
    for word in words:
        assert word in str(error.value)


def test_settings_that_follow_the_seed_follow_it_in_every_trial(tmp_path: Path):
    (tmp_path / "base.yaml").write_text(f"extends: {SHIPPED}/demo.yaml\ndata: {{split_seed: '${{seed}}'}}\n")
    (tmp_path / "sweep.yaml").write_text("experiment: base.yaml\nseeds: [3, 4, 5]\n")
    _, trials = load_sweep(tmp_path / "sweep.yaml")
    assert [(t.experiment.seed, t.experiment.data.split_seed) for t in trials] == [(3, 3), (4, 4), (5, 5)]


def test_a_trial_is_what_the_same_settings_are_alone(sweep):
    _, trials = sweep("grid: {optimizer.lr: [0.1, 0.2]}\nseeds: [3, 4]\n")
    for trial in trials:
        overrides = [f"{key}={value}" for key, value in trial.overrides.items()]
        alone = load_experiment(SHIPPED / "demo.yaml", [*overrides, "trainer.devices=1", "trainer.num_nodes=1"])
        assert trial_id(alone) == trial.id
    with pytest.raises(UserError, match="seed: must lie between 0"):
        sweep("seeds: [3, -1]\n")


def test_a_varied_key_cannot_be_overridden(sweep):
    with pytest.raises(UserError, match=r"varies optimizer\.lr"):
        sweep("grid: {optimizer.lr: [0.1]}", "optimizer.lr=0.2")


def test_dotted_keys_and_mappings_side_by_side_lose_nothing(tmp_path: Path):
    dotted, mapping = {"data.augment.jpeg": 0.5}, {"data": {"image_size": 96}}
    for overrides in ({**dotted, **mapping}, {**mapping, **dotted}):
        assert nest(overrides) == {"data": {"augment": {"jpeg": 0.5}, "image_size": 96}}
        path = tmp_path / "mixed.yaml"
        path.write_text(
            yaml.safe_dump({"experiment": str(SHIPPED / "demo.yaml"), "overrides": overrides}, sort_keys=False)
        )
        (trial,) = load_sweep(path)[1]
        assert (trial.experiment.data.augment.jpeg, trial.experiment.data.image_size) == (0.5, 96)
    assert nest({"data.image_size": 64, "data": {"image_size": 96}}) == {"data": {"image_size": 96}}
    tags = {"tracking": {"tags": {"a.b": "c"}}}
    assert nest({"tracking.run_name": "d", **tags}) == {"tracking": {"run_name": "d", "tags": {"a.b": "c"}}}
    assert nest({"data": {"image_size": 96}, "data.image_size": 64}) == {"data": {"image_size": 64}}


def test_a_search_has_numbered_trials(sweep):
    loaded, trials = sweep(
        "search: {metric: val/x, pruner: null, trials: 3, space: {optimizer.lr: {low: 1e-5, high: 0.1, log: true}}}"
    )
    assert loaded.search is not None
    assert loaded.search.pruner is None
    assert [trial.id[-3:] for trial in trials] == ["000", "001", "002"]
    assert len({trial.id[:6] for trial in trials}) == 1
