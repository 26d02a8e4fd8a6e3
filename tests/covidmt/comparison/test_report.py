"""Reports of made-up runs whose means, intervals and differences are known by hand, in real tracking stores."""

import re
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidmt.comparison.comparisons import PairedResults, compare
from covidmt.comparison.configurations import configurations, network_names
from covidmt.comparison.paper import BASELINES, BASES, paper_value
from covidmt.comparison.report import analyse, beside_paper, report, warnings
from covidmt.comparison.trials import collect
from experiments.errors import UserError
from tests.helpers.sweeps import Store, ablation, pairs_table

N = 40


def flipped(*which: int) -> pd.DataFrame:
    """Forty pairs of which these change their answer; these look outside the lungs too."""
    events = np.isin(np.arange(N), which)
    return pairs_table(events, events, events)


def scores(pi: float, ols: float = 50.0, **more: float) -> dict[str, float]:
    return {"test/pi_score": pi, "test/ols_score/original": ols, "test/ols_score/received": ols} | more


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("project"))


def configuration_rows(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "configurations.csv").set_index(["configuration", "score"])


def test_means_intervals_and_the_paper_beside_them_by_hand(store: Store, tmp_path: Path):
    parent = store.sweep("bases")
    for seed, (low, high) in enumerate([(3, 6), (4, 7), (5, 8)]):
        accuracy = {"test/covidx/accuracy": 0.9, "test/covidx/auroc": 0.95 + seed / 100}
        store.trial(parent=parent, sweep="bases", n_tasks=1, seed=seed, metrics=scores(high))
        store.trial(parent=parent, sweep="bases", n_tasks=6, seed=seed, metrics=scores(low) | accuracy)
        store.trial(parent=parent, sweep="bases", backbone="resnext50_32x4d", seed=seed, metrics=scores(6, 70))
        store.trial(
            parent=parent, sweep="bases", backbone="resnext50_32x4d", n_tasks=6, seed=seed, metrics=scores(4, 35)
        )
    page = report(["bases"], tmp_path, store.uri)
    rows = configuration_rows(tmp_path)
    # s = 1, t(2, 97.5 %) = 4.3027: 4 -+ 2.4841
    assert rows.loc[("ResNet-50, 6 tasks", "pi"), ["mean", "low", "high", "seeds"]].tolist() == pytest.approx(
        [4, 1.5159, 6.4841, 3], abs=1e-3
    )
    assert rows.loc[("ResNet-50, 6 tasks", "accuracy"), "mean"] == pytest.approx(90)
    assert rows.loc[("ResNet-50, 6 tasks", "auroc"), "mean"] == pytest.approx(0.96)
    beside = pd.read_csv(tmp_path / "paper.csv").set_index(["score", "networks", "n_tasks"])
    assert beside.loc[("pi", "mean of ResNet-50 and ResNeXt-50", 1), ["ours", "paper"]].tolist() == [6.5, "7"]
    assert beside.loc[("pi", "ResNet-50", 6), "paper"] == "not in text"
    assert beside.loc[("ols_original", "ResNeXt-50", 1), ["ours", "paper"]].tolist() == [70, "67.11"]
    text = page.read_text()
    assert "−2.80" in text  # the paper's PI, points
    assert "−40\u00a0%" in text  # and relative
    # Without tables of pairs: Welch's t over the seeds. The same spread in both, 4 degrees, t = 2.776: -3 -+ 2.267
    table = pd.read_csv(tmp_path / "comparisons.csv")
    row = table[(table["score"] == "pi") & (table["second"] == "ResNet-50, 6 tasks")].iloc[0]
    assert row[["difference", "low", "high", "relative_percent"]].tolist() == pytest.approx(
        [-3, -5.267, -0.733, -300 / 7], abs=1e-2
    )
    assert (row["interval_over"], row["first"]) == ("seeds", "ResNet-50, 1 task")
    logged = {file.path for file in store.client.list_artifacts(parent, "report")}
    assert {"report/report.html", "report/table.tex", "report/task_count.png", "report/task_count.svg"} <= logged
    assert {f"report/{name}.csv" for name in ("trials", "configurations", "comparisons", "paper")} <= logged
    tex = (tmp_path / "table.tex").read_text()
    assert r"ResNet-50, 6 tasks & 3 & 4.00 [1.52, 6.48] & 50.0" in tex
    assert tex.count(r"\%") >= 4  # escaped wherever it stands
    assert not re.search(r"[^\\]%", tex)


