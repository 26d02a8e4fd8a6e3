"""Reports of made-up runs whose means, intervals and differences are known by hand, in real tracking stores."""

import re
from pathlib import Path

import pandas as pd
import pytest

from covidmt.comparison.report import report_runs
from covidmt.comparison.trained_runs import collect_runs
from experiments.errors import UserError
from tests.helpers.sweeps import Store, ablation, scores

pytestmark = pytest.mark.slow


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
    page = report_runs(["bases"], tmp_path, store)
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
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert captions
    assert all("robustness.target: decision" in c and "probability is at least 0.5" in c for c in captions)
    assert "−2.80" in text  # the paper's PI, points
    assert "−40\u00a0%" in text  # and relative
    # Without tables of pairs: Welch's t over the seeds. The same spread in both, 4 degrees, t = 2.776: -3 -+ 2.267
    table = pd.read_csv(tmp_path / "comparisons.csv")
    row = table[(table["score"] == "pi") & (table["second"] == "ResNet-50, 6 tasks")].iloc[0]
    assert row[["difference", "low", "high", "relative_percent"]].tolist() == pytest.approx(
        [-3, -5.267, -0.733, -300 / 7], abs=1e-2
    )
    assert (row["interval_over"], row["first"]) == ("seeds, on these images", "ResNet-50, 1 task")
    logged = {file.path for file in store.client.list_artifacts(parent, "report")}
    assert {"report/report.html", "report/table.tex", "report/task_count.png", "report/task_count.svg"} <= logged
    assert {f"report/{name}.csv" for name in ("trials", "configurations", "comparisons", "paper")} <= logged
    tex = (tmp_path / "table.tex").read_text()
    assert r"ResNet-50, 6 tasks & 3 & 4.00 [1.52, 6.48] & 50.0" in tex
    assert tex.count(r"\%") >= 4  # escaped wherever it stands
    assert not re.search(r"[^\\]%", tex)


def test_what_is_not_counted_is_listed_and_names_are_escaped(store: Store, tmp_path: Path):
    name = "<script>alert(1)</script>"
    parent = store.sweep(name)
    store.trial(parent=parent, sweep=name, backbone="<b>net</b>", metrics=scores(3))
    store.trial(parent=parent, sweep=name, seed=1, status="FAILED", tags={"failure": "out of memory & <gone>"})
    died = store.trial(parent=parent, sweep=name, seed=2, status="KILLED")
    store.client.log_text(died, "Traceback\nValueError: node lost\n", "traceback.txt")
    store.trial(parent=parent, sweep=name, seed=3, status="SCHEDULED")
    store.trial(parent=parent, sweep=name, seed=4, metrics={"val/pi_score": 1.0})
    text = report_runs([name], tmp_path, store).read_text()
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
    assert all(link.startswith(("data:image/svg+xml;base64,", "#section-")) for link in links)  # it needs nothing else


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
            collect_runs([name], store)
    run = store.trial(metrics=scores(1))
    (tmp_path / "file").touch()
    assert covidmt("report", run, "--out", "file", "--uri", store) == 2
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
