"""Which runs are one configuration, and what it is called."""

from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Dataset, DatasetInput

from covidmt.comparison.analysis import analyse
from covidmt.comparison.configurations import also_differs, group_configurations, other_differences
from covidmt.comparison.findings import reservations
from covidmt.comparison.report import report_runs
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import Store, flipped, scores


def test_settings_that_tell_configurations_apart_are_in_their_names(store: Store):
    runs = [store.trial(params={"lr": lr}, metrics=scores(lr)) for lr in (1, 2)]
    runs.append(store.trial(params={"lr": 2, "channel": "signal"}, metrics=scores(3)))
    labels = [c.label for c in group_configurations(collect_runs(runs, store))]
    assert labels == [
        "ResNet-50, 1 task, lr 2, channel signal",
        "ResNet-50, 1 task, lr 1, channel whatsapp",
        "ResNet-50, 1 task, lr 2, channel whatsapp",
    ]


def test_a_sweeps_trial_and_a_single_run_of_the_same_settings_are_one_configuration(store: Store):
    parent = store.sweep("rates")
    rates = {"1.0e-4": {"parent": parent, "sweep": "rates"}, "0.0001": {"seed": 1}, "2.0e-4": {"seed": 2}}
    swept, alone, other = (
        store.trial(overrides={"optimizer.lr": float(rate)}, metrics=scores(3), **more) for rate, more in rates.items()
    )
    made = analyse(collect_runs(["rates", alone, other], store))
    assert [[trial.run_id for trial in c.runs] for c in made.configurations] == [[swept, alone], [other]]
    assert [c.label for c in made.configurations] == ["ResNet-50, 1 task, lr 0.0001", "ResNet-50, 1 task, lr 0.0002"]


def test_runs_of_other_epochs_and_augmentation_are_no_seeds(store: Store):
    changes = {"trainer.max_epochs": 2, "data.augment.jpeg": 0.5, "data.augment.hflip": 0.25}
    runs = [
        store.trial(seed=0, metrics=scores(3)),
        store.trial(seed=1, metrics=scores(4), overrides=changes),
    ]
    longer, other = sorted(group_configurations(collect_runs(runs, store)), key=lambda c: c.runs[0].seed)
    assert [len(c.runs) for c in (longer, other)] == [1, 1]
    assert [each.label for each in (longer, other)] == [f"ResNet-50, 1 task, max_epochs {n}" for n in (25, 2)]
    words = "data.augment.hflip 0.25 against 0.5"  # the epochs are in both names
    assert also_differs(other, longer) == f"; also: {words}; data.augment.jpeg 0.5 against 0"
    assert also_differs(other, longer, most=1) == f"; also: {words}; 1 more settings (comparisons.csv)"
    assert "trainer.max_epochs" in [each.key for each in other_differences(other, longer)]  # and in the table of all


def test_what_the_machine_decides_makes_no_configuration(store: Store):
    moved = {"data.root": "/else", "data.num_workers": 9, "trainer.devices": "auto", "tasks.covidx.batch_size": 2}
    runs = [
        store.trial(seed=0, metrics=scores(3), tags={"processes": "1"}),
        store.trial(seed=1, metrics=scores(4), tags={"processes": "2"}, overrides=moved),
    ]
    (made,) = group_configurations(collect_runs(runs, store))
    assert len(made.runs) == 2


@pytest.mark.parametrize("tag", ["mask_source", "weights"])
def test_other_masks_and_weights_are_another_configuration(store: Store, tag: str):
    runs = [store.trial(seed=seed, metrics=scores(3), tags={tag: content}) for seed, content in enumerate("ab")]
    first, second = group_configurations(collect_runs(runs, store))
    assert " a against b" in also_differs(first, second)


def test_other_data_of_the_same_name_are_another_configuration(store: Store):
    runs = [store.trial(seed=seed, metrics=scores(3)) for seed in (0, 1, 2)]
    for run, digest in zip(runs, "aab", strict=True):
        dataset = Dataset(name="covidx", digest=digest * 32, source_type="local", source="{}")
        store.client.log_inputs(run, [DatasetInput(dataset)])
    same, other = group_configurations(collect_runs(runs, store))
    assert [run.seed for run in same.runs] == ["0", "1"]
    assert "data.sources.covidx.content bbbb" in also_differs(other, same)


def test_a_run_that_does_not_tell_its_experiment_is_nobodys_seed(store: Store, tmp_path: Path):
    runs = [store.trial(seed=seed, metrics=scores(3), known=seed > 0) for seed in (0, 1, 2)]
    collected = collect_runs(runs, store)
    assert sorted(len(c.runs) for c in group_configurations(collected)) == [1, 2]
    assert len({c.label for c in group_configurations(collected)}) == 2
    page = report_runs(runs, tmp_path, store).read_text()
    assert "1 of the trainings have no experiment.yaml" in page


def test_another_commit_is_the_same_configuration_and_warned_of(store: Store):
    runs = [
        store.trial(
            seed=seed, metrics=scores(3), tags={"mlflow.source.git.commit": commit, "versions": f"torch {seed}"}
        )
        for seed, commit in enumerate(("1a", "2b"))
    ]
    made = analyse(collect_runs(runs, store))
    assert [len(c.runs) for c in made.configurations] == [2]
    texts = reservations(made)
    assert any("the code's version" in text for text in texts)
    assert any("the libraries' versions" in text for text in texts)


def test_what_differs_besides_is_on_the_page_in_the_terminal_and_in_the_csv(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    runs = [
        store.trial(pairs=flipped(1, 2), overrides={"trainer.max_epochs": 2}),
        store.trial(n_tasks=6, pairs=flipped(1), overrides={"trainer.max_epochs": 1}),
    ]
    page = report_runs(runs, tmp_path, store).read_text()
    words = "ResNet-50, 6 tasks against ResNet-50, 1 task; also: 1 epoch against 2"
    assert words in capsys.readouterr().out
    assert page.count(words) == 2  # the finding's title, and before one quotes
    assert "<small>also: 1 epoch against 2</small>" in page
    assert set(pd.read_csv(tmp_path / "comparisons.csv")["also_differs"]) == {"1 epoch against 2"}
    assert "trainer.max\\_epochs" in (tmp_path / "table.tex").read_text()
