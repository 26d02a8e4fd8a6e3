"""Sources of a layer: each gets the settings of its kind, a class of the user's own its options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from experiments.errors import UserError, nearest
from experiments.keys import Values
from experiments.loading.sections import check_sections
from experiments.plugins.choices import Choice
from experiments.source_schema import ForeignSource, source_class, source_kinds

T = TypeVar("T")
_KIND = re.compile(r"data\.sources\.[^.=]+\.(kind|class_path)=")


def kinds_first(overrides: Sequence[T]) -> list[T]:
    """Return overrides with the kinds of sources before what stands beside them: a kind begins its source anew.

    Args:
        overrides: Those of a command line, and layers of values, before and after which they stay.

    >>> kinds_first(["seed=1", "data.sources.mine.table=a.csv", "data.sources.mine.kind=csv"])
    ['data.sources.mine.kind=csv', 'seed=1', 'data.sources.mine.table=a.csv']
    """
    ordered: list[T] = []
    for written, group in groupby(overrides, lambda override: isinstance(override, str)):
        each = list(group)
        ordered += sorted(each, key=lambda text: not _KIND.match(str(text))) if written else each
    return ordered


def choose_sources(config: DictConfig, values: Values, where: str) -> None:
    """Give every source the settings of its kind, before the layer's values are merged into them.

    Another kind begins a source anew; its root, which each kind has, stays.

    Args:
        config: What the layer will be merged into.
        values: The layer's; the settings of its sources are written as their kinds have them.
        where: The layer's name.

    Raises:
        UserError: No kind, or none of this name.
    """
    data = values.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    if not isinstance(sources, dict) or "sources" not in config.data:
        return
    for name, source in sources.items():
        key = f"{where}: data.sources.{name}"
        source = sources[name] = _source_settings(source, key)
        kind = source.get("kind") if isinstance(source, dict) else None
        if kind is not None:
            _set_kind(config.data.sources, str(name), kind, key)
        elif name not in config.data.sources:
            raise UserError(f"{key} has no 'kind'{nearest('', source_kinds())}")

        # what stands beside the kind of a class of the user's own
        schema = OmegaConf.get_type(config.data.sources[name])
        if schema is ForeignSource and isinstance(source, dict):
            options = {item: source.pop(item) for item in list(source) if item not in ("kind", "root", "options")}
            source["options"] = {**source.get("options", {}), **options}
        check_sections(schema, source, where, f"data.sources.{name}")


def _set_kind(sources: DictConfig, name: str, kind: Any, key: str) -> None:
    schema = source_class(kind, f"{key}.kind")
    old = sources.get(name)
    if old is not None and old.kind == kind:
        return
    before = None if old is None else OmegaConf.to_container(old, resolve=False)
    sources[name] = OmegaConf.structured(schema)
    if isinstance(before, dict):
        sources[name].root = before["root"]


def _source_settings(source: Any, key: str) -> Any:
    """Return a source's settings with ``kind`` in place of ``class_path``, and what ``init_args`` has beside it."""
    if not isinstance(source, dict):
        return source
    if isinstance(source.get("kind"), dict):
        source = {name: value for name, value in source.items() if name != "kind"} | source["kind"]
    if "class_path" not in source:
        return source
    beside = {name: value for name, value in source.items() if name not in ("class_path", "init_args")}
    choice = Choice.read({name: value for name, value in source.items() if name not in beside}, key)
    return {"kind": choice.name, **beside, **choice.arguments}
