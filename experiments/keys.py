"""Settings as plain values: by dotted keys (``model.backbone``), nested as in a YAML, as they are saved and read back.

A saved experiment (a checkpoint, a sweep's record, an artifact) has been resolved when it was written. Nothing in it is
resolved again: ``${oc.env:HOME}`` in a checkpoint from elsewhere is a text of 14 characters, not the reader's
environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import UserError

Values = dict[str, Any]  # settings as a YAML has them: nested mappings of plain values, or dotted keys
LARGEST_YAML = 4 * 2**20  # bytes; an experiment has some thousand
MOST_VALUES = 100_000  # of settings, each counted as often as aliases repeat it


def flatten(values: Mapping, prefix: str = "") -> Values:
    """Return nested mappings as dotted keys; an empty mapping stays a value.

    >>> flatten({"model": {"backbone": "resnet18", "boxes": {"l2": 0.1}}, "tasks": {}})
    {'model.backbone': 'resnet18', 'model.boxes.l2': 0.1, 'tasks': {}}
    """
    flat: Values = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat


def nest(values: Mapping) -> Values:
    """Return dotted keys, mappings or both as nested mappings; of two values of one setting the last counts.

    >>> nest({"data.image_size": 64, "data": {"root": "cxr", "image_size": 96}})
    {'data': {'image_size': 96, 'root': 'cxr'}}
    """
    nested: Values = {}
    for key, value in values.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        merge(nested, value)
    return nested


def merge(into: Values, values: Mapping) -> None:
    """Set nested values in nested settings; other settings of the same section stay.

    >>> settings = {"data": {"root": "cxr", "image_size": 64}}
    >>> merge(settings, {"data": {"image_size": 96}})
    >>> settings
    {'data': {'root': 'cxr', 'image_size': 96}}
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            merge(into[key], value)
        else:
            into[key] = value


def to_plain(value: Any) -> Any:
    """Return settings as dicts, lists, texts and numbers; an enum's member by its name.

    >>> from experiments.schema import Robustness
    >>> to_plain(Robustness(eta=0.3))["target"], to_plain({"sizes": (1, 2)})
    ('decision', {'sizes': [1, 2]})
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def as_literals(value: Any) -> Any:
    r"""Return plain values that OmegaConf reads as they stand: whatever looks like an interpolation is escaped.

    >>> as_literals({"root": "${oc.env:HOME}/cxr"})
    {'root': '\\${oc.env:HOME}/cxr'}
    """
    if isinstance(value, Mapping):
        return {key: as_literals(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_literals(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def require_bounded(values: Any, where: str | Path) -> None:
    """Refuse values that hold themselves, or parts of which repeat each other into more than can be meant.

    Args:
        values: Plain containers, which may share parts, as YAML's aliases and pickled objects do.
        where: What they come from, for the message.

    Raises:
        UserError: There are more than `MOST_VALUES`.

    >>> few = ["lol"] * 9
    >>> for _ in range(9):
    ...     few = [few] * 9
    >>> require_bounded(few, "mine.yaml")
    Traceback (most recent call last):
    experiments.errors.UserError: mine.yaml: holds more than 100000 values, by aliases that repeat each other; ...
    """
    if _count(values, {}) > MOST_VALUES:
        raise UserError(
            f"{where}: holds more than {MOST_VALUES} values, by aliases that repeat each other; an experiment has some "
            "hundred: write it without them"
        )


def parse_yaml(text: str, where: str | Path) -> Any:
    """Return what a YAML text says, by the safe loader alone.

    Raises:
        UserError: It is not YAML, or larger than any experiment, by itself or by its aliases.

    >>> parse_yaml("data: {root: cxr}", "mine.yaml")
    {'data': {'root': 'cxr'}}
    """
    require_small_yaml(text, where)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: cannot be read as YAML: {' '.join(str(error).split())[:500]}") from error


def require_small_yaml(text: str, where: str | Path) -> None:
    """Refuse a YAML text that is larger than any experiment, before its aliases are followed.

    Raises:
        UserError: Naming the limit. What is not YAML at all passes: whoever parses it says why.
    """
    if len(text) > LARGEST_YAML:
        raise UserError(f"{where}: has {len(text)} characters; an experiment has at most {LARGEST_YAML}")
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    require_bounded(node, where)


def _count(value: Any, known: dict[int, float]) -> float:
    """Return how many values there are, shared ones as often as they are met; infinite where one holds itself."""
    if isinstance(value, yaml.MappingNode):
        parts = [part for pair in value.value for part in pair]
    elif isinstance(value, yaml.SequenceNode):
        parts = value.value
    elif isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    else:
        return 1

    if id(value) not in known:
        known[id(value)] = float("inf")  # until it is counted: whoever meets it inside itself
        known[id(value)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(value)]
