"""Settings by dotted keys (``model.backbone``), and nested as in a YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; an empty mapping stays a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys, mappings or both as nested mappings; of two values of one setting the last counts."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        _merge(nested, value)
    return nested


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in values.items():
        known = into.get(key)
        if isinstance(value, Mapping):
            into[key] = _merge(known if isinstance(known, dict) else {}, value)
        else:
            into[key] = value
    return into
