"""Where a setting stands in the schemas: what a message says of a key that its section does not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from experiments.errors import nearest
from experiments.lungs_schema import LungsExperiment
from experiments.plugins.choices import without_none
from experiments.pretraining.schema import PretrainExperiment
from experiments.schema import Experiment
from experiments.source_schema import Source
from experiments.sweep_schema import Sweep
from experiments.trainer.arguments import ARGUMENTS, OWN

_SAME = 0.8  # of two words' letters, from which one is the other misspelt
_ALIKE = 0.65  # from which it may be
_PERHAPS = 0.5  # the same, beside another proposal
_MOST = 3  # places that a message names
_KIND = " (kind "  # before the kind of source that alone has the setting

# Whose setting a key is that stands in another kind of YAML alone.
_OTHERS = {
    Experiment: "a setting of experiments",
    Sweep: "a setting of sweeps",
    LungsExperiment: "a setting of lung segmentation experiments",
    PretrainExperiment: "a setting of pretraining",
}


def describe_unknown(key: str, here: Iterable[str], schema: Any = Experiment) -> str:
    """Return what a message says after an unknown key: where the setting stands, or what its section has.

    Args:
        key: Dotted, as it was written.
        here: The names that its section has.
        schema: The class of the whole YAML.

    >>> describe_unknown("trainer.epoch_length", ["max_epochs", "max_steps"])
    '; did you mean data.epoch_length?'
    >>> describe_unknown("optimizer.learning_rate", ["name", "lr", "options"])
    '; did you mean optimizer.options.learning_rate?'
    >>> describe_unknown("launcher", ["name", "data"])
    '; launcher is a setting of sweeps'
    """
    section, _, name = key.rpartition(".")
    here, places = list(here), setting_places(schema)

    # the same name elsewhere, or one here that is nearly the same
    near = get_close_matches(name, here, n=1, cutoff=_ALIKE)
    elsewhere = places.get(name, [])
    if not elsewhere and not get_close_matches(name, here, n=1, cutoff=_SAME):
        alike = get_close_matches(name, places, n=1, cutoff=_SAME)
        elsewhere = places[alike[0]] if alike else []
    if not section.startswith("data.sources."):
        elsewhere = [place for place in elsewhere if _KIND not in place] or elsewhere
    if near or elsewhere:
        return _suggest([*map(repr, near), *elsewhere])

    # a setting of another kind of YAML
    for other, whose in _OTHERS.items():
        found = setting_places(other).get(name, []) if other is not schema else []
        if found:
            remedy = ": write it under overrides, grid, zip or list" if (schema, other) == (Sweep, Experiment) else ""
            return f"; {found[0]} is {whose}{remedy}"

    # an argument of what the section names
    if "options" in here:
        near = get_close_matches(name, here, n=1, cutoff=_PERHAPS)
        return _suggest([*map(repr, near), f"{section}.options.{name}"])
    return nearest(name, here)


def _suggest(words: list[str]) -> str:
    *first, last = words[:_MOST]
    return f"; did you mean {', '.join(first)}{' or ' if first else ''}{last}?"


@cache
def setting_places(schema: Any) -> Mapping[str, list[str]]:
    """Return every setting's own name -> its dotted keys, those of few parts first.

    >>> setting_places(Experiment)["batch_size"]
    ['robustness.batch_size', 'tasks.<name>.batch_size']
    >>> setting_places(Experiment)["table"]
    ['data.sources.<name>.table (kind csv)']
    """
    places: dict[str, list[str]] = {}
    for key in sorted(dict.fromkeys(_walk(schema, "")), key=lambda key: key.count(".")):
        places.setdefault(key.split(" ")[0].rpartition(".")[2], []).append(key)
    return places


def _walk(schema: Any, prefix: str) -> Iterator[str]:
    """Yield the keys of a section and of the sections in it."""
    hints = get_type_hints(schema)
    for item in fields(schema):
        key, kind = f"{prefix}{item.name}", without_none(hints[item.name])
        yield key
        if get_origin(kind) is dict:
            kind, key = get_args(kind)[1], f"{key}.<name>"
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _walk(kind, f"{key}.")
        if kind is Source:
            yield from _walk_kinds(f"{key}.")
    if "trainer" in hints:
        yield from (f"{prefix}trainer.{name}" for name in [*ARGUMENTS, *OWN])


def _walk_kinds(prefix: str) -> Iterator[str]:
    """Yield the keys that sources of one kind have, and the kind behind each."""
    common = {item.name for item in fields(Source)}
    for each in Source.__subclasses__():
        if each.__module__ == Source.__module__ and each.kind != MISSING:
            yield from (f"{prefix}{item.name}{_KIND}{each.kind})" for item in fields(each) if item.name not in common)
