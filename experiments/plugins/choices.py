"""What a setting chooses: a short name, or a class of the user's own with its arguments.

In a YAML a class is ``{class_path: mynets.Net, init_args: {width: 8}}``, or in one line ``mynets.Net(width=8)``, or
without arguments ``mynets.Net``. All three become the one line where settings are loaded, so that a choice is a text
everywhere: in a run's parameters, in a report, in a sweep's table.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from experiments.errors import UserError
from experiments.keys import Values

CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_CALL = re.compile(r"([A-Za-z_][\w.]*)\((.*)\)", re.DOTALL)
_STEP = re.compile(r"\+(?![^(]*\))")  # between two of a chain, not inside of arguments
_FILES = (".ckpt", ".json", ".pt", ".pth", ".safetensors", ".yaml", ".yml")  # endings of files, which no class has
_GROUP = "choice"  # key of a field's metadata: the group of entry points with its short names


def chosen(default: Any, group: str, **metadata: Any) -> Any:
    """Return a dataclass field of this default whose text chooses something, or whose texts do.

    Args:
        default: A short name, None, or a list type's empty list.
        group: The group of its short names, without ``covidmt.``, such as ``backbones``.
        metadata: More of it.
    """
    metadata = {_GROUP: group} | metadata
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def group_of(item: Any) -> str | None:
    """Return the group of a dataclass field that chooses something; None: it does not."""
    return item.metadata.get(_GROUP)


def split_chain(text: str) -> list[str]:
    """Return the choices of a chain, such as a channel's steps.

    >>> split_chain("whatsapp + mychannels.Viber(quality=50)")
    ['whatsapp', 'mychannels.Viber(quality=50)']
    """
    return [step.strip() for step in _STEP.split(text)]


@dataclass(frozen=True)
class Choice:
    """A name, and the arguments of what it names.

    Attributes:
        name: A short name or the dotted path of a class or function.
        arguments: Plain values by name.

    >>> Choice.parse("mynets.Net(width=8)")
    Choice(name='mynets.Net', arguments={'width': 8})
    >>> str(Choice("mynets.Net", {"widths": [8, 16]})), Choice.parse("resnet50").is_class
    ('mynets.Net(widths=[8, 16])', False)
    """

    name: str
    arguments: Mapping[str, Any]

    @property
    def is_class(self) -> bool:
        """Whether the name is the dotted path of a class or function."""
        return CLASS_PATH.fullmatch(self.name) is not None and not self.name.endswith(_FILES)

    def __str__(self) -> str:
        """As one line, which :meth:`parse` reads."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.name}({arguments})" if arguments else self.name

    @classmethod
    def parse(cls, text: str, key: str = "choice") -> Choice:
        """Read one line.

        Args:
            text: ``name`` or ``name(argument=value, ...)``.
            key: The setting, for the message.

        Raises:
            UserError: The arguments are no plain values.
        """
        call = _CALL.fullmatch(text.strip())
        if call is None:
            return cls(text.strip(), {})
        try:
            node = ast.parse(f"f({call[2]})", mode="eval").body
            assert isinstance(node, ast.Call)
            if node.args or any(keyword.arg is None for keyword in node.keywords):
                raise ValueError("each needs its name")
            return cls(call[1], {str(item.arg): ast.literal_eval(item.value) for item in node.keywords})
        except (SyntaxError, ValueError, AssertionError, RecursionError, MemoryError) as error:
            raise UserError(
                f"{key}: the arguments of {text!r} cannot be read ({error}); write {call[1]}(name=value, ...) with "
                f"plain values, or {{class_path: {call[1]}, init_args: {{...}}}}"
            ) from error

    @classmethod
    def read(cls, value: Mapping, key: str, before: str = "") -> Choice:
        """Read ``class_path`` and ``init_args``.

        Args:
            value: The mapping.
            key: The setting, for messages.
            before: What was chosen before: ``init_args`` alone are added to its arguments.

        Raises:
            UserError: Other keys, or no class.
        """
        other = sorted(value.keys() - {"class_path", "init_args"})
        if other:
            raise UserError(f"{key}: takes a name, or class_path and init_args; not {other[0]!r}")
        arguments = value.get("init_args") or {}
        if not isinstance(arguments, Mapping):
            raise UserError(f"{key}.init_args: takes a mapping of names to values, not {arguments!r}")
        if "class_path" in value:
            path = value["class_path"]
            if not isinstance(path, str) or not path:
                raise UserError(f"{key}.class_path: takes the dotted path of a class, not {path!r}")
            return cls(path, dict(arguments))
        if not before:
            raise UserError(f"{key}: has init_args and no class_path")
        old = cls.parse(before, key)
        return cls(old.name, {**old.arguments, **arguments})


def write_choices(schema: Any, values: Values, before: Values, key: str = "") -> Values:
    """Return a layer's values with one line in the place of each ``class_path`` with its ``init_args``.

    Args:
        schema: The dataclass that the values obey.
        values: Nested, as in a YAML.
        before: The settings that they are merged into, for ``init_args`` that are given alone.
        key: The section, for messages.

    >>> from experiments.models.schema import Model
    >>> write_choices(Model, {"backbone": {"class_path": "mynets.Net", "init_args": {"width": 8}}}, {})
    {'backbone': 'mynets.Net(width=8)'}
    >>> write_choices(Model, {"backbone": {"init_args": {"depth": 2}}}, {"backbone": "mynets.Net(width=8)"})
    {'backbone': 'mynets.Net(width=8, depth=2)'}
    """
    schema = without_none(schema)
    if get_origin(schema) is dict:
        kind = get_args(schema)[1]
        return {
            name: _write_section(kind, value, before.get(name), f"{key}.{name}" if key else str(name))
            for name, value in values.items()
        }
    if not is_dataclass(schema):
        return values

    # a section whose name is chosen may be the choice itself
    groups = {item.name: group_of(item) for item in fields(schema)}
    if groups.get("name") and ("class_path" in values or "init_args" in values):
        choice = {name: value for name, value in values.items() if name in ("class_path", "init_args")}
        values = {name: value for name, value in values.items() if name not in choice} | {"name": choice}

    hints, written = get_type_hints(schema), {}
    for name, value in values.items():
        where, old = f"{key}.{name}" if key else str(name), before.get(name)
        if groups.get(name) and isinstance(value, Mapping):
            value = str(Choice.read(value, where, old if isinstance(old, str) else ""))
        elif groups.get(name) and isinstance(value, list):
            value = [str(Choice.read(item, where)) if isinstance(item, Mapping) else item for item in value]
        elif name in hints:
            value = _write_section(hints[name], value, old, where)
        written[name] = value
    return written


def _write_section(schema: Any, value: Any, before: Any, key: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    return write_choices(schema, dict(value), before if isinstance(before, dict) else {}, key)


def without_none(schema: Any) -> Any:
    """Return the type of an optional setting without its None."""
    kinds = [kind for kind in get_args(schema) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and type(None) in get_args(schema) else schema
