"""Where the user's modules are imported from: the working folder, and the folder of the experiment's YAML.

Both come last on Python's path: whatever stands in them hides no installed package.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

_folders: dict[Path, None] = {}  # in the order in which they were added
_chosen: set[str] = set()  # top-level names of modules that settings have named, and of what they imported


def make_importable(*folders: str | Path) -> None:
    """Have Python look for modules in these folders too, after all others.

    >>> make_importable(".")
    >>> Path.cwd() in import_folders()
    True
    """
    for folder in folders:
        path = Path(folder).absolute()
        _folders[path] = None
        if str(path) not in sys.path:
            sys.path.append(str(path))


def import_folders() -> list[Path]:
    """Return the folders that were made importable."""
    return list(_folders)


def import_user_module(name: str) -> ModuleType:
    """Import the module of a class that a setting names; remember it, and what of the user's own it imports."""
    before = set(sys.modules)
    module = importlib.import_module(name)
    _chosen.update({name.partition(".")[0], *(new.partition(".")[0] for new in sys.modules.keys() - before)})
    return module


def user_files() -> dict[Path, str]:
    """Return the files of the user's modules that settings have named, with those that they import.

    Returns:
        Each file, and its path relative to the folder that it was imported from. Of a package all files are named, so
        that modules that it imports later are among them.
    """
    files: dict[Path, str] = {}
    for name in sorted(_chosen):
        origin = getattr(sys.modules.get(name), "__file__", None)
        for folder in _folders:
            if origin and Path(origin) == folder / f"{name}.py":
                files[Path(origin)] = f"{name}.py"
            elif (folder / name).is_dir() and (origin is None or Path(origin).parent == folder / name):
                inside = (path for path in (folder / name).rglob("*") if path.is_file())
                code = (path for path in inside if "__pycache__" not in path.parts)
                files |= {path: path.relative_to(folder).as_posix() for path in code}
    return files
