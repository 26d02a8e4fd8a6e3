"""The logger of a training without MLflow (``tracking.enabled: false``): it has a run's name, and keeps nothing."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from typing_extensions import override

from covidmt.tracking.delivery import Event
from covidmt.tracking.folders import UNTRACKED, RunFolder, mlruns_dir
from covidmt.tracking.logger import RUN_ID, MlflowSpoolLogger, global_rank
from covidmt.tracking.models.logged import ModelEntry
from covidmt.tracking.spool.place import SpoolLock
from experiments.schema import Tracking


class UntrackedLogger(Logger):
    """Stands where :class:`.MlflowSpoolLogger` stands, and logs nothing.

    A run of its own is there all the same, for its checkpoints (``mlruns/checkpoints/<run id>/``) and for resuming.

    Args:
        run_id: A run that is resumed; None: a new one.
        lock: The run's lock, where it is held already.

    Attributes:
        run_id: ``untracked-<time>-<digits>``.
        store: None: there is none.
        datasets: Nothing.
        stays_open: As of :class:`.MlflowSpoolLogger`; of no account here.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from contextlib import chdir
        >>> with TemporaryDirectory() as folder, chdir(folder):
        ...     logger = UntrackedLogger()
        ...     logger.log_metrics({"val/loss": 0.5}, step=1)
        ...     logger.close()
        ...     logger.run_id.startswith("untracked-")
        True
    """

    def __init__(self, run_id: str | None = None, lock: SpoolLock | None = None) -> None:
        super().__init__()
        self.run_id = run_id or os.environ.get(RUN_ID)
        self.store = None
        self.stays_open = False
        self.datasets: list[Event] = []
        if global_rank() == 0:
            self.run_id = run_id or f"{UNTRACKED}{datetime.now():%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
            os.environ[RUN_ID] = self.run_id  # for the processes that Lightning starts
        self._lock = lock
        if self._lock is None and global_rank() == 0:
            self._lock = SpoolLock.take(RunFolder(str(self.run_id)).spool)

    @property
    def name(self) -> str:
        """What Lightning calls a folder by."""
        return "untracked"

    @property
    def version(self) -> str | None:
        """The run's id."""
        return self.run_id

    @property
    def save_dir(self) -> str:
        """Where Lightning puts checkpoints that were given no folder."""
        return str(mlruns_dir())

    @override
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None: ...

    @override
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def log_text_file(self, text: str, name: str) -> None:
        """Do nothing."""

    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Do nothing."""

    def log_model(self, write: Callable[[Path], None], entry: ModelEntry) -> None:
        """Do nothing."""

    def log_inputs(self, datasets: list[dict[str, Any]]) -> None:
        """Do nothing."""

    def fail(self, error: BaseException) -> None:
        """Let others have the run."""
        self.close()

    def close(self) -> None:
        """Let others have the run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def require_complete(self) -> None:
        """Do nothing: what is not logged cannot be lost."""

    def __getstate__(self) -> dict[str, Any]:
        self.close()
        return self.__dict__.copy()


RunLogger = MlflowSpoolLogger | UntrackedLogger


@contextmanager
def tracked(logger: RunLogger) -> Generator[None]:
    """End the run at the end of the block; whatever ends the block early marks it and leaves its traceback there."""
    logger.stays_open = True
    try:
        yield
    except BaseException as error:
        logger.fail(error)
        raise
    logger.stays_open = False
    logger.finalize("success")
    logger.close()


def open_logger(
    tracking: Tracking,
    *,
    run_name: str | None = None,
    run_id: str | None = None,
    resume_at: int | None = None,
    lock: SpoolLock | None = None,
) -> RunLogger:
    """Return the logger that ``tracking`` asks for, its run open; the arguments are :class:`.MlflowSpoolLogger`'s.

    Raises:
        UserError: As :class:`.MlflowSpoolLogger`.
    """
    if not tracking.enabled:
        return UntrackedLogger(run_id, lock)
    return MlflowSpoolLogger(tracking, run_name=run_name, run_id=run_id, resume_at=resume_at, lock=lock)
