from dataclasses import dataclass, field

import pytest

from experiments.bounds import Bounds, bounded, check_bounds
from experiments.errors import UserError


@dataclass
class Inner:
    share: float = bounded(0.5, above=0, at_most=1)
    count: int | None = bounded(None, at_least=1, hint="null takes all")


@dataclass
class Outer:
    weights: list[float] | None = bounded(None, at_least=0)
    inner: Inner = field(default_factory=Inner)
    named: dict[str, Inner] = field(default_factory=dict)
    free: dict[str, int] = field(default_factory=lambda: {"share": 7})


def test_settings_within_their_bounds_and_null_are_allowed():
    check_bounds(Outer(), "f.yaml")
    check_bounds(Outer([0.0, 2.5], Inner(1.0, 1), {"a": Inner(1e-9)}), "f.yaml")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Outer([1.0, -1.0]), "f.yaml: weights: must be 0 or more, are [1.0, -1.0]"),
        (Outer(inner=Inner(share=0.0)), "f.yaml: inner.share: must be above 0 and at most 1, is 0.0"),
        (Outer(inner=Inner(count=0)), "f.yaml: inner.count: must be 1 or more, is 0; null takes all"),
        (Outer(named={"a": Inner(), "b": Inner(1.5)}), "f.yaml: named.b.share: must be above 0 and at most 1, is 1.5"),
        (Outer([float("inf")]), "f.yaml: weights: must be 0 or more, are [inf]"),
        (
            Outer(named={"a": Inner(share=10**400)}),
            f"f.yaml: named.a.share: must be above 0 and at most 1, is {10**400}",
        ),
        (Outer(inner=Inner(share=float("nan"))), "f.yaml: inner.share: must be above 0 and at most 1, is nan"),
    ],
)
def test_a_setting_outside_its_bounds_is_named(settings: Outer, message: str):
    with pytest.raises(UserError) as error:
        check_bounds(settings, "f.yaml")
    assert str(error.value) == message


def test_bounds_say_what_they_allow():
    assert str(Bounds(at_least=1, at_most=100)) == "lie between 1 and 100"
    assert str(Bounds(above=0, below=1)) == "be above 0 and below 1"
    assert str(Bounds(at_most=3)) == "be at most 3"
    assert [Bounds(at_least=0, below=1).allow(value) for value in (-0.1, 0, 0.9, 1)] == [False, True, True, False]
