"""Which pictures an evaluation shows."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.text import Text
from PIL import Image

from covidmt.evaluation.answers import TaskAnswers
from covidmt.evaluation.pictures import draw_grid, draw_samples, grid_rows, lowest_iol, pair_picture, worst_flips
from covidmt.evaluation.result import RunEvaluation
from covidmt.pages.style import pixels
from datamodules.evaluation import EvaluationDataModule
from experiments.schema import TaskKind
from explain.picture import HEIGHT, WIDTH
from tests.helpers.evaluation import N, evaluation_of, make_answers, make_data, network


def test_samples_of_every_cell_of_three_classes(tmp_path: Path):
    """Eight images a class: all normal right, half of pneumonia called normal, one COVID-19 called pneumonia."""
    labels = ["normal", "pneumonia", "COVID-19"]
    data = make_data(tmp_path, labels)
    (group,) = data.groups
    names = [Path(path.decode()).name for path in group.images[group.rows("test")]]
    truth = np.array([int(name[-6:-4]) % 3 for name in names])
    said = truth.copy()
    said[np.flatnonzero(truth == 1)[::2]] = 0
    said[np.flatnonzero(truth == 2)[3]] = 1
    strength = np.linspace(1, 4, N)
    logits = (np.eye(3)[said] * strength[:, None]).astype(np.float32)
    softmax = replace(data.experiment.tasks["covidx"], kind=TaskKind.multiclass)
    task = TaskAnswers(np.array(names), np.eye(3, dtype=np.float32)[truth], logits)
    said_of_pairs = replace(make_answers(data, 0), tasks={"covidx": task})
    three = network(data, "three", tasks={"covidx": softmax})
    run = RunEvaluation(three, said_of_pairs, pd.DataFrame(), {}, {})
    figure = draw_samples(run, data)
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


def test_long_names_of_samples_do_not_meet(tmp_path: Path):
    """Of wide capitals, with six pictures in a row."""
    data = make_data(tmp_path, ["normal", "COVID-19"], stem="A7B81C63-6D0D-4C02-9E63-648BE108645A")
    (run,) = evaluation_of(data, make_answers(data, 0)).runs
    figure = draw_samples(run, data)
    assert figure is not None
    pixels(figure)  # places the texts
    titles = [text for axis in figure.axes for text in axis.findobj(Text) if text.get_text().endswith(".png")]
    assert len(titles) == 6
    boxes = [text.get_window_extent() for text in titles]
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))


def test_the_largest_change_comes_first(data: EvaluationDataModule):
    (run,) = evaluation_of(data, make_answers(data, 8)).runs
    change = (run.table["margin_original"] - run.table["margin_received"]).abs()
    rows = worst_flips(run)
    assert rows == sorted(rows, key=lambda row: -change[row])
    assert len(rows) == 6
    others = set(run.table.index[run.table["flip"] == 1]) - set(rows)
    assert len(others) == 2
    assert all(change[row] <= min(change[rows]) for row in others)


def test_the_lowest_iol_of_either_side_comes_first(data: EvaluationDataModule):
    (run,) = evaluation_of(data, make_answers(data, 0)).runs
    table = run.table.assign(iol_original=np.arange(N) / N, iol_received=np.nan)
    table.loc[20, "iol_received"] = 0.01
    assert lowest_iol(RunEvaluation(run.network, run.answers, table, {}, {})) == [0, 20, 1, 2, 3, 4]


def test_pictures_have_their_size(data: EvaluationDataModule):
    evaluation = evaluation_of(data, make_answers(data, 2), make_answers(data, 0, 1))
    dataset = data.pair_dataset("test")
    assert pair_picture(evaluation.first, dataset, 0).shape == (HEIGHT, WIDTH, 3)
    grid = draw_grid(evaluation, dataset, grid_rows(evaluation.runs))
    assert grid.shape == (int((3 * 1.85 + 0.4) * 130), int(8 * 1.45 * 130), 3)  # three lines of eight images
