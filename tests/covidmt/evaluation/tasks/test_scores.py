import numpy as np
import pytest
import torch

from covidmt.evaluation.tasks.answers import BoxRows, LabelRows
from covidmt.evaluation.tasks.scores import box_stability, label_stability
from covidmt.evaluation.texts import sections
from experiments.schema import Robustness, Task
from explain.task_decisions import TaskDecisions
from metrics.controls import pack
from metrics.tasks.instability import TaskInstability
from metrics.tasks.localisation import LocalisationInstability

DECISIONS = TaskDecisions.of(Task("findings", "nih", labels=["Mass", "Nodule"]), Robustness())


def label_rows(n=8):
    rng = np.random.default_rng(0)
    logits = {side: rng.normal(size=(n, 2)).astype(np.float32) for side in ("original", "received", "noise")}
    region = torch.zeros(n, 8, 8, dtype=torch.bool)
    region[:, :4] = True
    lung = torch.ones(n, 8, 8, dtype=torch.bool)
    saliency = {f"{name}_{side}": np.full(n, 0.3, np.float32) for name in ("iol", "disc") for side in logits}
    regions = {side: pack(region) for side in logits}
    return LabelRows([f"{i}" for i in range(n)], [f"{i // 2}" for i in range(n)], logits, saliency, regions, pack(lung))


def test_labels_score_as_their_metric_does_and_have_intervals():
    rows = label_rows()
    got = label_stability(rows, DECISIONS, Robustness(), resamples=50)
    metric = TaskInstability(DECISIONS)
    metric.update(*(torch.from_numpy(rows.logits[side]) for side in ("original", "received")))
    expected = metric.compute()
    assert got["pi"].estimate.value == pytest.approx(expected["score"])
    assert got["label/Mass"].estimate.value == pytest.approx(expected["Mass/score"])
    assert got["probability_change"].estimate.value == pytest.approx(expected["mean_abs_change"], abs=1e-6)
    assert got["pi"].estimate.low < got["pi"].estimate.value < got["pi"].estimate.high
    flipped = ((rows.logits["original"] >= 0) != (rows.logits["noise"] >= 0)).any(axis=1)
    assert got["noise"].estimate.value == pytest.approx(100 * flipped.mean())
    assert got["ols/received"].estimate.value == 100
    assert got["ols_shuffled/original"].estimate.value == 0  # all of the image is lung
    bare = label_stability(rows._replace(saliency={}), DECISIONS, Robustness(), resamples=50)
    assert not any(name.startswith("ols") for name in bare)


def test_boxes_score_as_their_metric_does():
    square, moved = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[0.0, 0.0, 10.0, 18.0]])
    found = {"boxes": square, "scores": torch.tensor([0.9])}
    nothing = {"boxes": square[:0], "scores": torch.empty(0)}
    tall = {"boxes": moved, "scores": torch.tensor([0.7])}
    original, received = [found, found, nothing, nothing], [found, tall, found, nothing]
    truths = [square, square, square, square[:0]]
    inside = {"original": [np.float32([0.9]), np.float32([0.1]), *[np.empty(0, np.float32)] * 2]}
    inside["received"] = [np.empty(0, np.float32)] * 4
    rows = BoxRows(list("abcd"), list("abcd"), original, received, original, truths, inside)
    got = box_stability(rows, Robustness(), resamples=50)
    metric = LocalisationInstability()
    metric.update(original, received, [{"boxes": each} for each in truths])
    expected = metric.compute()
    for t in ("0.4", "0.5", "0.75"):
        assert got[f"li/{t}"].estimate.value == pytest.approx(expected[f"{t}/score"])
        assert got[f"li_lost/{t}"].estimate.value == pytest.approx(expected[f"{t}/lost"])
        assert got[f"localised/{t}"].estimate.value == pytest.approx(expected[f"{t}/localised"])
        assert got[f"li_noise/{t}"].estimate.value == 0
    assert got["li/0.75"].estimate.value == pytest.approx(200 / 3)
    assert got["iou"].estimate.value == pytest.approx(expected["iou"], abs=1e-6)
    assert got["ols/original"].estimate.value == 50
    assert "ols/received" not in got  # no box


def test_every_score_has_its_words():
    labels = label_stability(label_rows(), DECISIONS, Robustness(), resamples=50)
    texts = sections([f"stability/findings/{name}" for name in labels])["Stability of findings"]
    assert len(texts) == len(labels)
    assert texts["stability/findings/label/Mass"].title == "PI of Mass, %"
    assert texts["stability/findings/ols/received"].title == "OLS, received, %"
