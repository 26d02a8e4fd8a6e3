"""The copies of pictures and artifacts that wait to be sent, readable also when their names are gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from experiments.files import replace_file
from experiments.paths import require_inside

MOST_HELD = 200  # descriptors of files that wait to be sent


class SpoolFiles:
    """``files/`` of a spool: each copy in a folder of its own, held by a descriptor, which outlives its name.

    Args:
        folder: Where they are; made when it is first needed. It may change while they are held.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     files = SpoolFiles(Path(folder) / "files")
        ...     name = files.add("note.txt", lambda path: path.write_text("hello"))
        ...     shutil.rmtree(files.folder)
        ...     print(files.restore(name), files.path(name).read_text())
        ...     files.release()
        True hello
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptors: dict[str, int] = {}  # of plain files, also of those in folders

    def path(self, name: str) -> Path:
        """Return where a copy is.

        Raises:
            UserError: The name, which may come from a file, leads out of the folder.
        """
        return require_inside(name, self.folder, f"{self.folder.parent}: an artifact's file")

    def add(self, name: str, write: Callable[[Path], object]) -> str:
        """Make a file or folder, and hold it at once; return its name here.

        Args:
            name: Its name among the artifacts.
            write: Makes it at the path that it is given.

        Raises:
            OSError: The disk is full, or this folder has vanished meanwhile; nothing is left then.
        """
        relative = f"{uuid4().hex}/{name}"
        path = self.folder / relative
        try:
            path.parent.mkdir(parents=True)
            write(path)
            for file in [path, *path.rglob("*")]:
                if not file.is_dir():
                    self._hold(file)
            path.stat()
        except BaseException:
            self.remove(relative)
            raise
        return relative

    def restore(self, name: str) -> bool:
        """Write what has vanished of a file or folder, as far as it is held; return whether it is there now."""
        for held in self._names_of(name):
            path = self.folder / held
            if not path.exists():
                with suppress(OSError), open(self._descriptors[held], "rb", closefd=False) as file:
                    file.seek(0)
                    with replace_file(path) as new, new.open("wb") as target:
                        shutil.copyfileobj(file, target)
        return (self.folder / name).exists()

    def restore_all(self) -> None:
        """Write everything that has vanished and is held."""
        for name in {"/".join(held.split("/")[:2]) for held in self._descriptors}:
            self.restore(name)

    def remove(self, name: str) -> None:
        """Remove a file or folder: it has been sent."""
        for held in self._names_of(name):
            os.close(self._descriptors.pop(held))
        path = self.path(name)
        shutil.rmtree(self.folder / path.relative_to(self.folder).parts[0], ignore_errors=True)

    def release(self) -> None:
        """Hold nothing."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _hold(self, file: Path) -> None:
        descriptor = os.open(file, os.O_RDONLY)
        if len(self._descriptors) < MOST_HELD:
            self._descriptors[file.relative_to(self.folder).as_posix()] = descriptor
        else:
            os.close(descriptor)

    def _names_of(self, name: str) -> list[str]:
        return [held for held in self._descriptors if held == name or held.startswith(f"{name}/")]
