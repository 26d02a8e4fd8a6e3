"""What is compared with what."""

from covidmt.comparison.analysis import analyse
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import Store, scores


def test_the_task_count_figure_has_a_line_a_network_and_controls_apart(store: Store):
    parent = store.sweep("lines")
    for n in (1, 2, 3):
        store.trial(parent=parent, sweep="lines", n_tasks=n, metrics=scores(9 - n))
    store.trial(parent=parent, sweep="lines", overrides={"tasks.covidx.batch_size": 12}, metrics=scores(7))
    made = analyse(collect_runs([parent], store))
    labels = [c.label for c in made.configurations]
    assert labels == [
        "ResNet-50, 1 task, global_batch 4",
        "ResNet-50, 1 task, global_batch 12",
        "ResNet-50, 2 tasks",
        "ResNet-50, 3 tasks",
    ]
    assert [(base.label, many.label) for base, many in made.couples] == [
        ("ResNet-50, 1 task, global_batch 4", "ResNet-50, 3 tasks")
    ]
    assert {row.verdict for row in made.against_base} == {"unknown"}  # one seed, no pairs
