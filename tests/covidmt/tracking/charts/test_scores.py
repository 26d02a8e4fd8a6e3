import pytest

from covidmt.tracking.charts.scores import details, score_tables


@pytest.mark.parametrize(
    "key",
    [
        "val/pi_score",
        "test/ols_score/original",
        "test/pi/ci_low",
        "val/covidx/auroc/COVID-19",
        "val/li/rsna_boxes/0.5",
        "val/ols/covidx/received",
        "val/pi/draws/mean",
        "train/covidx/loss",
        "epoch",
        "evaluation/wacxr-test/pi/undefined",
    ],
)
def test_what_one_looks_at_stays_a_metric(key: str):
    assert details([key, "val/pi/draws/sd"]) == set()


@pytest.mark.parametrize(
    "key",
    [
        "test/covidx/confusion/normal/COVID-19",
        "val/ols/original/no_lung",
        "val/ols/original/ci_high",
        "val/ols/covidx/received/mean_iol",
        "val/li/rsna_boxes/0.5/lost",
        "val/pi/covidx/COVID-19/flips_pos_to_neg",
        "val/pi/nodule/ci_low",
        "test/pi/undefined",
    ],
)
def test_counts_directions_and_cells_go_to_the_table(key: str):
    assert details([key]) == {key}


def test_a_table_has_all_of_its_split_and_keeps_what_is_no_number():
    metrics = {"val/b": float("nan"), "val/a": float("inf"), "val/pi/undefined": 2, "test/pi_score": 1.0, "epoch": 3}
    (name,), (text,) = zip(*score_tables(metrics, 3).items(), strict=True)
    assert name == "scores/val/003.csv"
    assert text.splitlines() == ["metric,value", "val/a,inf", "val/b,", "val/pi/undefined,2"]
    assert score_tables({"val/pi_score": 1.0}, 3) == {}
