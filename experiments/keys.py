"""Settings by dotted keys (``model.backbone``), and nested as in a YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = dict[str, Any]  # settings as a YAML has them: nested mappings of plain values, or dotted keys


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
