"""The evaluation's report on made-up answers to made-up images."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from covidmt.evaluation.findings import beside_others
from covidmt.evaluation.pictures import grid_rows, worst_flips
from covidmt.evaluation.report import score_tables, write_report
from covidmt.evaluation.result import Evaluation
from datamodules.evaluation import EvaluationDataModule
from tests.helpers.evaluation import EVIL, evaluation_of, make_answers

HISTORY = {"val/loss": pd.Series([0.7, 0.4]), "train/accuracy": pd.Series([0.5])}


class Page(HTMLParser):
    """Collects what a browser would load, and checks that what opens closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += " " + " ".join(data.split())


def report(data: EvaluationDataModule, folder: Path, *said, history=None) -> tuple[Page, Evaluation]:
    evaluation = evaluation_of(data, *said, history=history)
    write_report(folder / "report.html", evaluation, data)
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert page.loaded
    assert all(uri.startswith("data:image/") for uri in page.loaded)
    assert not re.search(r"https?://|@import|url\(", text)
    return page, evaluation


def test_one_run(data: EvaluationDataModule, tmp_path: Path):
    (tmp_path / "figures").mkdir()
    for name in ("flip_4.png", "panel.png", "of_another_program.png"):
        (tmp_path / "figures" / name).write_bytes(b"left by an earlier report")
    page, evaluation = report(data, tmp_path, make_answers(data, 3))
    assert EVIL in page.words  # as text
    assert "3 of 24 decisions change on the way (12.5 %" in page.words
    assert "3 lose the positive decision, 0 gain it" in page.words
    assert "0 of 24 heat maps lie mostly outside the lungs (0.0 %" in page.words
    assert "cannot be told from its own" in page.words  # every map is the same: no map knows its image
    assert "12 of 12 labelled positives are found" in page.words
    assert "AUROC 1.00 on originals" in page.words  # in every resample: no interval
    assert "not shown to be better than chance" not in page.words
    assert (
        "With the lungs blacked out the AUROC is 1.00: above chance, so what is not lung, or the outline" in page.words
    )
    assert "nan" not in page.words.split()
    assert "The same pairs" not in page.words
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {
        "pi_over_quality",
        "roc",
        "confusion",
        "flip_1",
        "flip_3",
        "iol_6",
        "samples",
        "of_another_program",
    } <= figures
    assert not {"flip_4", "panel", "training"} & figures
    assert set(worst_flips(evaluation.first)) == set(np.flatnonzero(evaluation.first.table["flip"]))


def test_several_runs(data: EvaluationDataModule, tmp_path: Path):
    """Eight flips against none on the same pairs are a difference, two are not."""
    page, evaluation = report(
        data, tmp_path, make_answers(data, 8), make_answers(data, 0, 1), make_answers(data, 6, 2), history=HISTORY
    )
    none, six = beside_others(evaluation)
    assert none["pi/score"].shown
    assert none["pi/score"].difference.startswith("+33.3")
    assert not six["pi/score"].shown
    assert six["pi/score"].difference.startswith("+8.3")
    assert "2 other seeds decide 0.0 to 0.0 % of the same originals differently" in page.words
    assert "PI lies above this noise floor for 2 of them" in page.words
    assert (tmp_path / "figures" / "panel.png").exists()
    assert "The training of covidx over epochs" in page.words
    labels = evaluation.first.table["label"].iloc[grid_rows(evaluation.runs)]
    assert list(labels) == [1, 1, 0, 0]
    assert evaluation.first.table["flip"].iloc[grid_rows(evaluation.runs)].sum() == 2


def test_ten_runs_without_labels_and_lungs(data: EvaluationDataModule, tmp_path: Path):
    runs = [make_answers(data, seed, seed, labelled=False, lungs=False) for seed in range(10)]
    page, _ = report(data, tmp_path, *runs)
    assert "the pairs have no labels" in page.words
    assert "no image has both lungs and a heat map" in page.words
    assert (tmp_path / "report.html").stat().st_size < 3e6


def test_no_answer_is_no_negative_one(data: EvaluationDataModule, tmp_path: Path):
    """A network that gives no number for two positives, of one of them only after the channel."""
    broken = make_answers(data, 3)
    first, second = np.flatnonzero(broken.labels == 1)[-2:]
    logits = {name: values.copy() for name, values in broken.logits.items()}
    for name, values in logits.items():
        values[first] = np.nan
        if name == "received":
            values[second] = np.nan
    tasks = {"covidx": replace(broken.tasks["covidx"], logits=logits["original"])}
    broken = replace(broken, logits=logits, tasks=tasks)
    page, evaluation = report(data, tmp_path, broken, make_answers(data, 0, 1))
    assert "3 of 22 decisions change on the way" in page.words
    assert "11 of 11 labelled positives are found" in page.words
    assert "0 of 23" not in page.words
    assert set(worst_flips(evaluation.first)) == set(np.flatnonzero(broken.labels == 1)[:3])


def test_both_sides_stand_beside_each_other_and_differences_beside_them(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 8), make_answers(data, 0, 1))
    tables = {table.title: table for table in score_tables(evaluation)}
    names = [run.name for run in evaluation.runs]
    pi = tables["Prediction instability"]
    assert pi.columns == [names[0], f"minus {names[1]}"]
    score, difference = pi.rows[0].cells
    assert (score.value, score.n, difference.value, difference.shown) == ("33.3", 24, "+33.3", True)
    ols = tables["Out-of-lung saliency"]
    assert ols.columns == ["original", "received", f"minus {names[1]}, original", f"minus {names[1]}, received"]
    assert [cell.value for cell in ols.rows[0].cells] == ["0.0", "0.0", "+0.0", "+0.0"]
    (disagreement,) = [row for row in pi.rows if row.text.title.startswith("decisions that differ")]
    assert disagreement.cells[0] is None
    assert disagreement.cells[1].value == "0.0"
