"""How numbers are written."""

from math import inf, nan

import pytest

from covidmt.pages.numbers import (
    DASH,
    NBSP,
    estimate,
    interval,
    number,
    p_value,
    points,
    points_interval,
    relative_percent,
    signed_number,
)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (number(12.25, 100), "12.2"),
        (number(0.5), "0.500"),
        (number(3.0, None), "3.000"),
        (number(inf), "-"),
        (signed_number(0.0, 100), "+0.0"),
        (signed_number(-12.5, 100), "−12.5"),
        (signed_number(nan, 100), "-"),
        (interval(0.5, 0.75), " (0.50, 0.75)"),
        (interval(1, 2, "{:.0f}".format, " to "), " (1 to 2)"),
        (interval(nan, 0.75), ""),
        (points(0.0), "+0.00"),
        (points(-0.004), "−0.00"),
        (relative_percent(-40), f"−40{NBSP}%"),
        (points_interval(-1, 2.345), "−1.00 to +2.35"),
        (p_value(0.001), f"={NBSP}0.001"),
        (p_value(0.00099), f"<{NBSP}0.001"),
        (estimate(0.5, 0.25, 1.0, 3), "0.500 [0.250, 1.000]"),
    ],
)
def test_signs_digits_and_units(written: str, text: str):
    assert written == text


def test_what_cannot_be_told_is_a_dash():
    unknown = {points(nan), relative_percent(nan), points_interval(nan, nan), p_value(nan), estimate(nan, 0, 1, 1)}
    assert unknown == {DASH}
    assert estimate(2.0, nan, nan, 1) == "2.0"