def test_the_same_pairs_by_hand(store: Store):
    """Ten of forty change against two of the same ten: eight discordant pairs on one side, p = 2 / 2^8."""
    base = store.trial(pairs=flipped(*range(10)))
    many = store.trial(n_tasks=6, pairs=flipped(0, 1))
    made = analyse(collect([base, many], store.uri))
    (pi,) = [row for row in made.against_base if row.score == "pi"]
    assert (pi.first.label, pi.second.label) == ("ResNet-50, 1 task", "ResNet-50, 6 tasks")
    assert pi.difference == pytest.approx(-20)
    assert pi.relative == pytest.approx(-80)
    assert pi.discordant == (8, 0)
    assert pi.p == pi.p_adjusted == pytest.approx(2 / 2**8)
    assert pi.low < -20 < pi.high < 0
    assert (pi.basis, pi.verdict) == ("patients", "clear")
    assert made.paired.n_pairs == made.paired.n_patients == N
    assert isnan(pi.first.scores["pi"].low)  # one seed: no interval over seeds
    assert pi.first.scores["pairs_original"].value == 100
    assert pi.first.scores["pairs_received"].value == 75
    assert any("single seed" in text for text in warnings(made))


def test_one_seed_against_several_is_no_proof_by_the_seed_that_they_share(store: Store):
    """Of forty pairs ten change; in three seeds two (McNemar's p with the first: 2 / 2^8), eighteen and eighteen."""
    runs = [store.trial(pairs=flipped(*range(10)))]
    runs += [store.trial(n_tasks=6, seed=seed, pairs=flipped(*range(n))) for seed, n in enumerate((2, 18, 18))]
    (pi,) = [row for row in analyse(collect(runs, store.uri)).against_base if row.score == "pi"]
    assert pi.difference == pytest.approx(100 * (38 / 3 - 10) / 40)
    assert pi.p_adjusted == pytest.approx(2 / 2**8)
    assert pi.low < 0 < pi.high
    assert (pi.basis, pi.verdict) == ("patients and the seeds of one", "not shown")


def test_the_baselines_alone_stand_beside_the_paper_in_a_table(store: Store, tmp_path: Path):
    parent = store.sweep("alone")
    for backbone, pi in (("resnet50", 4), ("resnext50_32x4d", 6), ("vgg19_bn", 11)):
        store.trial(parent=parent, sweep="alone", backbone=backbone, metrics=scores(pi, 60 + pi))
    report(["alone"], tmp_path, store.uri)
    rows = pd.read_csv(tmp_path / "paper.csv").set_index(["score", "networks", "n_tasks"])
    assert not rows.index.duplicated().any()
    assert rows.loc[("ols_original", "ResNeXt-50", 1), ["ours", "paper"]].tolist() == [66, "67.11"]
    assert rows.loc[("pi", "VGG-19", 1), ["ours", "paper"]].tolist() == [11, "not in text"]
    assert rows.loc[("pi", "mean of 3 of the paper's five", 1), "ours"] == 7
    assert rows.loc[("pi", "worst of 3 of the paper's five", 1), ["ours", "paper"]].tolist() == [11, "10"]


