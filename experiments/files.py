"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


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
    new = path.with_name(f".{path.name}.{uuid4().hex if shared else 'new'}")
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
