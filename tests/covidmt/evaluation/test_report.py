"""The evaluation's report on made-up answers to made-up images."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from covidmt.evaluation.answers import VARIANTS, Answers, TaskAnswers
from covidmt.evaluation.evaluate import _score
from covidmt.evaluation.findings import RULES, _shuffled, beside, findings
from covidmt.evaluation.pictures import draw_samples, panel_rows, worst_flips
from covidmt.evaluation.plots import _drawn
from covidmt.evaluation.report import write_report
from covidmt.evaluation.result import Evaluated, build_result
from datamodules.evaluation import EvaluationDataModule
from experiments.schema import Data, Experiment, Pairs, Task, TaskKind
from experiments.source_schema import FolderSource
from explain.decision import Decision
from metrics.controls import pack
from metrics.paired import SIDES

N, SIZE, NAMES = 24, 16, ["normal", "COVID-19"]
EVIL = "<script>alert(1)<"
HISTORY = {"val/loss": pd.Series([0.7, 0.4]), "train/accuracy": pd.Series([0.5])}
CHANNELS = ("camera", "jpeg:70", "jpeg:10")


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


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationDataModule:
    """24 images of 24 patients, half of them positive, in class folders; one has a name that is a script."""
    return module(tmp_path_factory.mktemp("images"), NAMES)


def module(root: Path, labels: list[str]) -> EvaluationDataModule:
    """Images of as many classes as there are labels, in turn."""
    rng = np.random.default_rng(0)
    names = [("test", f"{EVIL if index == 1 else 'image'}{index:02d}.png") for index in range(N)]
    names += [(split, f"{split}{index}.png") for split in ("train", "val") for index in range(6)]
    for index, (split, name) in enumerate(names):
        path = root / split / labels[index % len(labels)] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE), np.uint8)).save(path)
    experiment = Experiment(
        name=EVIL,
        data=Data(image_size=SIZE, sources={"own": FolderSource(root=str(root))}, pairs=Pairs(val="own", test="own")),
        tasks={"covidx": Task(name="covidx", source="own", labels=labels)},
    )
    data = EvaluationDataModule(experiment, "test")
    data.setup()
    return data


def answers(data: EvaluationDataModule, flips: int, seed: int = 0, *, labelled=True, lungs=True) -> Answers:
    """Right on originals, of which the first ``flips`` positives are lost on the way; maps are hot inside the lungs."""
    dataset, rng = data.pair_dataset("test"), np.random.default_rng(seed)
    truth = dataset.labels == 1
    margin = np.where(truth, 2, -2) + rng.normal(0, 0.3, N)
    after = margin.copy()
    after[np.flatnonzero(truth)[:flips]] *= -1
    sides = {"original": margin, "received": after} | dict.fromkeys(VARIANTS, margin)
    logits = {name: np.stack([-value, value], axis=1).astype(np.float32) for name, value in sides.items()}
    maps = np.zeros((N, 4, 4), np.float32)
    maps[:, 1:3, 0] = 1
    masks = np.zeros((N, SIZE, SIZE), bool)
    masks[:, :, : SIZE // 2] = lungs
    decision = Decision.of(data.experiment.tasks["covidx"], data.experiment.robustness)
    targets = np.stack([~truth, truth], axis=1).astype(np.float32)
    return Answers(
        decision=decision,
        ids=dataset.ids,
        patients=np.array(dataset.patients),
        labels=dataset.labels if labelled else np.full(N, np.nan, np.float32),
        logits=logits,
        maps=dict.fromkeys(SIDES, maps),
        lungs=pack(torch.from_numpy(masks)),
        size=SIZE,
        channel_rows=np.arange(0, N, 2),
        channel_logits=dict.fromkeys(CHANNELS, logits["received"][::2]),
        tasks={"covidx": TaskAnswers(np.array(dataset.patients), targets, logits["original"])} if labelled else {},
    )


def scored(data: EvaluationDataModule, *said: Answers) -> tuple[dict, list[Evaluated]]:
    subjects = []
    for seed, each in enumerate(said):
        own = replace(data.experiment, seed=seed)
        subject = Evaluated(f"{EVIL} {seed}", None, own, own, None)  # ty: ignore
        subject.answers = each
        subjects.append(subject)
    notes = _score(subjects, 100)
    return build_result(subjects, data, "test", [*notes, f"a note with {EVIL}"]), subjects


def report(
    data: EvaluationDataModule, folder: Path, *said: Answers, history=None
) -> tuple[Page, dict, list[Evaluated]]:
    result, subjects = scored(data, *said)
    subjects[0].history = history or {}
    write_report(folder / "report.html", subjects, data, result)
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert page.loaded
    assert all(uri.startswith("data:image/") for uri in page.loaded)
    assert not re.search(r"https?://|@import|url\(", text)
    return page, result, subjects


def test_one_run(data: EvaluationDataModule, tmp_path: Path):
    (tmp_path / "figures").mkdir()
    for name in ("flip_4.png", "panel.png", "of_another_program.png"):
        (tmp_path / "figures" / name).write_bytes(b"left by an earlier report")
    page, _result, subjects = report(data, tmp_path, answers(data, 3))
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
    assert set(worst_flips(subjects[0])) == set(np.flatnonzero(subjects[0].table["flip"]))


def test_samples_of_every_cell_of_three_classes(tmp_path: Path):
    """Eight images a class: all normal right, half of pneumonia called normal, one COVID-19 called pneumonia."""
    labels = ["normal", "pneumonia", "COVID-19"]
    data = module(tmp_path, labels)
    (group,) = data.groups
    names = [Path(path.decode()).name for path in group.images[group.rows("test")]]
    truth = np.array([int(name[-6:-4]) % 3 for name in names])
    said = truth.copy()
    said[np.flatnonzero(truth == 1)[::2]] = 0
    said[np.flatnonzero(truth == 2)[3]] = 1
    strength = np.linspace(1, 4, N)
    logits = (np.eye(3)[said] * strength[:, None]).astype(np.float32)
    softmax = replace(data.experiment.tasks["covidx"], kind=TaskKind.multiclass)
    own = replace(data.experiment, tasks={"covidx": softmax})
    subject = Evaluated("three", None, own, own, None)  # ty: ignore
    task = TaskAnswers(np.array(names), np.eye(3, dtype=np.float32)[truth], logits)
    subject.answers = replace(answers(data, 0), tasks={"covidx": task})
    figure = draw_samples(subject, data)
    assert figure is not None
    cells: dict[tuple[str, str], int] = {}
    for place, axis in enumerate(figure.axes):
        if not axis.images:
            continue
        row = next(i for i, name in enumerate(names) if name[-6:] == axis.get_title(loc="left")[-6:])
        label, answer = labels[place // 6], labels[place % 6 // 2]
        assert (label, answer) == (labels[truth[row]], labels[said[row]])
        pixels = np.asarray(Image.open(tmp_path / "test" / label / names[row]))
        np.testing.assert_array_equal(axis.images[0].get_array(), pixels)
        p = np.exp(strength[row]) / (np.exp(strength[row]) + 2)
        assert axis.get_xlabel() == f"{answer}, p {p:.2f}"
        assert (axis.xaxis.label.get_color() == "black") == (label == answer)
        cells[label, answer] = cells.get((label, answer), 0) + 1
    pair = ("pneumonia", "normal")
    assert cells == {(a, a): 2 for a in labels} | {pair: 2, ("COVID-19", "pneumonia"): 1}


def test_several_runs(data: EvaluationDataModule, tmp_path: Path):
    """Eight flips against none on the same pairs are a difference, two are not."""
    page, result, subjects = report(
        data, tmp_path, answers(data, 8), answers(data, 0, 1), answers(data, 6, 2), history=HISTORY
    )
    none, six = beside(subjects, result)
    assert none["pi/score"].shown
    assert none["pi/score"].difference.startswith("+33.3")
    assert not six["pi/score"].shown
    assert six["pi/score"].difference.startswith("+8.3")
    assert "2 other seeds decide 0.0 to 0.0 % of the same originals differently" in page.words
    assert "PI lies above this noise floor for 2 of them" in page.words
    assert (tmp_path / "figures" / "panel.png").exists()
    assert "The training of covidx over epochs" in page.words
    labels = subjects[0].table["label"].iloc[panel_rows(subjects)]
    assert list(labels) == [1, 1, 0, 0]
    assert subjects[0].table["flip"].iloc[panel_rows(subjects)].sum() == 2


def test_ten_runs_without_labels_and_lungs(data: EvaluationDataModule, tmp_path: Path):
    runs = [answers(data, seed, seed, labelled=False, lungs=False) for seed in range(10)]
    page, _result, _ = report(data, tmp_path, *runs)
    assert "the pairs have no labels" in page.words
    assert "no image has both lungs and a heat map" in page.words
    assert (tmp_path / "report.html").stat().st_size < 3e6


def test_constant_answers_are_no_merit(data: EvaluationDataModule):
    same = answers(data, 0)
    for logits in same.logits.values():
        logits[:] = [-1, 1]
    result, subjects = scored(data, same)
    (stability, *_) = findings(subjects, result)
    assert any("calls every original positive" in sentence for sentence in stability.sentences)


@pytest.mark.parametrize(("control", "differs"), [(50.0, True), (0.0, False)])
def test_no_map_out_of_the_lungs_differs_from_other_patients_where_these_are(control, differs):
    """0 of 24 in every resample: the difference has no interval, the score's own one decides."""
    score = {"value": 0.0, "low": 0.0, "high": 13.8, "n": N}
    difference = {"value": -control, "low": np.nan, "high": np.nan}
    for patients, told in ((N, differs), (N - 5, False)):
        words = _shuffled(score, {"value": control}, difference, {"patients": patients})
        assert ("follow the individual image's lungs" in words) == told
        assert ("cannot be told from its own" in words) != told
    assert "alone where all images score alike" in RULES


