"""What is drawn where, read back from the figures."""

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from covidmt.pages.style import (
    COLOURS,
    draw_band,
    draw_dot,
    figure_row,
    legend_below,
    name_rows,
    new_figure,
    page_style,
    pixels,
    run_legend,
    short_name,
    side_legend,
)
from metrics.bootstrap import Estimate


def legend(figure) -> dict[str, str]:
    (shown,) = figure.legends
    return {
        text.get_text(): to_hex(handle.get_color())
        for text, handle in zip(shown.get_texts(), shown.legend_handles, strict=True)
    }


def settings() -> dict:
    return {key: value for key, value in matplotlib.rcParams.items() if key != "backend"}


def fail_in_style() -> None:
    with page_style({"font.size": 20}):
        assert matplotlib.rcParams["font.size"] == 20
        assert matplotlib.rcParams["axes.spines.top"] is False
        raise ZeroDivisionError


def test_the_style_ends_with_its_context_even_after_an_error():
    before = settings()
    with pytest.raises(ZeroDivisionError):
        fail_in_style()
    assert settings() == before


def test_a_dot_has_its_interval_and_an_undefined_score_is_not_drawn():
    _, axis = new_figure()
    draw_dot(axis, Estimate(50, 40, 60), 2, COLOURS[1])
    draw_dot(axis, Estimate(np.nan, np.nan, np.nan), 3, COLOURS[1])
    draw_dot(axis, None, 4, COLOURS[1])
    bar, dot = axis.lines
    assert (list(bar.get_xdata()), list(bar.get_ydata())) == ([40, 60], [2, 2])
    assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([50], [2])


def test_rows_read_from_the_top_and_begin_at_zero():
    figure, (first, second) = figure_row(2, width=4, height=2, sharey=True)
    for axis in (first, second):
        draw_dot(axis, Estimate(50, 40, 60), 0, COLOURS[0])
        name_rows(axis, ["a", "b"], "PI", flip=axis is first)
    assert first.get_ylim() == second.get_ylim() == (1.5, -0.5)
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b"]
    assert first.get_xlim()[0] == 0
    assert figure.axes == [first, second]
    assert figure.get_size_inches().tolist() == [4, 2]


def test_a_band_has_a_gap_where_a_score_is_missing():
    _, axis = new_figure()
    draw_band(axis, [1, 2, 3], [Estimate(1, 0, 2), None, Estimate(3, 2, 4)], 8)
    draw_band(axis, [1], [Estimate(1, 0, 2)], 0, band=False)
    line = axis.lines[0]
    np.testing.assert_array_equal(line.get_ydata(), [1, np.nan, 3])
    assert (line.get_color(), line.get_linestyle()) == (COLOURS[1], "--")  # the ninth of seven colours
    assert len(axis.collections) == 1


def test_legends_name_each_label_once():
    figure, axes = figure_row(2, width=4, height=2)
    for axis in axes:
        axis.plot([0, 1], [0, 1], color=COLOURS[2], label="one")
    legend_below(figure, 2)
    assert legend(figure) == {"one": COLOURS[2].lower()}

    figure, _ = new_figure()
    run_legend(figure, ["alone"])
    assert not figure.legends
    run_legend(figure, ["a", "b"])
    assert legend(figure) == {"a": COLOURS[0].lower(), "b": COLOURS[1].lower()}

    figure, _ = new_figure()
    run_legend(figure, ["same", "same"])  # two runs of one name are two runs
    assert len(figure.legends[0].get_texts()) == 2

    figure, _ = new_figure()
    side_legend(figure)
    assert legend(figure) == {"original": COLOURS[0].lower(), "received": COLOURS[1].lower()}


def test_a_long_name_keeps_both_ends():
    assert short_name("a" * 34) == "a" * 34
    assert short_name("experiment_of_many_words (1234abcd)", 12) == "experi…abcd)"


def test_pixels_are_the_figure():
    figure, _ = new_figure((2, 1))
    figure.set_facecolor("black")
    picture = pixels(figure)
    assert (picture.shape, picture.dtype) == ((130, 260, 3), np.uint8)
    assert picture[0, 0].tolist() == [0, 0, 0]
