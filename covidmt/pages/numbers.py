"""How numbers are written in reports: signs, digits, units and intervals, once for all pages.

A number that cannot be told (NaN) is a dash; a minus is a minus and no hyphen; units do not break off their numbers.
"""

from __future__ import annotations

from math import isnan

NBSP = "\N{NO-BREAK SPACE}"
DASH = "\N{EN DASH}"


def points(value: float) -> str:
    """Write a difference in percentage points, with its sign.

    Example:
        >>> from covidmt.pages.numbers import points
        >>> points(-2.8), points(0.5), points(float("nan"))
        ('−2.80', '+0.50', '–')
    """
    return DASH if isnan(value) else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def relative_percent(value: float) -> str:
    """Write a relative change, in percent with its sign.

    Example:
        >>> from covidmt.pages.numbers import NBSP, relative_percent
        >>> relative_percent(-40.2).replace(NBSP, " ")
        '−40 %'
    """
    return DASH if isnan(value) else f"{value:+.0f}{NBSP}%".replace("-", "\N{MINUS SIGN}")


def points_interval(low: float, high: float) -> str:
    """Write the interval of a difference in percentage points.

    Example:
        >>> from covidmt.pages.numbers import points_interval
        >>> points_interval(-4.5, 1.1)
        '−4.50 to +1.10'
    """
    return DASH if isnan(low) else f"{points(low)} to {points(high)}"


def p_value(value: float) -> str:
    """Write a p-value behind the letter p.

    Example:
        >>> from covidmt.pages.numbers import NBSP, p_value
        >>> p_value(0.0004).replace(NBSP, " "), p_value(0.0312).replace(NBSP, " ")
        ('< 0.001', '= 0.031')
    """
    if isnan(value):
        return DASH
    return f"<{NBSP}0.001" if value < 0.001 else f"={NBSP}{value:.3f}"


def estimate(value: float, low: float, high: float, digits: int) -> str:
    """Write an estimate with its interval; without one where it is not known.

    Example:
        >>> from covidmt.pages.numbers import estimate
        >>> estimate(4.2, 3.1, 5.3, 2), estimate(4.2, float("nan"), float("nan"), 1)
        ('4.20 [3.10, 5.30]', '4.2')
    """
    if isnan(value):
        return DASH
    interval = "" if isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"