def test_maps_that_follow_lungs_on_either_side(data: EvaluationDataModule):
    """Half of the patients have their lungs left, half right, each with its map inside: shuffled, half are outside."""
    own = answers(data, 0)
    masks, maps = np.zeros((N, SIZE, SIZE), bool), np.zeros((N, 4, 4), np.float32)
    left = np.arange(N) % 4 < 2
    masks[left, :, : SIZE // 2] = masks[~left, :, SIZE // 2 :] = True
    maps[left, 1:3, 0] = maps[~left, 1:3, 3] = 1
    own.maps, own.lungs = dict.fromkeys(SIDES, maps), pack(torch.from_numpy(masks))
    result, subjects = scored(data, own)
    scores = result["runs"][0]["scores"]
    assert scores["ols/original/score"]["value"] == 0
    assert 50 < scores["ols/original/shuffled"]["value"] < 55  # 12 of 23
    said = " ".join(findings(subjects, result)[1].sentences)
    assert "more than with its own, so the maps follow the individual image's lungs" in said


def test_no_answer_is_no_negative_one(data: EvaluationDataModule, tmp_path: Path):
    """A network that gives no number for two positives, of one of them only after the channel."""
    broken = answers(data, 3)
    first, second = np.flatnonzero(broken.labels == 1)[-2:]
    broken.logits = {name: values.copy() for name, values in broken.logits.items()}
    for name, values in broken.logits.items():
        values[first] = np.nan
        if name == "received":
            values[second] = np.nan
    broken.tasks["covidx"].logits = broken.logits["original"]
    page, _result, subjects = report(data, tmp_path, broken, answers(data, 0, 1))
    assert "3 of 22 decisions change on the way" in page.words
    assert "11 of 11 labelled positives are found" in page.words
    assert "0 of 23" not in page.words
    assert set(worst_flips(subjects[0])) == set(np.flatnonzero(broken.labels == 1)[:3])


def test_one_axis_shows_one_population(data: EvaluationDataModule):
    """Of eight flips among 24 originals, two are among the twelve drawn for the channels; the other run's none."""
    said = answers(data, 8)
    positives = np.flatnonzero(said.labels == 1)
    said.channel_rows = np.array([*positives[[0, 1, 8, 9]], *np.flatnonzero(said.labels == 0)[:8]])
    said.channel_logits = dict.fromkeys(CHANNELS, said.logits["received"][said.channel_rows])
    result, subjects = scored(data, said, answers(data, 0, 1))
    (first, second), which = _drawn(subjects, result["runs"])
    assert result["runs"][0]["scores"]["pi/score"]["value"] == pytest.approx(100 * 8 / 24)
    assert first["scores"]["pi/score"]["value"] == pytest.approx(100 * 2 / 12)
    assert first["scores"]["channel/camera"]["value"] == pytest.approx(100 * 2 / 12)
    assert second["scores"]["pi/score"]["value"] == second["scores"]["disagreement"]["value"] == 0
    assert "12 of 24 originals" in which
    said.channel_rows = np.arange(N)
    assert _drawn(subjects, result["runs"]) == (result["runs"], "All 24 originals.")
