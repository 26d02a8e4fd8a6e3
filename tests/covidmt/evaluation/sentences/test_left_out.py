"""Which images count in no OLS is said with its reason, and their names are listed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from covidmt.evaluation.findings import describe_findings
from covidmt.evaluation.report import write_report
from covidmt.evaluation.result import Evaluation
from covidmt.evaluation.sentences.left_out import left_out_lists, left_out_sentences
from datamodules.evaluation import EvaluationDataModule
from metrics.controls import pack
from tests.helpers.evaluation import SIZE, N, evaluation_of, make_answers


def with_gaps(data: EvaluationDataModule, *, no_lungs: int, no_map: dict[str, int]) -> Evaluation:
    """The first so many pairs have no lungs, the last so many of a side a map that is zero everywhere."""
    own = make_answers(data, 0)
    masks = np.ones((N, SIZE, SIZE), bool)
    masks[:no_lungs] = False
    maps = {side: values.copy() for side, values in own.maps[own.target].items()}
    for side, count in no_map.items():
        maps[side][N - count :] = 0
    lungs = pack(torch.from_numpy(masks))
    return evaluation_of(data, replace(own, maps=dict.fromkeys(own.maps, maps), lungs=lungs))


def test_every_reason_is_counted_for_itself(data: EvaluationDataModule):
    assert left_out_sentences(with_gaps(data, no_lungs=0, no_map={})) == []
    both = with_gaps(data, no_lungs=3, no_map={"original": 1, "received": 1})
    words = (
        "20 of 24 originals (and of received images) count; 3 have no lung mask (or an empty one) and 1 has a heat map "
        "that is zero everywhere."
    )
    assert left_out_sentences(both) == [words]
    assert words in describe_findings(both)[1].sentences


def test_a_side_of_its_own(data: EvaluationDataModule):
    assert left_out_sentences(with_gaps(data, no_lungs=0, no_map={"received": 2})) == [
        "All 24 originals count.",
        "22 of 24 received images count; 2 have a heat map that is zero everywhere.",
    ]


def test_no_image_counts(data: EvaluationDataModule):
    (card,) = [card for card in describe_findings(with_gaps(data, no_lungs=N, no_map={})) if "lungs" in card.title]
    assert card.sentences[1].startswith("0 of 24 originals (and of received images) count; 24 have no lung mask")


def test_the_images_are_listed_folded(data: EvaluationDataModule, tmp_path: Path):
    evaluation = with_gaps(data, no_lungs=2, no_map={"original": 1})
    ids = evaluation.first.answers.ids
    assert left_out_lists(evaluation) == [
        ("2 originals: no lung mask (or an empty one)", ", ".join(ids[:2])),
        ("1 original: a heat map that is zero everywhere", ids[-1]),
        ("2 received images: no lung mask (or an empty one)", ", ".join(ids[:2])),
    ]
    write_report(tmp_path / "report.html", evaluation, data)
    page = (tmp_path / "report.html").read_text()
    folded = page.partition("<details><summary>Images that count in no OLS</summary>")[2].partition("</details>")[0]
    assert ids[-1] in folded
