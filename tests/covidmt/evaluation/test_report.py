"""The evaluation's report on made-up answers to made-up images."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from covidmt.evaluation.files import to_json
from covidmt.evaluation.pictures import grid_rows, worst_flips
from covidmt.evaluation.report import score_tables, write_report
from covidmt.evaluation.result import Evaluation
from covidmt.evaluation.sentences.beside import beside_others
from covidmt.evaluation.table import print_table
from covidmt.evaluation.tasks.answers import LabelRows
from datamodules.evaluation import EvaluationDataModule
from explain.task_decisions import TaskDecisions
from tests.helpers.evaluation import EVIL, evaluation_of, make_answers, make_data

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
    assert all(uri.startswith(("data:image/", "#section-")) for uri in page.loaded)
    assert not re.search(r"https?://|@import|url\(", text)
    return page, evaluation


def test_one_run(data: EvaluationDataModule, tmp_path: Path):
    (tmp_path / "figures").mkdir()
    for name in ("flip_4.png", "panel.png", "of_another_program.png"):
        (tmp_path / "figures" / name).write_bytes(b"left by an earlier report")
    page, evaluation = report(data, tmp_path, make_answers(data, 3))
    assert EVIL in page.words  # as text
    assert "<code>covidmt report</code> also adjusts" in (tmp_path / "report.html").read_text()
    assert "`" not in page.words
    assert "drawings of no patients" not in page.words
    assert "3 of 24 decisions change in the simulated channel (12.5 %" in page.words
    assert "3 lose the positive decision, 0 gain it" in page.words
    assert "0 of 24 heat maps have less than 40 % (eta) of their hottest region inside the lungs (0.0 %" in page.words
    assert "% of all heat is inside (a map hot everywhere would have 50 %)." in page.words
    assert not re.search("look(s)? at the lungs|mostly outside|for a reason|gives the label away", page.words)
    assert "cannot be told from its own" in page.words  # every map is the same: no map knows its image
    assert "12 of 12 labelled positives are found" in page.words
    assert "AUROC 1.00 (0.71 to 1.00) on originals" in page.words
    assert "not shown to be better than chance" not in page.words
    assert (
        "With the lungs blacked out, as the masks draw them, the AUROC is 1.00 (0.71 to 1.00): above chance."
        in page.words
    )
    assert (
        "markers, crops, contrast, the lungs' outline, the source's processing, or lung that the masks miss may be why"
        in page.words
    )
    assert "Always giving the more frequent answer would reach 0.50." in page.words
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


def test_an_answer_that_changes_is_named_before_and_after(data: EvaluationDataModule, tmp_path: Path):
    """The decision's in both galleries of the worst pairs; of every task's labels in a table."""
    own = make_answers(data, 2)
    task = data.experiment.tasks["covidx"]
    rows = LabelRows(own.ids, own.patients.tolist(), own.logits, {}, {}, np.empty(0))
    own = replace(
        own, stability={"covidx": rows}, decisions={"covidx": TaskDecisions.of(task, data.experiment.robustness)}
    )
    report(data, tmp_path, own)
    text = (tmp_path / "report.html").read_text()
    captions = re.findall(r"<figcaption>.*?</b>(.*?)</figcaption>", text)
    assert sum("COVID-19 → not COVID-19 on the received image; p of COVID-19 0." in words for words in captions) == 4
    assert text.count("<td>COVID-19 → not COVID-19</td>") == 2


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
    assert "2 other trainings (seeds 1, 2) decide 0.0 to 0.0 % of the same originals differently" in page.words
    assert "PI is shown to lie above this share for 2 of them" in page.words
    judged = [each for run in evaluation.others for each in run.differences.values() if each.verdict != "unknown"]
    shown = [each for each in judged if each.verdict == "these trainings only"]
    assert 0 < len(shown) < len(judged)
    expected = round(len(judged) / 20)
    assert (
        f"bold: these two trainings differ (the 95 % interval leaves out zero); on the page {len(shown)} of "
        f"{len(judged)} judged differences are bold. Were both trainings equal on all patients like these, about "
        f"{expected} or fewer would be on average; as many rows measure the same"
    ) in page.words
    assert (tmp_path / "figures" / "panel.png").exists()
    assert "The training of covidx over epochs" in page.words
    labels = evaluation.first.table["label"].iloc[grid_rows(evaluation.runs)]
    assert list(labels) == [1, 1, 0, 0]
    assert evaluation.first.table["flip"].iloc[grid_rows(evaluation.runs)].sum() == 2


def test_what_cannot_be_judged_is_not_called_equal(data: EvaluationDataModule, tmp_path: Path):
    """Five positives: no interval of an AUROC, so no word on chance and none on the difference of two networks."""
    few = [make_answers(data, 0, seed) for seed in range(2)]
    labels = few[0].labels.copy()
    labels[np.flatnonzero(labels == 1)[5:]] = np.nan
    page, evaluation = report(data, tmp_path, *(replace(said, labels=labels) for said in few))
    assert (
        "AUROC 1.00 on originals, 1.00 as received; with 5 positive patients (10 are needed) no interval is given, so "
        "whether that is above chance is not judged here." in page.words
    )
    assert "not shown to be better than chance" not in page.words
    assert "not shown to be above chance" not in page.words
    assert "not judged: 5 positive patients, at least 10 are needed" in page.words
    assert not beside_others(evaluation)[0]["decision/original/auroc"].shown
    console = Console(file=io.StringIO(), width=400)
    print_table(console, evaluation)
    assert "(not judged: 5 positive patients, at least 10 are needed)" in console.file.getvalue()
    auroc = to_json(evaluation)["runs"][1]["difference"]["decision/original/auroc"]
    assert (auroc["verdict"], auroc["reason"]) == ("unknown", "5 positive patients, at least 10 are needed")


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
    assert "3 of 22 decisions change in the simulated channel" in page.words
    assert "11 of 11 labelled positives are found" in page.words
    assert "0 of 23 decisions" not in page.words
    assert "decides 0 of 23 originals differently" in page.words  # one of 24 has no answer
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


def test_other_targets_are_no_controls(data: EvaluationDataModule, tmp_path: Path):
    """They have a heading of their own; the grey rows below theirs are controls alone."""
    page, evaluation = report(data, tmp_path, make_answers(data, 3))
    (ols,) = [table for table in score_tables(evaluation) if table.title == "Out-of-lung saliency"]
    headings = [row.heading for row in ols.rows if row.heading]
    assert headings == [
        "The same score, were another answer explained",
        "Controls: what the score is worth",
        "Images that count in no OLS",
    ]
    assert all(heading in page.words for heading in headings)
    assert {row.text.group for row in ols.rows if row.text.control} == {headings[1]}
    console = Console(file=io.StringIO(), width=200)
    print_table(console, evaluation)
    lines = [line.strip("│ ").partition("  ")[0].rstrip() for line in console.file.getvalue().splitlines()]
    assert lines.index(headings[0]) == lines.index("OLS explaining the decision, %") - 1


def test_points_have_the_digits_of_percentages(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 3), make_answers(data, 0, 1))
    (ols,) = [table for table in score_tables(evaluation) if table.title == "Out-of-lung saliency"]
    rows = {row.text.title: row.cells for row in ols.rows}
    cells = rows["control: score minus shuffled, points"] + rows["OLS score, %"]
    assert {cell.value.lstrip("+−") for cell in cells} == {"0.0"}
    console = Console(file=io.StringIO(), width=200)
    print_table(console, evaluation)
    (line,) = [line for line in console.file.getvalue().splitlines() if "score minus shuffled" in line][:1]
    assert "0.000" not in line


def test_another_disease_is_called_by_its_name(tmp_path: Path):
    own = make_data(
        tmp_path / "films", ["healthy", "tuberculosis"], task="tb", label="tuberculosis", channel="telegram"
    )
    page, evaluation = report(own, tmp_path / "out", make_answers(own, 2), make_answers(own, 3, seed=1))
    assert "tuberculosis where its probability is at least 0.5" in page.words
    assert not re.search(r"covid(?!mt)|wacxr|whatsapp|pneumonia", page.words, re.IGNORECASE)
    console = Console(file=io.StringIO(), width=200)
    print_table(console, evaluation)
    assert not re.search(r"covid(?!mt)|wacxr|whatsapp|pneumonia", console.file.getvalue(), re.IGNORECASE)


def test_what_is_explained_and_decided_stands_under_every_figure_of_them(data: EvaluationDataModule, tmp_path: Path):
    page, evaluation = report(data, tmp_path, make_answers(data, 3))
    text = (tmp_path / "report.html").read_text()
    captions = dict(re.findall(r"<figcaption><b>(.*?)\.</b>(.*?)</figcaption>", text))
    for title in ("OLS beside its controls", "Where the heat maps lie", "OLS over eta", "OLS over region threshold"):
        assert "Maps explain the decision made (robustness.target: decision" in captions[title]
    for title in ("PI by channel", "PI over JPEG quality", "Probability before and after the channel"):
        assert "COVID-19 where its probability is at least 0.5" in captions[title]
    assert "coarse map of 4 x 4 cells" in page.words
    rows = [row.text.title for table in score_tables(evaluation) for row in table.rows]
    assert {f"OLS explaining {what}, %" for what in ("the decision", "the positive answer", "the predicted class")} <= {
        *rows
    }


def test_what_depends_on_the_share_of_positives_is_said_with_it(data: EvaluationDataModule, tmp_path: Path):
    page, _ = report(data, tmp_path, make_answers(data, 3))
    assert (
        "Accuracy, PPV, NPV, F1, average precision, Brier score and calibration hold for the share of positives here "
        "(12 of 24, 50 %)"
    ) in page.words
    assert "On the diagonal they do, for this share of positives; bins with few images say little." in page.words
    assert "Those of task covidx are the originals above." in page.words


def test_a_data_set_is_no_origin(data: EvaluationDataModule, tmp_path: Path):
    """All images are of data set `own`: nothing is told apart, and nothing concluded; of two origins something is."""
    page, evaluation = report(data, tmp_path, make_answers(data, 3))
    assert evaluation.class_by_source == {"normal": {"own": 12}, "COVID-19": {"own": 12}}
    assert "class by data set; origins within it are not told apart here." in page.words
    assert "Where an origin holds one class only" not in page.words
    told = {"normal": {"nih": 12}, "COVID-19": {"cohen": 12}}
    write_report(tmp_path / "report.html", replace(evaluation, class_by_source=told), data)
    words = Page((tmp_path / "report.html").read_text()).words
    assert "class by origin. Where an origin holds one class only" in words


def test_the_page_says_where_too_few_disagree(data: EvaluationDataModule, tmp_path: Path):
    """Five against none of 24 decisions change: Student's p is 0.02, the exact one 1/16."""
    page, evaluation = report(data, tmp_path, make_answers(data, 5), make_answers(data, 0, 1))
    (row,) = beside_others(evaluation)
    assert not row["pi/score"].shown
    words = "on 5 patients they disagree, 5 against 0: too few to tell two trainings apart"
    assert f"5 against 0 of 24 answers change; {words}" in page.words
    difference = to_json(evaluation)["runs"][1]["difference"]["pi/score"]
    assert (difference["verdict"], difference["reason"]) == ("not shown", words)
    assert difference["low"] < 0 < difference["high"]
    tables = {table.title: table for table in score_tables(evaluation)}
    assert tables["Prediction instability"].rows[0].cells[1].few == words


def test_of_two_classes_one_pi_is_shown(data: EvaluationDataModule):
    """A task of two classes has two equal scores: that of the decided label stays."""
    evaluation = evaluation_of(data, make_answers(data, 3))
    pi = evaluation.first.scores["pi/score"]
    evaluation.first.scores.update({f"stability/covidx/label/{label}": pi for label in ("normal", "COVID-19")})
    titles = [row.text.title for table in score_tables(evaluation) for row in table.rows]
    assert "PI of COVID-19, %" in titles
    assert "PI of normal, %" not in titles


def test_made_up_films_are_said_to_be_drawings(data: EvaluationDataModule, tmp_path: Path):
    evaluation = evaluation_of(data, make_answers(data, 3))
    drawn = replace(evaluation, pairs=replace(evaluation.pairs, made_up=True))
    write_report(tmp_path / "report.html", drawn, data)
    console = Console(file=io.StringIO(), width=200)
    print_table(console, drawn)
    for text in ((tmp_path / "report.html").read_text(), console.file.getvalue()):
        assert "These films are drawings of no patients" in text
