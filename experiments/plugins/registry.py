"""What a name means: an entry point of an installed package, a class by its path, or a name of a library.

covidmt's own names are entry points too (``pyproject.toml``): a package that adds ``covidmt.sources`` of its own is
read as ours are.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

from experiments.errors import UserError, first_line, nearest
from experiments.plugins.choices import Choice
from experiments.plugins.imports import import_folders, import_user_module


class NameGroup(NamedTuple):
    """What a group's names are.

    Attributes:
        what: One of them, in a message.
        library: Module whose public classes are short names too.
        closed: Whether the entry points are all short names that there are.
    """

    what: str
    library: str | None = None
    closed: bool = False


GROUPS = {
    "backbones": NameGroup("network"),
    "heads": NameGroup("head", closed=True),
    "tasks": NameGroup("kind of task", closed=True),
    "losses": NameGroup("loss", closed=True),
    "optimizers": NameGroup("optimizer", "torch.optim"),
    "schedulers": NameGroup("scheduler", "torch.optim.lr_scheduler"),
    "sources": NameGroup("kind"),
    "augmentations": NameGroup("augmentation", "albumentations"),
    "channels": NameGroup("channel"),
    "segmenters": NameGroup("segmenter"),
    "engines": NameGroup("engine"),
    "loggers": NameGroup("logger", "lightning.pytorch.loggers"),
    "callbacks": NameGroup("callback", "lightning.pytorch.callbacks"),
}


@functools.cache
def points(group: str) -> Mapping[str, EntryPoint]:
    """Return a group's entry points by name; of two with one name covidmt's own.

    >>> sorted(points("tasks"))
    ['boxes', 'multiclass', 'multilabel']
    """
    found = sorted(entry_points(group=f"covidmt.{group}"), key=lambda point: _package(point) == "covidmt")
    return {point.name: point for point in found}


def find(group: str, name: str, key: str) -> Any:
    """Return what a name of a group means: a class, or a function.

    Args:
        group: One of :data:`GROUPS`.
        name: A short name or a dotted path.
        key: The setting, for messages.

    Raises:
        UserError: There is nothing of this name, or importing it fails.

    >>> find("optimizers", "SGD", "optimizer.name").__name__
    'SGD'
    >>> find("tasks", "boxs", "tasks.rsna.kind")
    Traceback (most recent call last):
    experiments.errors.UserError: tasks.rsna.kind: no kind of task 'boxs'; did you mean 'boxes'? ...
    """
    point = points(group).get(name)
    if point is not None:
        try:
            return point.load()
        except Exception as error:
            package = _package(point)
            raise UserError(
                f"{key}: {name!r}, of the package {package}, cannot be imported ({first_line(error)}); "
                f"install {package} again"
            ) from error
    if Choice(name, {}).is_class:
        return import_class(name, key)

    library = _library(GROUPS[group].library)
    if name in library:
        return library[name]
    raise UserError(
        f"{key}: no {GROUPS[group].what} {name!r}{nearest(name, [*points(group), *library])} (a class of your own is "
        "named by its path, such as mymodule.MyClass)"
    )


def make(found: Any, choice: Choice, key: str, *given: Any, **keywords: Any) -> Any:
    """Return ``found(*given, **keywords, **init_args)``.

    Args:
        found: What :func:`find` found.
        choice: Its name and ``init_args``; a mapping with ``class_path`` among them becomes an object.
        key: The setting, for messages.
        given: What covidmt passes.
        keywords: The same by name.

    Raises:
        UserError: It takes no such arguments, or refuses them.

    >>> import datetime
    >>> make(datetime.timedelta, Choice("datetime.timedelta", {"hours": 8}), "trainer.example")
    datetime.timedelta(seconds=28800)
    """
    require_arguments(found, choice, key)
    arguments = {name: instantiate(value, f"{key}.{name}") for name, value in choice.arguments.items()}
    try:
        return found(*given, **keywords, **arguments)
    except UserError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}" if not isinstance(error, TypeError | ValueError) else str(error)
        raise UserError(f"{key}: {choice} refuses its arguments, or fails{place_of(error)}: {said}") from error


def choose(group: str, text: str, key: str, **offered: Any) -> Any:
    """Return the object that a text chooses.

    Args:
        group: One of :data:`GROUPS`.
        text: The choice.
        key: The setting, for messages.
        offered: What covidmt knows, by name: whatever the class or function has an argument for is passed, unless
            ``init_args`` has it.

    Raises:
        UserError: As :func:`find` and :func:`make`.

    >>> choose("heads", "transition", "model.head", channels=8, labels=3, transition_channels=4, map_size=7)[-1]
    Linear(in_features=4, out_features=3, bias=True)
    """
    choice = Choice.parse(text, key)
    found = find(group, choice.name, key)
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):
        parameters = {}
    wanted = {name: value for name, value in offered.items() if name in parameters and name not in choice.arguments}
    return make(found, choice, key, **wanted)


def choose_function(group: str, text: str, key: str) -> Callable[..., Any]:
    """Return the callable that a text chooses: an object of the class, or the function with its ``init_args``.

    >>> choose_function("losses", "math.isclose(abs_tol=1)", "tasks.covidx.loss")(3, 4)
    True
    """
    choice = Choice.parse(text, key)
    found = find(group, choice.name, key)
    if inspect.isclass(found):
        found = make(found, choice, key)
        if not callable(found):
            raise UserError(f"{key}: {choice} cannot be called; its class needs a method __call__")
        return found
    require_arguments(found, choice, key)
    arguments = {name: instantiate(value, f"{key}.{name}") for name, value in choice.arguments.items()}
    return functools.partial(found, **arguments) if arguments else found


def check_choice(group: str, text: str, key: str) -> None:
    """Refuse a class that cannot be imported or does not take its arguments, before anything is made.

    Short names that a library has are left to whoever makes what they name.

    Raises:
        UserError: As :func:`find`.
    """
    choice = Choice.parse(text, key)
    if choice.is_class or (GROUPS[group].closed and choice.name not in points(group)):
        require_arguments(find(group, choice.name, key), choice, key)


def require_arguments(found: Any, choice: Choice, key: str) -> None:
    """Refuse ``init_args`` that a class or function does not take.

    Raises:
        UserError: Naming the first one, and the nearest that there is.
    """
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):  # of C, such as datetime's
        return
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return
    for name in choice.arguments:
        if name not in parameters:
            raise UserError(f"{key}: {choice.name} has no argument {name!r}{nearest(name, parameters)}")


def instantiate(value: Any, key: str, group: str = "callbacks") -> Any:
    """Return a value with objects in place of ``class_path`` / ``init_args``, at any depth.

    >>> instantiate([{"class_path": "datetime.timedelta", "init_args": {"hours": 8}}, "text"], "trainer.example")
    [datetime.timedelta(seconds=28800), 'text']
    """
    if isinstance(value, list):
        return [instantiate(item, f"{key}[{index}]", group) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if "class_path" not in value:
        return {name: instantiate(item, f"{key}.{name}", group) for name, item in value.items()}
    choice = Choice.read(value, key)
    return make(find(group, choice.name, f"{key}.class_path"), choice, f"{key}.init_args")


def import_class(path: str, key: str) -> Any:
    """Return the class or function of a dotted path.

    Raises:
        UserError: Its module is not there, cannot be imported, or has nothing of that name; says what to do.

    >>> import_class("collections.OrderedDic", "model.backbone")
    Traceback (most recent call last):
    experiments.errors.UserError: model.backbone: 'collections.OrderedDic' cannot be imported: collections ...
    """
    module, _, name = path.rpartition(".")
    begin = f"{key}: {path!r} cannot be imported:"
    try:
        found = import_user_module(module)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if module == missing or module.startswith(f"{missing}."):
            package = missing.rpartition(".")[0]
            if package:
                raise UserError(f"{begin} {package} has no module {missing!r}; see how it is spelt") from error
            places = ", ".join(map(str, import_folders())) or str(Path.cwd())
            raise UserError(
                f"{begin} there is no module {missing!r}; put {missing}.py into {places}, or install its package"
            ) from error
        raise UserError(f"{begin} it imports {missing!r}, which is not installed{place_of(error)}") from error
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{begin} {type(error).__name__}: {first_line(error)}{place_of(error)}; correct the file"
        ) from error

    if not hasattr(found, name):
        names = [each for each, value in vars(found).items() if callable(value) and not each.startswith("_")]
        file = getattr(found, "__file__", None)
        raise UserError(f"{begin} {module}{f' ({file})' if file else ''} has no {name!r}{nearest(name, names)}")
    if not callable(getattr(found, name)):
        raise UserError(f"{begin} it is a {type(getattr(found, name)).__name__}, and no class or function")
    return getattr(found, name)


@functools.cache
def _library(module: str | None) -> dict[str, Any]:
    """Return the public classes of a library's module, by name."""
    if module is None:
        return {}
    content = vars(importlib.import_module(module))
    return {name: value for name, value in content.items() if inspect.isclass(value) and not name.startswith("_")}


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value.partition(".")[0]


def place_of(error: BaseException) -> str:
    """Return where in the user's modules an error was raised; nothing if not there."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    folders = tuple(f"{folder}/" for folder in import_folders())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folders)]
    frames = [frame for frame in frames if "site-packages" not in frame.filename]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames and folders else ""
