"""Which runs are one configuration, and what it is called."""

from covidmt.comparison.analysis import analyse
from covidmt.comparison.configurations import group_configurations
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import Store, scores


def test_settings_that_tell_configurations_apart_are_in_their_names(store: Store):
    runs = [store.trial(params={"lr": lr}, metrics=scores(lr)) for lr in (1, 2)]
    runs.append(store.trial(params={"lr": 2, "channel": "signal"}, metrics=scores(3)))
    labels = [c.label for c in group_configurations(collect_runs(runs, store))]
    assert labels == [
        "ResNet-50, 1 task, channel signal, lr 2",
        "ResNet-50, 1 task, channel whatsapp, lr 1",
        "ResNet-50, 1 task, channel whatsapp, lr 2",
    ]


def test_a_sweeps_trial_and_a_single_run_of_the_same_settings_are_one_configuration(store: Store):
    parent = store.sweep("rates")
    swept = store.trial(parent=parent, sweep="rates", overrides={"optimizer.lr": 1e-4}, metrics=scores(3))
    alone = store.trial(seed=1, metrics=scores(4))
    other = store.trial(seed=2, metrics=scores(5))
    for run, rate in ((swept, "1.0e-4"), (alone, "0.0001"), (other, "2.0e-4")):
        store.client.log_text(run, f"optimizer: {{lr: {rate}}}", "experiment.yaml")
    made = analyse(collect_runs(["rates", alone, other], store))
    assert [[trial.run_id for trial in c.runs] for c in made.configurations] == [[swept, alone], [other]]
    assert [c.label for c in made.configurations] == ["ResNet-50, 1 task, lr 0.0001", "ResNet-50, 1 task, lr 0.0002"]