def test_an_interval_over_seeds_is_wider_and_patients_stay_together(store: Store):
    events = {(n, seed): np.isin(np.arange(N), range(seed, 12 - n + seed)) for n in (1, 6) for seed in (0, 1, 2)}

    def interval(per_patient: int, seeds: list[int]) -> tuple[float, float]:
        runs = [
            store.trial(n_tasks=n, seed=seed, pairs=pairs_table(*[events[n, seed]] * 3, per_patient=per_patient))
            for n in (1, 6)
            for seed in seeds
        ]
        (row,) = [r for r in analyse(collect(runs, store.uri)).against_base if r.score == "pi"]
        assert row.difference == pytest.approx(-100 * 5 / N)
        return row.low, row.high

    alone, clustered, seeds = interval(1, [0]), interval(4, [0]), interval(1, [0, 1, 2])
    assert clustered[1] - clustered[0] > alone[1] - alone[0]
    assert seeds[0] < -12.5 < seeds[1]


def test_seeds_are_matched_and_pairs_that_not_all_have_left_out(store: Store):
    runs = [store.trial(seed=seed, pairs=flipped(0, 1, 2)) for seed in (0, 1, 2)]
    runs += [store.trial(n_tasks=2, seed=seed, pairs=flipped(3).iloc[:-4]) for seed in (1, 5)]
    found = configurations(collect(runs, store.uri))
    paired = PairedResults(found)
    assert (paired.n_pairs, paired.left_out) == (N - 4, 4)
    row = compare([(found[0], found[1])], paired)[0]
    assert row.discordant == (3, 1)  # of seed 1 alone


def test_the_task_count_figure_has_a_line_a_network_and_controls_apart(store: Store):
    parent = store.sweep("lines")
    for n in (1, 2, 3):
        store.trial(parent=parent, sweep="lines", n_tasks=n, metrics=scores(9 - n))
    store.trial(parent=parent, sweep="lines", overrides={"tasks.covidx.batch_size": 12}, metrics=scores(7))
    made = analyse(collect([parent], store.uri))
    labels = [c.label for c in made.found]
    assert labels == [
        "ResNet-50, 1 task",
        "ResNet-50, 1 task, batch_size 12",
        "ResNet-50, 2 tasks",
        "ResNet-50, 3 tasks",
    ]
    assert [(base.label, many.label) for base, many in made.couples] == [("ResNet-50, 1 task", "ResNet-50, 3 tasks")]
    assert {row.verdict for row in made.against_base} == {"unknown"}  # one seed, no pairs


def test_what_is_not_counted_is_listed_and_names_are_escaped(store: Store, tmp_path: Path):
    name = "<script>alert(1)</script>"
    parent = store.sweep(name)
    store.trial(parent=parent, sweep=name, backbone="<b>net</b>", metrics=scores(3))
    store.trial(parent=parent, sweep=name, seed=1, status="FAILED", tags={"failure": "out of memory & <gone>"})
    died = store.trial(parent=parent, sweep=name, seed=2, status="KILLED")
    store.client.log_text(died, "Traceback\nValueError: node lost\n", "traceback.txt")
    store.trial(parent=parent, sweep=name, seed=3, status="SCHEDULED")
    store.trial(parent=parent, sweep=name, seed=4, metrics={"val/pi_score": 1.0})
    text = report([name], tmp_path, store.uri).read_text()
    assert "<script" not in text
    assert "<b>net" not in text
    for reason in (
        "out of memory &amp; &lt;gone&gt;",
        "ValueError: node lost",
        "no: scheduled",
        "has no test/pi_score",
    ):
        assert reason in text
    assert "4 of 5 trials are not counted" in text
    links = re.findall(r"(?:src|href)=\"([^\"]{0,30})", text)
    assert all(link.startswith("data:image/svg+xml;base64,") for link in links)  # it needs nothing else


def test_a_model_with_one_answer_gets_no_praise(store: Store):
    constant = pairs_table(*np.zeros((3, N), bool)).assign(p_original=0.2, p_received=0.3)
    made = analyse(collect([store.trial(pairs=constant), store.trial(n_tasks=6, pairs=flipped(1))], store.uri))
    assert made.ranking[0].label == "ResNet-50, 1 task"
    assert any("same answer" in text for text in warnings(made))


