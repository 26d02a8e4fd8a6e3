from math import isnan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.saliency import MeanIol, OutOfLungSaliency, iol
from tests.helpers.metrics import assert_processes_add_up


def masks(*counts, of=10):
    """Per pair (inside, area): a region of ``area`` pixels, the first ``inside`` of them in the lungs of 10 pixels."""
    region, lung = torch.zeros(len(counts), 1, 4 * of, dtype=torch.bool), torch.zeros(len(counts), 1, 4 * of).bool()
    lung[:, :, :of] = True
    for i, (inside, area) in enumerate(counts):
        region[i, 0, of - inside : of - inside + area] = True
    return region, lung


def scored(region, lung, batches=(slice(None),)):
    metric = OutOfLungSaliency(0.4)
    for rows in batches:
        metric.update(region[rows], lung[rows])
    return metric.compute()


def test_iol_hand_computed():
    assert iol(*masks((2, 5), (0, 3), (7, 7), (1, 3))).tolist() == pytest.approx([0.4, 0.0, 1.0, 1 / 3])


def test_iol_says_nothing_without_region_or_lung():
    region, lung = masks((0, 0), (3, 5))
    lung[1] = False
    assert iol(region, lung).isnan().all()


def test_ols_hand_computed():
    # 2/5 is exactly eta: not below it, not out of the lungs
    region, lung = masks((2, 5), (1, 5), (0, 4), (10, 10), (0, 0), (3, 4), (0, 0))
    lung[5:] = False  # no lung; neither region nor lung
    result = scored(region, lung)
    assert result["score"] == 50.0
    assert result["mean"] == pytest.approx((0.4 + 0.2 + 0 + 1) / 4)
    assert (result["n"], result["no_region"], result["no_lung"]) == (4, 2, 2)
    assert {k: v for k, v in result.items() if k.startswith("hist/") and v} == {
        "hist/00": 0.25, "hist/02": 0.25, "hist/04": 0.25, "hist/09": 0.25,
    }  # fmt: skip


@pytest.mark.parametrize("area", [10, 30, 70, 90])
def test_histogram_edges_belong_to_the_upper_bin(area):
    for tenth in range(10):
        region, lung = torch.ones(1, 1, area).bool(), torch.zeros(1, 1, area).bool()
        lung[..., : area * tenth // 10] = True
        if tenth:
            assert scored(region, lung)[f"hist/{tenth:02d}"] == 1.0


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_image_has_no_score():
    result = OutOfLungSaliency().compute()
    assert [result.pop(key) for key in ("n", "no_region", "no_lung")] == [0, 0, 0]
    assert set(result) == {"score", "mean", *(f"hist/0{tenth}" for tenth in range(10))}
    assert all(isnan(value) for value in result.values())


def test_eta_is_the_papers_unless_told():
    metric = OutOfLungSaliency()
    metric.update(*masks((2, 5), (3, 8)))  # 0.4 and 0.375
    assert metric.compute()["score"] == 50


def test_processes_add_up():
    region, lung = masks((2, 5), (10, 10), (0, 0), (3, 4))
    shares = [(region[rows], lung[rows]) for rows in (slice(1), slice(1, 4))]
    assert_processes_add_up(OutOfLungSaliency, *shares)
    assert_processes_add_up(MeanIol, *shares)


@given(
    st.lists(st.integers(0, 10).flatmap(lambda n: st.tuples(st.just(n), st.integers(n, 20))), min_size=1, max_size=9),
    st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_properties(counts, cut):
    region, lung = masks(*counts)
    result = scored(region, lung)
    split = [rows for rows in (slice(None, cut), slice(cut, None)) if len(region[rows])]
    assert str(scored(region, lung, split)) == str(result)  # to the last bit; NaN is NaN
    assert result["n"] + result["no_region"] == len(counts)
    if result["n"]:
        assert 0 <= result["mean"] <= 1
        assert sum(result[f"hist/{i:02d}"] for i in range(10)) == pytest.approx(1)
        assert result["score"] == pytest.approx(
            100 * sum(inside * 5 < area * 2 for inside, area in counts if area) / result["n"]
        )


def test_the_mean_iol_is_that_of_the_images_that_have_one():
    region, lung = masks((1, 4), (3, 4), (0, 0))
    metric = MeanIol()
    assert isnan(metric.compute())
    for rows in (slice(0, 1), slice(1, 3)):
        metric.update(region[rows], lung[rows])
    assert metric.compute() == 0.5 == scored(region, lung)["mean"]
