"""Bounds of settings: each stands at its field of the schema, one loop checks them all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from experiments.errors import UserError


@dataclass(frozen=True)
class Bounds:
    """What a number may be; a list's bounds hold for each of its numbers.

    NaN and infinite numbers are never allowed.

    Attributes:
        at_least: Lowest allowed number; or
        above: all numbers above this one; both None: no lower bound.
        at_most: Highest allowed number; or
        below: all numbers below this one; both None: no upper bound.
        hint: What else a message should say: what to do instead.

    >>> print(Bounds(at_least=0, at_most=1), Bounds(above=0), Bounds(at_least=0, below=1), sep="; ")
    lie between 0 and 1; be above 0; be 0 or more and below 1
    >>> Bounds(above=0).allow(0.5), Bounds(above=0).allow(0.0), Bounds(at_least=1).allow([1, 0])
    (True, False, False)
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    hint: str = ""

    def allow(self, value: float | list[float]) -> bool:
        """Return whether the number, or every number of the list, lies within the bounds."""
        if isinstance(value, list):
            return all(map(self.allow, value))
        return (
            (isinstance(value, int) or math.isfinite(value))  # isfinite overflows at integers beyond 1e308
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """As a message goes on after 'must'."""
        if self.at_least is not None and self.at_most is not None:
            return f"lie between {self.at_least} and {self.at_most}"
        parts = {
            "{} or more": self.at_least,
            "above {}": self.above,
            "at most {}": self.at_most,
            "below {}": self.below,
        }
        return "be " + " and ".join(text.format(limit) for text, limit in parts.items() if limit is not None)


def bounded(default: float | None, **limits: Any) -> Any:
    """Return a dataclass field of this default whose value :func:`check_bounds` holds within the bounds.

    Args:
        default: The field's default.
        limits: ``at_least``, ``above``, ``at_most``, ``below``, ``hint`` as of :class:`Bounds`. A value of None (YAML's
            null) is always allowed.
    """
    return field(default=default, metadata={"bounds": Bounds(**limits)})


def check_bounds(settings: Any, where: str, prefix: str = "") -> None:
    """Refuse the first setting that lies outside the bounds at its field.

    Args:
        settings: A dataclass; the dataclasses in its fields, and in the mappings in its fields, are checked too.
        where: File, or what else the settings come from, for the message.
        prefix: What stands before the settings' own keys: ``data.``.

    Raises:
        UserError: Naming the dotted key, what is allowed and what it is.

    >>> from experiments.schema import Data
    >>> check_bounds(Data(image_size=8), "mine.yaml", "data.")
    Traceback (most recent call last):
    experiments.errors.UserError: mine.yaml: data.image_size: must be 32 or more, is 8
    """
    for item in fields(settings):
        key, value = f"{prefix}{item.name}", getattr(settings, item.name)
        bounds = item.metadata.get("bounds")
        if bounds is not None and value is not None and not bounds.allow(value):
            verb = "are" if isinstance(value, list) else "is"
            hint = f"; {bounds.hint}" if bounds.hint else ""
            raise UserError(f"{where}: {key}: must {bounds}, {verb} {value}{hint}")

        # sections, and mappings of sections such as `tasks`
        sections = value.items() if isinstance(value, dict) else [("", value)]
        for name, section in sections:
            if is_dataclass(section):
                check_bounds(section, where, f"{key}.{name}." if name else f"{key}.")