def test_no_event_at_all_is_no_certainty(store: Store):
    """Wilson's upper end for none of forty patients is 8.76 %. A training without OLS takes its mean away."""
    runs = [store.trial(n_tasks=n, pairs=flipped()) for n in (1, 6)]
    (pi,) = [row for row in analyse(collect(runs, store.uri)).against_base if row.score == "pi"]
    assert (pi.difference, pi.p, pi.verdict) == (0, 1, "not shown")
    assert (pi.low, pi.high) == pytest.approx((-8.76, 8.76), abs=0.01)
    runs.append(store.trial(seed=1, metrics={"test/pi_score": 1.0}))
    made = analyse(collect(runs, store.uri))
    assert "ols_original" not in made.found[0].scores
    assert any("no mean of OLS score, original and OLS score, received" in text for text in warnings(made))


def test_validation_figures_are_the_best_epochs(store: Store):
    run = store.trial(tags={"best_epoch": "1"})
    for epoch, value in enumerate([9.0, 2.0, 5.0]):
        store.client.log_metric(run, "val/pi_score", value, step=epoch)
        pairs = flipped(*range(epoch)).to_csv(index=False)
        store.client.log_text(run, pairs, f"robustness/val_pairs/{epoch:03d}.csv")
    made = analyse(collect([run], store.uri))
    assert made.found[0].scores["pi"].value == 2.0
    assert made.found[0].scores["pairs_received"].value == 97.5
    assert made.paired.n_pairs == N
    assert any("validation pairs" in text for text in warnings(made))


def test_of_runs_and_sweeps_that_repeat_the_newest_counts(store: Store):
    first, second = store.sweep("again"), store.sweep("again")
    old = store.trial(parent=second, sweep="again", metrics=scores(5), params={"git_commit": "a"})
    new = store.trial(parent=second, sweep="again", metrics=scores(6), params={"git_commit": "b"})
    store.trial(parent=first, sweep="again", metrics=scores(1))
    results = collect(["again"], store.uri)
    assert [trial.run_id for trial in results.counted] == [new]
    assert {trial.run_id: trial.left_out for trial in results.trials}[old] == f"run again as {new}"
    assert "2 sweeps are called again" in results.notes[0]


def test_settings_that_tell_configurations_apart_are_in_their_names(store: Store):
    runs = [store.trial(params={"lr": lr}, metrics=scores(lr)) for lr in (1, 2)]
    runs.append(store.trial(params={"lr": 2, "channel": "signal"}, metrics=scores(3)))
    labels = [c.label for c in configurations(collect(runs, store.uri))]
    assert labels == [
        "ResNet-50, 1 task, channel signal, lr 2",
        "ResNet-50, 1 task, channel whatsapp, lr 1",
        "ResNet-50, 1 task, channel whatsapp, lr 2",
    ]


def test_the_difference_is_that_of_the_pairs_which_its_interval_is_of(store: Store):
    """One of forty pairs changes against none, but the first training alone has the pair."""
    runs = [store.trial(pairs=flipped(39)), store.trial(n_tasks=6, pairs=flipped().iloc[:-1])]
    (pi,) = [row for row in analyse(collect(runs, store.uri)).against_base if row.score == "pi"]
    assert pi.first.scores["pi"].value == pytest.approx(2.5)
    assert pi.values == (0, 0)
    assert pi.low < pi.difference == 0 < pi.high


def test_a_sweeps_trial_and_a_single_run_of_the_same_settings_are_one_configuration(store: Store):
    parent = store.sweep("rates")
    swept = store.trial(parent=parent, sweep="rates", overrides={"optimizer.lr": 1e-4}, metrics=scores(3))
    alone = store.trial(seed=1, metrics=scores(4))
    other = store.trial(seed=2, metrics=scores(5))
    for run, rate in ((swept, "1.0e-4"), (alone, "0.0001"), (other, "2.0e-4")):
        store.client.log_text(run, f"optimizer: {{lr: {rate}}}", "experiment.yaml")
    made = analyse(collect(["rates", alone, other], store.uri))
    assert [[trial.run_id for trial in c.trials] for c in made.found] == [[swept, alone], [other]]
    assert [c.label for c in made.found] == ["ResNet-50, 1 task, lr 0.0001", "ResNet-50, 1 task, lr 0.0002"]


