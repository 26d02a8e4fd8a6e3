"""The printed table."""

import io

from rich.console import Console

from covidmt.evaluation.table import print_table
from datamodules.evaluation import EvaluationDataModule
from tests.helpers.evaluation import EVIL, evaluation_of, make_answers


def test_scores_differences_and_notes(data: EvaluationDataModule):
    text = io.StringIO()
    evaluation = evaluation_of(data, make_answers(data, 3), make_answers(data, 0, 1))
    print_table(Console(file=text, width=200), evaluation)
    lines = text.getvalue().splitlines()
    assert lines[0].startswith(f"{EVIL} 0 on 24 pairs of own (test), 24 images of unknown patients, each counted")
    assert "of these very trainings; another seed may answer otherwise" in lines[1]
    (pi,) = [line for line in lines if "PI score, %" in line]
    assert pi.count("12.5 (") == 2  # the score, and its difference to one of 0
    assert "│ 24 │" in pi
    (disagreement,) = [line for line in lines if "decisions that differ" in line]
    assert "0.0 (" in disagreement
    assert not any("F1" in line and "most probable" in line for line in lines)
    assert any(
        line.startswith("bold: these two trainings differ (the 95 % interval leaves out zero); on the page ")
        for line in lines
    )
    assert lines[-1] == f"note: a note with {EVIL}"


def test_a_network_that_answers_all_alike_is_named_below(data: EvaluationDataModule):
    same = make_answers(data, 0)
    for logits in same.logits.values():
        logits[:] = [1, -1]
    text = io.StringIO()
    print_table(Console(file=text, width=200), evaluation_of(data, same))
    assert "The network calls every original negative: then a low PI is no merit." in text.getvalue()
