"""How numbers are written in reports: signs, digits, units and intervals, once for all pages.

A number that cannot be told (NaN) is a dash; a minus is a minus and no hyphen; units do not break off their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, isnan, nan

NBSP = "\N{NO-BREAK SPACE}"
DASH = "\N{EN DASH}"


def number(value: float, whole: float | None = 1.0) -> str:
    """Write a score; ``-`` where it is undefined.

    Args:
        value: The score.
        whole: 100 for a percentage, which has one digit after the point; all others have three.

    Example:
        >>> from covidmt.pages.numbers import number
        >>> number(12.5, 100), number(0.8125), number(float("nan"))
        ('12.5', '0.812', '-')
    """
    if not isfinite(value):
        return "-"
    return f"{value:.1f}" if whole == 100 else f"{value:.3f}"


def share(value: float) -> str:
    """Write a share with two digits, and with three where two would make 0 or 1 of it.

    Example:
        >>> from covidmt.pages.numbers import share
        >>> share(0.974), share(0.9958), share(1.0), share(0.9999)
        ('0.97', '0.996', '1.00', '> 0.999')
    """
    if not (0 < value < 0.005 or 0.995 <= value < 1):
        return f"{value:.2f}"
    if value >= 0.9995:
        return "> 0.999"
    return "< 0.001" if value < 0.0005 else f"{value:.3f}"


def signed_number(value: float, whole: float | None = 1.0) -> str:
    """Write a difference of two scores, with its sign.

    Args:
        value: First score minus second.
        whole: As in :func:`number`.

    Example:
        >>> from covidmt.pages.numbers import signed_number
        >>> signed_number(12.5, 100), signed_number(-0.25)
        ('+12.5', '−0.250')
    """
    if not isfinite(value):
        return number(value, whole)
    return f"{'' if value < 0 else '+'}{number(value, whole)}".replace("-", "\N{MINUS SIGN}")


def interval(low: float, high: float, text: Callable[[float], str] = "{:.2f}".format, join: str = ", ") -> str:
    """Write an interval in brackets behind a space; nothing where it is undefined.

    Args:
        low: Lower end.
        high: Upper end.
        text: How an end is written.
        join: What stands between the ends.

    Example:
        >>> from covidmt.pages.numbers import interval
        >>> interval(0.5, 1), interval(0.5, float("nan"))
        (' (0.50, 1.00)', '')
    """
    return f" ({text(low)}{join}{text(high)})" if isfinite(low) and isfinite(high) else ""


def points(value: float) -> str:
    """Write a difference in percentage points, with its sign.

    Example:
        >>> from covidmt.pages.numbers import points
        >>> points(-2.8), points(0.5), points(float("nan"))
        ('−2.80', '+0.50', '–')
    """
    return DASH if isnan(value) else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def relative_change(before: float, after: float) -> float:
    """Return a change in percent of what was before; NaN where either is 0: none seen are not 100 % fewer.

    Example:
        >>> relative_change(7.0, 3.5), relative_change(7.0, 0.0)
        (-50.0, nan)
    """
    return 100 * (after - before) / before if before and after else nan


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
        >>> [p_value(p).replace(NBSP, " ") for p in (0.0004, 0.0055, 0.0312)]
        ['< 0.001', '= 0.0055', '= 0.031']
    """
    if isnan(value):
        return DASH
    if value < 0.001:
        return f"<{NBSP}0.001"
    return f"={NBSP}{value:.2g}" if value < 0.01 else f"={NBSP}{value:.3f}"


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