def test_what_must_agree_and_does_not_is_said(store: Store):
    tags = [{"mask_source": source, "decoder": "area-1"} for source in ("segmenter a", "segmenter a", "folder")]
    runs = [store.trial(seed=seed, tags=own, metrics=scores(3)) for seed, own in enumerate(tags)]
    said = [text for text in warnings(analyse(collect(runs, store.uri))) if "differ in" in text]
    assert len(said) == 1
    assert "mask_source; segmenter a: 2; folder: 1" in said[0]


def test_couples_of_different_task_counts_have_no_mean(store: Store):
    runs = [
        store.trial(backbone=backbone, n_tasks=n, metrics=scores(9 - n))
        for backbone, most in (("resnet50", 6), ("resnext50_32x4d", 3))
        for n in (1, most)
    ]
    rows = beside_paper(analyse(collect(runs, store.uri)))
    assert {(row["networks"], *row["tasks"]) for row in rows} == {("ResNet-50", 1, 6), ("ResNeXt-50", 1, 3)}


def test_the_papers_networks_and_figures():
    names = network_names(["resnet50", "resnext50_32x4d", "timm:legacy_xception", "vgg19_bn", "covidnet", "resnet18"])
    assert list(names.values()) == [*BASES, "Xception", "VGG-19", "COVID-Net", "ResNet-18"]
    assert set(network_names(["vgg19", "vgg19_bn"]).values()) == {"vgg19", "vgg19_bn"}
    assert network_names(["timm:convnext_tiny"]) == {"timm:convnext_tiny": "timm:convnext_tiny"}
    assert paper_value("pi", BASES[::-1], 6) == (4.2, "text beside Fig 6")
    assert paper_value("ols_received", BASELINES, 1) == (70.0, "text beside Fig 4")
    assert paper_value("pi", BASELINES, 1, "worst") == (10.0, 'text beside Table 2 ("up to")')
    assert paper_value("pi", ["ResNet-50"], 1) is None
    assert paper_value("auroc", ["ResNet-50"], 1) is None


def test_mistakes_are_one_message(covidmt, store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert covidmt("report", "ablation") == 2
    assert "no runs yet" in capsys.readouterr().err
    store.sweep("ablation_task_count")
    for name, message in {
        "ablation_task_cuont": "did you mean 'ablation_task_count'?",
        "ablation_task_count": "it has no trials",
        store.trial(status="RUNNING"): "running",
    }.items():
        with pytest.raises(UserError, match=re.escape(message)):
            collect([name], store.uri)
    run = store.trial(metrics=scores(1))
    (tmp_path / "file").touch()
    assert covidmt("report", run, "--out", "file", "--uri", store.uri) == 2
    assert "--out file: cannot be written" in capsys.readouterr().err


def test_a_whole_ablation_through_the_command_line(covidmt, tmp_path: Path):
    ablation(tmp_path, n_pairs=200, seeds=2, counts=[1, 3, 6])
    assert covidmt("report", "ablation_task_count", "--out", "here") == 0
    out = tmp_path / "here"
    for name in ("overview", "task_count", "base_and_covidmt", "baselines", "against_base", "against_best"):
        assert (out / f"{name}.png").stat().st_size > 10_000
        assert (out / f"{name}.svg").read_text().startswith("<?xml")
    rows = configuration_rows(out)
    assert len(rows.xs("pi", level="score")) == 8
    text = (out / "report.html").read_text()
    assert "out of memory" in text
    assert "ResNeXt-50: 6 tasks against 1" in text
