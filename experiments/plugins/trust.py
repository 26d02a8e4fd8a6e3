"""What a checkpoint of others may name: nothing that would have its code run, unless a person says so (``--trust``).

A checkpoint holds its experiment, and an experiment may name classes. Covidmt's own and those of installed packages'
entry points are short names; whatever is named by its path would be imported and called with arguments of the file's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.plugins.choices import Choice, group_of, split_chain

_trusted: ContextVar[bool] = ContextVar("trusted", default=False)
# Never made of a checkpoint: they are a training's, whose experiment is a file.
_OF_A_TRAINING = ("optimizer", "scheduler", "trainer", "data.augment")


@contextmanager
def trusting(trust: bool = True) -> Generator[None]:
    """Have checkpoints name classes inside of the block."""
    token = _trusted.set(trust or _trusted.get())
    try:
        yield
    finally:
        _trusted.reset(token)


def trust_checkpoints(trust: bool) -> bool:
    """Have checkpoints name classes from now on, as the command line's ``--trust`` says."""
    _trusted.set(trust)
    return trust


def choices_of(settings: Any, key: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield every choice of some settings: its key, its group, its text.

    >>> from experiments.models.schema import Model
    >>> list(choices_of(Model(backbone="mynets.Net"), "model"))[0]
    ('model.backbone', 'backbones', 'mynets.Net')
    """
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from choices_of(value, f"{key}.{name}" if key else str(name))
    if not is_dataclass(settings):
        return
    for item in fields(settings):
        value, where = getattr(settings, item.name), f"{key}.{item.name}" if key else item.name
        group = group_of(item)
        if item.name == "kind" and isinstance(value, str) and Choice(value, {}).is_class:  # of a source
            yield where, "sources", value
        if group and isinstance(value, str):
            yield where, group, value
        elif group and isinstance(value, list):
            yield from ((f"{where}[{index}]", group, text) for index, text in enumerate(value))
        else:
            yield from choices_of(value, where)


def foreign_classes(settings: Any) -> list[str]:
    """Return the classes that settings name by their paths, as far as a checkpoint's are used.

    >>> from experiments.models.schema import Model
    >>> foreign_classes(Model(backbone="mynets.Net(width=8)")), foreign_classes(Model())
    (['mynets.Net'], [])
    """
    names = []
    for key, group, text in choices_of(settings):
        if not key.startswith(_OF_A_TRAINING):
            parts = split_chain(text) if group == "channels" else [text]
            names += [Choice.parse(part, key).name for part in parts if Choice.parse(part, key).is_class]
    return list(dict.fromkeys(names))


def require_trust(settings: Any, where: str | Path) -> None:
    """Refuse settings of a checkpoint that name classes, unless checkpoints are trusted.

    Raises:
        UserError: Naming the classes.
    """
    names = foreign_classes(settings)
    if names and not _trusted.get():
        raise UserError(
            f"{where}: names classes that are not covidmt's: {', '.join(names)}. Loading it runs their code with "
            "arguments out of the file: if you know where it comes from, add --trust (in Python: trust=True)"
        )
