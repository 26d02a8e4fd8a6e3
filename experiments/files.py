"""Files that are written whole or not at all, and archives that are no larger than they look."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


def require_stored_archive(path: Path) -> None:
    """Refuse what is no archive as ``torch.save`` writes it, or one that unpacks to more than it is itself.

    Raises:
        ValueError: Saying why.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "best.ckpt"
        ...     with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        ...         archive.writestr("data/0", bytes(2**20))
        ...     require_stored_archive(path)
        Traceback (most recent call last):
        ValueError: it is compressed, as no checkpoint is
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed, as no checkpoint is")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("its parts are larger than the file")


def is_there(path: Path) -> bool:
    """Return whether there is a file or folder, where the disk can tell.

    `Path.exists` takes a network disk that fails for a moment for an answer: what is there would be begun anew.

    Raises:
        OSError: It cannot be told.

    Example:
        >>> from pathlib import Path
        >>> is_there(Path("/")), is_there(Path("/nowhere/at/all"))
        (True, False)
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def drop_terminals(descriptors: Iterable[int]) -> None:
    """Have what is printed to a terminal that has been closed go nowhere, instead of raising an error.

    Args:
        descriptors: Open descriptors of this process, such as 1 and 2 where they are a terminal.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def terminals() -> list[int]:
    """Return which of the standard descriptors are a terminal."""
    return [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]


@contextmanager
def replace_file(path: Path, *, shared: bool = False, private: bool = False, sync: bool = False) -> Generator[Path]:
    """Give a file beside ``path`` to write; at the end of the block it takes the place of ``path``.

    A reader meets the old file or the new one, never a part. If the block raises, the old one stays. The folder is made
    where it does not exist.

    Args:
        path: The file to replace or make.
        shared: Several processes or threads may write this file at once: each gets a name of its own. Otherwise the
            name is always the same, so that a process that is killed leaves one such file at most.
        private: Only its owner may read the file.
        sync: The content is on the disk before the file takes its place, also if the power fails.

    Yields:
        The file beside, which does not exist yet or is empty.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from experiments.files import replace_file
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "scores.txt"
        ...     with replace_file(path) as new:
        ...         written = new.write_text("PI 3.5 %")
        ...     print(path.read_text(), [file.name for file in path.parent.iterdir()])
        PI 3.5 % ['scores.txt']
    """
    # a name of 255 bytes, the most that a file system takes, leaves no room for more
    start = os.fsencode(path.name)[:200].decode(errors="ignore")
    new = path.with_name(f".{start}.{uuid4().hex if shared else 'new'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        new.unlink(missing_ok=True)  # of a process that was killed
        if private:
            new.touch(0o600)
        yield new
        if sync:
            descriptor = os.open(new, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
