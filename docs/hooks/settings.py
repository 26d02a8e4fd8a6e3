"""The page of the settings: every field of the schemas with its type, default, bounds and what is said of it.

What is said of a field stands in the class's docstring (``Attributes:``), in a comment behind the field, or in comment
lines above it.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from typing import Any, get_type_hints

from omegaconf import MISSING

from experiments.lungs_schema import LungsExperiment
from experiments.pretraining.schema import PretrainExperiment
from experiments.schema import Experiment
from experiments.source_schema import Source, source_class, source_kinds
from experiments.sweep_schema import Sweep

ROOTS: dict[str, type] = {
    "An experiment": Experiment,
    "A sweep": Sweep,
    "A lung segmentation": LungsExperiment,
    "A pretraining": PretrainExperiment,
}


def own_sources() -> dict[str, type[Source]]:
    """Return the kinds of data sets that come with the project, without those of other installed packages.

    >>> own_sources()["nih"].__name__
    'NihSource'
    """
    classes = {kind: source_class(kind, "kind") for kind in source_kinds()}
    return {kind: cls for kind, cls in classes.items() if cls.__module__ == Source.__module__}


def comments(cls: type) -> dict[str, str]:
    """Return what comments say of a class's own fields, those behind a field and the lines above it."""
    source = inspect.getsource(cls)
    lines = source.splitlines()
    said = {}
    for node in ast.parse(source).body[0].body:  # ty: ignore[unresolved-attribute]
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = []
        for line in reversed(lines[: node.lineno - 1]):
            if not line.strip().startswith("#"):
                break
            above.insert(0, line.strip(" #"))
        behind = (lines[(node.end_lineno or 1) - 1][node.end_col_offset :]).strip(" #")
        said[node.target.id] = " ".join([*above, behind]).strip()
    return said


def attributes(cls: type) -> dict[str, str]:
    """Return what the section ``Attributes`` of a class's docstring says of each.

    >>> from experiments.pairs.schema import Pairs
    >>> attributes(Pairs)["draws"]
    'PI over so many draws of a random channel, with its spread; OLS is measured on the first.'
    """
    section = re.search(r"^Attributes:\n((?:[ ]{4}.*\n?|\n)+)", inspect.getdoc(cls) or "", flags=re.MULTILINE)
    text = inspect.cleandoc("\n" + section[1]) if section else ""
    entries = re.findall(r"^(\w+): (.*(?:\n(?![\w]+: |\S).*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}


def _default(field: Field[Any]) -> Any:
    if field.default is not NO_DEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not NO_DEFAULT else MISSING


def _written(value: Any) -> str:
    """Return a default as a YAML file has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return value.name
    return re.sub(r"'", "", str(value))


def _choices(kind: type[Enum]) -> str:
    """Return an enumeration's values, each with its comment."""
    source = inspect.getsource(kind)
    said = dict(re.findall(r"^\s+(\w+) = [^#\n]+?(?:\s+# (.*))?$", source, flags=re.MULTILINE))
    return "; ".join(f"`{item.name}`" + (f": {said[item.name]}" if said.get(item.name) else "") for item in kind)


def _classes(hint: Any) -> Iterator[type]:
    """Yield the classes that a type is made of."""
    if isinstance(hint, type):
        yield hint
    for part in getattr(hint, "__args__", ()):
        yield from _classes(part)


def _shown(text: str) -> str:
    """Return text as a cell of a table."""
    text = re.sub(r"``?([^`]+)``?", r"`\1`", text)
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("|", "\\|")


def rows(cls: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield key, default and description of every setting of a class, and of the classes in it.

    >>> from experiments.schema import Checkpoint
    >>> [key for key, default, text in rows(Checkpoint, "checkpoint.")]
    ['checkpoint.every_minutes', 'checkpoint.every_n_steps', 'checkpoint.keep']
    """
    said = {
        name: text
        for base in reversed(cls.__mro__[:-1])
        for name, text in (comments(base) | attributes(base)).items()
        if text
    }
    hints = get_type_hints(cls)
    for field in fields(cls):
        key, text = prefix + field.name, said.get(field.name, "")
        nested = [kind for kind in _classes(hints[field.name]) if is_dataclass(kind)]
        if nested and field.name != "sources":
            many = "dict" in str(hints[field.name]).lower()
            if text or not many:
                yield key, "", text or (inspect.getdoc(nested[0]) or "").splitlines()[0]
            yield from rows(nested[0], f"{key}.<name>." if many else f"{key}.")
            continue

        # bounds and choices
        bounds = field.metadata.get("bounds")
        if bounds:
            text = ". ".join(part for part in (text.rstrip("."), f"Must {bounds}") if part)
        for kind in _classes(hints[field.name]):
            if issubclass(kind, Enum):
                text = f"{text.rstrip('.')}. {_choices(kind)}" if text else _choices(kind)
        default = _default(field)
        yield key, "required" if default == MISSING else f"`{_written(default)}`", text


def settings_page() -> str:
    """Return the page, in Markdown."""
    lines = [
        "# Settings",
        "",
        "Every key of the YAML files, made from the schema. On the command line a setting is `key.path=value`:",
        "`data.image_size=224`, `model.backbone=resnet18`. `<name>` is a name of your own: of a source or a task.",
        "",
    ]
    for title, cls in ROOTS.items():
        lines += [f"## {title}", "", (inspect.getdoc(cls) or "").splitlines()[0].rstrip("."), ""]
        lines[-2] = _shown(lines[-2]) + "."
        lines += _table(rows(cls))
    lines += ["## A data set", "", "`data.sources.<name>`, by its `kind`.", ""]
    for kind, cls in own_sources().items():
        lines += [f"### kind: {kind}", "", _shown(" ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())), ""]
        lines += _table(row for row in rows(cls) if row[0] != "kind")
    return "\n".join(lines)


def _table(entries: Iterator[tuple[str, str, str]]) -> list[str]:
    body = [f"| `{key}` | {_shown(default)} | {_shown(text)} |" for key, default, text in entries]
    return ["| key | default | meaning |", "| --- | --- | --- |", *body, ""]
