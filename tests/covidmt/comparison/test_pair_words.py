"""A report of another disease: names come from its runs, and the papers' figures stay away."""

from pathlib import Path

import pytest

from covidmt.comparison.pair_words import decision_labels, describe_pairs
from covidmt.comparison.report import report_runs
from covidmt.comparison.trained_runs import collect_runs
from tests.helpers.sweeps import Store, flipped, scores

# a made-up data set of tuberculosis, one task
TUBERCULOSIS = {
    "data.sources": {"shenzhen": {"kind": "csv", "table": "films.csv"}},
    "data.pairs": {"val": "shenzhen", "test": "shenzhen", "channel": "telegram"},
    "tasks": {name: {"source": "shenzhen", "labels": ["tuberculosis"]} for name in ("tb", "cavity")},
    "robustness": {"task": "tb", "label": "tuberculosis"},
}
PAPERS = (
    "covid",
    "wacxr",
    "whatsapp",
    "paper: Fig",
    "paper: Table",
    "pneumonia",
    "not in text",
    "Fig 8",
    "Red:",
    "Red lines",
)


def tuberculosis(store: Store, tasks: str, seed: int, flips: int, backbone: str = "resnet50") -> str:
    own = {"tasks": tasks, "channel": "telegram", "n_tasks": tasks.count(",") + 1}
    pairs = flipped(*range(flips))
    return store.trial(seed=seed, params=own, overrides=TUBERCULOSIS, pairs=pairs, backbone=backbone)


def test_another_disease_is_called_by_its_name(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = [
        tuberculosis(store, tasks, seed, flips, backbone)
        for backbone in ("resnet50", "resnext50_32x4d")
        for tasks, flips in (("tb", 5), ("tb,cavity", 2))
        for seed in (0, 1)
    ]
    drawn: list[str] = []
    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: drawn.append(data.decode()) or write(path, data))
    page = report_runs(runs, tmp_path, store).read_text()
    words = page.split("<body")[1]
    for title in ("data:image/svg+xml;base64,",):
        words = "".join(part.partition('"')[2] for part in words.split(title))
    text = words.replace("COVIDMT paper", "").replace("covidmt", "")
    assert "the test pairs (shenzhen, simulated channel telegram)" in text
    assert "whose decision (tuberculosis or not) agrees" in text
    found = [word for word in PAPERS if word.lower() in text.lower().replace("(paper, eq. 2)", "")]
    assert found == []
    assert not (tmp_path / "paper.csv").exists()
    tex = (tmp_path / "table.tex").read_text()
    assert "shenzhen, simulated channel telegram" in tex
    assert "WaCXR" not in tex
    figures = " ".join(drawn)
    assert "paper" not in figures.lower()
    assert "COVIDMT" not in figures


def test_the_papers_own_data_are_named_too(store: Store):
    collected = collect_runs([store.trial(metrics=scores(3))], store)
    assert describe_pairs(collected) == "the test pairs (wacxr, as received)"
    assert decision_labels(collected) == "COVID-19"


def test_pairs_of_a_validation_are_not_wacxr(store: Store):
    run = store.trial(metrics={"val/pi_score": 3.0}, tags={"best_epoch": "0"})
    assert describe_pairs(collect_runs([run], store)) == "the validation pairs (covidx, simulated channel whatsapp)"
