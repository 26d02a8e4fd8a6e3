"""The layout of ``mlruns/``, the folder for everything that covidmt writes, below the folder that it is started in.

- ``mlflow.db``, ``artifacts/<experiment>/``: the project's own tracking store (`covidmt.tracking.store`).
- ``checkpoints/<run id>/``: ``last.ckpt`` to resume from, ``best.ckpt``, and until the run's end ``unfinished``.
- ``spool/<run id>/``: what a run has logged and the store has not confirmed (`covidmt.tracking.spool`).
- ``sweeps/<sweep>/``: what was submitted, what its jobs say (`covidmt.sweeps.folder`).
- ``masks/<segmenter>/``: computed lung masks (`datamodules.images.mask_files`).
- ``missing/<source>.txt``: the listed images that ``data check`` did not find.
- ``evaluations/``, ``cross_validation/``: results; ``optuna.db``: searches.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from experiments.files import is_there, replace_file
from experiments.paths import require_name

UNTRACKED = "untracked-"  # how the ids of runs begin that MLflow does not know (``tracking.enabled: false``)
LEFT_AFTER = 3600.0  # seconds after which a file that is being written would have been written to


def mlruns_dir() -> Path:
    """Return the folder ``mlruns`` in the working folder, absolute."""
    return Path.cwd() / "mlruns"


def spools_dir() -> Path:
    """Return the folder of all runs' spools."""
    return mlruns_dir() / "spool"


def remove_leftovers(root: Path) -> None:
    """Remove what killed processes have left half made: nothing else ever looks at it.

    Args:
        root: The ``mlruns`` folder.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     (Path(folder) / "spool" / ".4f0c.0f1e").mkdir(parents=True)
        ...     remove_leftovers(Path(folder))
        ...     sorted(path.name for path in Path(folder).rglob("*"))
        ['spool']
    """
    for path in find_leftovers(root):
        remove_path(path)


def find_leftovers(root: Path) -> Iterator[Path]:
    """Yield what killed processes have left half made.

    Args:
        root: The ``mlruns`` folder.
    """
    yield from (root / "spool").glob(".[!n]*")  # all of it has been sent
    database = root / "mlflow.db.lock"
    if not database.exists() or _is_free(database):
        yield from root.glob(".building-*")
    half_written = [root.glob(f"{folder}/*/.*") for folder in ("checkpoints", "masks", "sweeps", "models")]
    for path in chain(root.glob("spool/.new-*"), *half_written):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFT_AFTER:
                yield path


def _is_free(path: Path) -> bool:
    """Return whether no live process has locked the file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def remove_path(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; what is not there is removed already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class RunFolder:
    """The files that a run keeps on this machine.

    Args:
        run_id: MLflow's id of the run.
        root: The ``mlruns`` folder; None: that of the working folder.

    Attributes:
        spool: Folder of the events that the store has not confirmed; it exists while there are any.
        checkpoints: Folder of its checkpoints.
        last: The checkpoint to resume from.
        best: The checkpoint of the best epoch.

    Raises:
        UserError: The id, which may come from a server or a file, is no name of a folder.

    Example:
        >>> from covidmt.tracking.folders import RunFolder, mlruns_dir
        >>> run = RunFolder("4f0c")
        >>> run.last.relative_to(mlruns_dir()).as_posix()
        'checkpoints/4f0c/last.ckpt'
        >>> run.spool.relative_to(mlruns_dir()).as_posix()
        'spool/4f0c'
    """

    def __init__(self, run_id: str, root: Path | None = None) -> None:
        root = root or mlruns_dir()
        self.run_id = require_name(run_id, "run")
        self.spool = root / "spool" / run_id
        self.checkpoints = root / "checkpoints" / run_id
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self._mark = self.checkpoints / "unfinished"

    @classmethod
    def unfinished(cls, fingerprint: str) -> list[RunFolder]:
        """Return the runs of just these settings that have not finished, the newest first.

        Args:
            fingerprint: As given to `begin`.

        Raises:
            OSError: One cannot be looked at, as on a network disk that fails for a moment.
        """
        root, marks = mlruns_dir() / "checkpoints", []
        for name in os.listdir(root) if is_there(root) else []:  # no glob: that passes over what it cannot read
            mark = root / name / "unfinished"
            with suppress(FileNotFoundError, NotADirectoryError):  # a run that has finished, perhaps meanwhile
                if mark.read_text() == fingerprint:
                    marks.append((mark.stat().st_mtime, mark.parent.name))
        return [cls(run_id) for _, run_id in sorted(marks, reverse=True)]

    def is_unfinished(self, fingerprint: str) -> bool:
        """Return whether the run has just these settings and has not finished."""
        try:
            return self._mark.read_text() == fingerprint
        except FileNotFoundError:
            return False

    @property
    def is_finished(self) -> bool:
        """Whether it has ended well: it has its best checkpoint, and no command resumes it by itself."""
        return self.best.exists() and not self.is_open

    @property
    def is_open(self) -> bool:
        """Whether it was begun here and has not ended well: it trains still, or was broken off."""
        return self._mark.exists()

    def begin(self, fingerprint: str) -> None:
        """Mark the run as unfinished: from now on a command with the same settings resumes it.

        Args:
            fingerprint: Hash of the settings.
        """
        with replace_file(self._mark) as new:
            new.write_text(fingerprint)

    def finish(self) -> None:
        """Remove the mark: a command with the same settings starts a new run."""
        self._mark.unlink(missing_ok=True)
