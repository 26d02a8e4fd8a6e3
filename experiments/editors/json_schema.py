"""JSON Schemas of the YAML files, for completion, types, ranges and docs in editors.

Everything is read from the settings' classes: fields and types, bounds (`experiments.bounds`), choices with their short
names (`experiments.plugins`), and the texts of docstrings and comments. An editor with the YAML language server takes
them by the first line of a file::

    # yaml-language-server: $schema=experiment.schema.json
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from experiments.bounds import Bounds
from experiments.keys import to_plain
from experiments.lungs_schema import LungsExperiment
from experiments.plugins.choices import group_of
from experiments.plugins.registry import GROUPS, points
from experiments.pretraining.schema import PretrainExperiment
from experiments.schema import Experiment
from experiments.source_schema import Source, source_class, source_kinds
from experiments.sweep_schema import Sweep
from experiments.trainer.arguments import ARGUMENTS, OWN

Schema: TypeAlias = dict[str, Any]  # as JSON has it
KINDS = {"experiment": Experiment, "sweep": Sweep, "lungs": LungsExperiment, "pretrain": PretrainExperiment}
FOLDER = Path(__file__).parent  # where the shipped ones lie

_PLAIN: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": ["string", "number"]},  # a number is read as its text
    type(None): {"type": "null"},
    Any: {},
}
_RESOLVED: Schema = {"type": "string", "pattern": r"\$\{.*\}"}  # OmegaConf's interpolation, in place of any value
_LIMITS = {"at_least": "minimum", "above": "exclusiveMinimum", "at_most": "maximum", "below": "exclusiveMaximum"}


def json_schema(kind: str) -> Schema:
    """Return the JSON Schema (draft 7) of a kind of YAML.

    Args:
        kind: One of :data:`KINDS`.

    >>> schema = json_schema("sweep")
    >>> schema["properties"]["seeds"]["anyOf"][0]["items"]["anyOf"][0]
    {'type': 'integer'}
    """
    schema = _section(KINDS[kind])
    schema["properties"]["extends"] = {"type": "string", "description": "The YAML that this one changes."}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": f"covidmt: {kind}"}
    return {**head, **schema}


def schema_text(kind: str) -> str:
    """Return the JSON Schema as it is shipped."""
    return json.dumps(json_schema(kind), indent=1) + "\n"


def _section(cls: Any) -> Schema:
    """A dataclass: no other keys, nothing required, since files extend each other."""
    texts, hints = _texts(cls), get_type_hints(cls)
    properties: Schema = {}
    for item in fields(cls):
        properties[item.name] = _setting(item, hints[item.name]) | texts.get(item.name, {})
    if cls is Experiment:
        properties["data"]["anyOf"][0]["properties"]["sources"] = {"additionalProperties": _sources()}
    if "trainer" in properties:
        properties["trainer"] = _trainer() | texts.get("trainer", {})

    # a section whose name is chosen may be the choice itself
    if any(item.name == "name" and group_of(item) for item in fields(cls)):
        properties |= {"class_path": {"type": "string"}, "init_args": {"type": "object"}}
    about = {"description": _first_paragraph(cls)} if cls.__doc__ else {}
    return {"type": "object", "properties": properties, "additionalProperties": False, **about}


def _setting(item: Any, hint: Any) -> Schema:
    """One field: its type, bounds, short names and default."""
    group, bounds = group_of(item), item.metadata.get("bounds")
    types = get_args(hint) if type(None) in get_args(hint) else (hint,)
    options = [option for kind in types for option in _options(kind, bounds, group)]
    schema: Schema = {"anyOf": [*options, _RESOLVED]}
    default = item.default if item.default is not MISSING else None
    if default not in (None, "???"):
        schema["default"] = to_plain(default)
    return schema


def _options(kind: Any, bounds: Bounds | None, group: str | None) -> list[Schema]:
    """What a type allows."""
    if is_dataclass(kind) and isinstance(kind, type):
        return [_section(kind)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [{"enum": [member.name for member in kind]}, *(_choice(group) if group else [])]
    if group and kind is str:
        return _choice(group)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list:
        return [{"type": "array", "items": {"anyOf": [*_options(inner[0], bounds, group), _RESOLVED]}}]
    if origin is dict:
        return [{"type": "object", "additionalProperties": {"anyOf": [*_options(inner[1], bounds, None), _RESOLVED]}}]

    # plain types with their ranges
    schema = dict(_PLAIN.get(kind, {}))
    if bounds is not None and kind in (int, float):
        limits = {word: getattr(bounds, name) for name, word in _LIMITS.items()}
        schema |= {word: limit for word, limit in limits.items() if limit is not None}
    return [schema]


def _choice(group: str) -> list[Schema]:
    """A short name, a class by its path, or a mapping of both: names are suggested, and not all that there are."""
    mapping = {
        "type": "object",
        "properties": {"class_path": {"type": "string"}, "init_args": {"type": "object"}},
        "additionalProperties": False,
    }
    what = f"A {GROUPS[group].what}: a name, or a class of your own (docs/extending.md)."
    return [{"type": "string", "examples": sorted(points(group)), "description": what}, mapping]


def _sources() -> Schema:
    """A data set by its kind; the keys of a class of the user's own are its own."""
    known = source_kinds()
    branches = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": _section(source_class(kind, kind)),
        }
        for kind in known
        if issubclass(source_class(kind, kind), Source)
    ]
    kinds = {"anyOf": [{"enum": known}, *_choice("sources")]}
    return {"type": "object", "properties": {"kind": kinds, "root": {"type": "string"}}, "allOf": branches}


def _trainer() -> Schema:
    """Lightning's arguments: plain types where an argument takes no object."""
    words = {name: {"enum": list(values)} for name, values in OWN.items()}
    plain = {name: {"anyOf": [*_trainer_options(allowed), _RESOLVED]} for name, allowed in ARGUMENTS.items()}
    return {"type": "object", "properties": plain | words, "additionalProperties": False}


def _trainer_options(allowed: tuple[Any, ...]) -> list[Schema]:
    types = [_PLAIN[kind] for kind in allowed if kind in _PLAIN]
    types += [{"type": "number"}] if float in allowed or int in allowed else []
    types += [{"type": "array"}] if list in allowed else []
    types += [{"type": "object"}, {"type": "string"}] if "object" in allowed or dict in allowed else []
    return [*types, {"enum": [word for word in allowed if not isinstance(word, type)]}]


def _texts(cls: Any) -> Mapping[str, Schema]:
    """The description of each field: of the docstring's ``Attributes``, else the comment behind it."""
    texts: dict[str, str] = {}
    for base in reversed([each for each in cls.__mro__ if is_dataclass(each)]):
        for name, comment in re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(base), flags=re.MULTILINE):
            texts[name] = comment
        _, _, attributes = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        for name, text in re.findall(r"^    (\w+): ((?:.*\n?)(?:^     +.*\n?)*)", attributes, flags=re.MULTILINE):
            texts[name] = " ".join(text.split())
    return {name: {"description": text} for name, text in texts.items()}


def _first_paragraph(cls: type) -> str:
    return " ".join(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].split())
