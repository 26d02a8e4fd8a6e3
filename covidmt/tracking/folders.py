"""The layout of ``mlruns/``, the folder for everything that covidmt writes, below the folder that it is started in.

- ``mlflow.db``, ``artifacts/<experiment>/``: the project's own tracking store (`covidmt.tracking.store`).
- ``checkpoints/<run id>/``: ``last.ckpt`` to resume from, ``best.ckpt``, and until the run's end ``unfinished``.
- ``spool/<run id>/``: what a run has logged and the store has not confirmed (`covidmt.tracking.spool`).
- ``sweeps/<sweep>/``: what was submitted, what its jobs say (`covidmt.sweeps.folder`).
- ``evaluations/``, ``cross_validation/``: results; ``optuna.db``: searches.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from experiments.files import replace_file


def mlruns_dir() -> Path:
    """Return the folder ``mlruns`` in the working folder, absolute."""
    return Path.cwd() / "mlruns"


def spools_dir() -> Path:
    """Return the folder of all runs' spools."""
    return mlruns_dir() / "spool"


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
        self.run_id = run_id
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
        """
        marks = []
        for mark in (mlruns_dir() / "checkpoints").glob("*/unfinished"):
            with suppress(FileNotFoundError):  # a run that finishes meanwhile
                if mark.read_text() == fingerprint:
                    marks.append((mark.stat().st_mtime, mark.parent.name))
        return [cls(run_id) for _, run_id in sorted(marks, reverse=True)]

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
