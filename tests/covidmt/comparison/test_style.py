"""The report's style, and that it stays in the report."""

from math import nan

import matplotlib as mpl

from covidmt.comparison.configurations import Mean
from covidmt.comparison.style import STYLE, error_bars, styled


def test_the_style_holds_inside_alone():
    before = dict(mpl.rcParams)

    @styled
    def size() -> float:
        return mpl.rcParams["axes.titlesize"]

    assert size() == STYLE["axes.titlesize"] != before["axes.titlesize"]
    assert dict(mpl.rcParams) == before


def test_bars_reach_from_the_mean_to_both_ends():
    assert error_bars(Mean(4.0, 3.0, 6.0, [4.0])).tolist() == [[1], [2]]
    assert error_bars(Mean(4.0, nan, nan, [4.0])).tolist() == [[0], [0]]
