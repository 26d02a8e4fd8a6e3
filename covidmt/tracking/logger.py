"""The Lightning logger: an MLflow run whose events go through the spool."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from callbacks.loggers.contracts import LoggedAt, table_file, to_csv
from callbacks.preemption import Preempted
from covidmt.tracking.charts.cards import thumbnail
from covidmt.tracking.charts.scores import clean_key, cut_value, details, score_tables
from covidmt.tracking.delivery import BATCH_PAIRS, BATCH_POINTS, Event, Point
from covidmt.tracking.folders import RunFolder, mlruns_dir
from covidmt.tracking.models.logged import ModelEntry
from covidmt.tracking.replay import Replay, read_logged
from covidmt.tracking.sender import Sender, describe_losses, end_orphans, noted_start
from covidmt.tracking.spool import Origin, Spool
from covidmt.tracking.spool.place import SpoolLock
from covidmt.tracking.store import Store, StoreAway, author
from covidmt.tracking.system_metrics import SystemMetrics
from experiments.errors import UserError
from experiments.schema import Tracking
from experiments.secrets import hide_in_values, hide_secrets

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)

RUN_ID = "COVIDMT_RUN_ID"  # environment variable: rank zero tells the processes that it starts


def global_rank() -> int:
    """Return this process's number among those of the training, 0 where it is alone; known before a Trainer is made."""
    return getattr(rank_zero_only, "rank", 0)


class MlflowSpoolLogger(Logger):
    """Logs to one MLflow run through a spool on disk: no network call once it is made.

    Making it is the one synchronous contact with the store: it opens the experiment and makes the run, or resumes
    ``run_id``. That needs no server if the run was logged from this folder before: what its spool holds is enough.
    Afterwards every method writes to ``mlruns/spool/<run id>/`` and a thread sends (see `covidmt.tracking.spool`).
    Only rank zero does anything. It survives pickling (strategies that spawn): the spool goes to the process that logs.

    Args:
        tracking: Store, experiment, run name, tags, system metrics.
        run_name: Name of a new run where ``tracking.run_name`` has none; None: MLflow invents one.
        tags: More tags.
        run_id: A run that exists: made by a sweep, or to be resumed.
        resume_at: The `position` of the checkpoint that the run resumes from (0: it starts again from the beginning).
            Metrics and pictures that the run logged after it will be logged again and are dropped then, see
            `covidmt.tracking.replay`. None: nothing is dropped.
        lock: The run's lock, where it is held already; it is released with the spool.
        patience: Seconds that `finalize` and `close`, together, wait for a store that is away.

    Attributes:
        store: The tracking store.
        run_id: MLflow's id of the run.
        datasets: What `log_inputs` was given.
        stays_open: Whether a fit does not end the run: killed before the test that follows, it has not finished.
        problems: What the run logged and the store will not have by itself, in sentences; known when it is closed.

    Raises:
        UserError: The store cannot be reached or used, or ``run_id`` is not in it, deleted, or written by another
            process.
    """

    def __init__(
        self,
        tracking: Tracking,
        *,
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
        resume_at: int | None = None,
        lock: SpoolLock | None = None,
        patience: float = 30.0,
    ):
        super().__init__()
        self.tracking = tracking
        self.store = Store.of(tracking)
        self.root = mlruns_dir()
        self.run_id = run_id or (os.environ.get(RUN_ID) if global_rank() != 0 else None)
        self.problems: list[str] = []
        self.datasets: list[Event] = []
        self._patience = patience
        self._lock = lock
        self._spool: Spool | None = None
        self._sender: Sender | None = None
        self._monitor: SystemMetrics | None = None
        self._started = time.time()
        self._params: dict[str, str] = {}
        self._status = "RUNNING"
        self.stays_open = False
        self._replay = Replay(resume_at or 0)
        self._open_run(tracking.run_name or run_name, {**tracking.tags, **(tags or {})}, resume_at)

    @property
    def name(self) -> str:
        """The MLflow experiment's name."""
        return self.tracking.experiment

    @property
    def version(self) -> str | None:
        """The MLflow run's id; None on ranks above zero that were not given one."""
        return self.run_id

    @property
    def save_dir(self) -> str:
        """Where Lightning puts checkpoints that were given no folder."""
        return str(self.root)

    @property
    def spool_dir(self) -> Path:
        """The run's folder in the spool; gone once everything has been sent."""
        return RunFolder(str(self.run_id), self.root).spool

    @property
    def position(self) -> int:
        """What a checkpoint needs, to be given as ``resume_at``: a timestamp in ms (see `Replay.position`)."""
        return self._replay.position

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log scalars with the present time.

        Scores that few look at (:func:`.details`) are no metrics, of which MLflow's UI draws
        each: they stand, with all others of their epoch, in the table ``scores/val/<epoch>.csv`` or
        ``scores/test.csv``.

        Args:
            metrics: Key -> number; NaN and infinities too (MLflow keeps infinities as the largest floats).
                ``val/`` and ``test/`` keys get the step ``metrics["epoch"]``, which Lightning adds, and that helper is
                then not logged itself.
            step: Global step, for all other keys.
        """
        epoch = metrics.get("epoch")
        evaluated = {key for key in metrics if key.startswith(("val/", "test/"))}
        in_table = details(metrics)
        if self._status != "RUNNING":  # testing after fitting: Lightning finalises after each
            self._set_status("RUNNING")

        now = self._replay.tick()
        points = []
        for key, value in metrics.items():
            at = int(epoch) if key in evaluated and epoch is not None else int(step or 0)
            is_helper = key in in_table or (key == "epoch" and evaluated)
            if not is_helper and not self._replay.is_repeat(clean_key(key), at):
                points.append([clean_key(key), float(value), now, at])
        for start in range(0, len(points), BATCH_POINTS):
            self._write("metrics", points=points[start : start + BATCH_POINTS])

        # all scores of the epoch, where the metrics have not all of them
        for name, text in score_tables(metrics, int(step or 0) if epoch is None else int(epoch)).items():
            self.log_text_file(text, name)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log parameters to compare runs by: as given, nothing flattened.

        MLflow keeps a parameter's first value, so a resumed run's changed one is only warned about; a value over
        MLflow's limit is cut with a note (the resolved YAML, an artifact, has it whole).

        Args:
            params: Name -> value.
            *args: Ignored.
            **kwargs: Ignored.
        """
        given = vars(params) if isinstance(params, Namespace) else params
        values = {clean_key(key): cut_value(hide_secrets(str(value))) for key, value in given.items()}
        for key in values.keys() & self._params.keys():
            if values[key] != self._params[key]:
                log.warning("Parameter %s is now %r; the run keeps %r.", key, values[key], self._params[key])
        self._write_pairs("params", {key: value for key, value in values.items() if key not in self._params})
        self._params = values | self._params

    @rank_zero_only
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; the last value of one stays."""
        self._write_pairs("tags", {key: hide_secrets(str(value))[:8000] for key, value in tags.items()})

    @rank_zero_only
    def log_image(self, key: str, images: list[np.ndarray], step: int | None = None) -> None:
        """Log pictures as `mlflow.log_image` does, so that the UI shows one picture a key with a slider over steps.

        Args:
            key: Name; several images are numbered ``<key>/00`` ...
            images: uint8, (H, W) or (H, W, 3) RGB.
            step: The slider's position.
        """
        from PIL import Image

        now = self._replay.tick()
        for number, array in enumerate(images):
            name = clean_key(key if len(images) == 1 else f"{key}/{number:02d}").replace("/", "~").replace(":", "_")
            if self._replay.is_repeat(name, step or 0):
                continue

            # MLflow's naming, of which the UI reads key, step and time. An event that is sent again must meet the same
            # file, so the name is made here, once.
            stem = f"{name}+step+{step or 0}+timestamp+{now}+{os.urandom(16).hex()}"
            picture = Image.fromarray(np.asarray(array, dtype=np.uint8))
            files = []
            for image, ending in ((picture, ".png"), (thumbnail(picture), "+compressed.webp")):
                files.append(self._open().add_file(stem + ending, image.save))

            # both files are complete before the first event tells of them
            for relative in files:
                self._write("artifact", file=relative, path="images")
        self._write_pairs("tags", {"mlflow.loggedImages": "True"})

    def log_pictures(self, pictures: Mapping[str, np.ndarray], at: LoggedAt) -> None:
        """Log pictures by their keys, at the epoch, as validation metrics are."""
        for key, picture in pictures.items():
            self.log_image(key, [picture], at.epoch)

    def log_rows(self, name: str, table: pd.DataFrame, at: LoggedAt) -> None:
        """Log a table as the artifact ``<name>/<epoch>.csv``, in a test ``<name>.csv``."""
        self.log_text_file(to_csv(table), table_file(name, at))

    @rank_zero_only
    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Log a copy of a file or folder as it is now, into the artifact folder ``artifact_path``."""
        path = Path(path)
        copy = shutil.copytree if path.is_dir() else shutil.copyfile
        file = self._open().add_file(path.name, partial(copy, path))
        self._write("artifact", file=file, path=artifact_path)

    @rank_zero_only
    def log_text_file(self, text: str, name: str) -> None:
        """Log a text, without passwords, as the artifact file ``name``, which may have folders in it."""
        place = PurePosixPath(name)
        file = self._open().add_file(place.name, lambda path: path.write_text(hide_secrets(text)))
        self._write("artifact", file=file, path=None if place.parent == PurePosixPath() else str(place.parent))

    @rank_zero_only
    def log_model(self, write: Callable[[Path], None], entry: ModelEntry) -> None:
        """Log a model as a LoggedModel of the run; ``write`` puts its files into a folder that does not exist yet."""
        file = self._open().add_file("model", write)
        self._write("model", file=file, entry=hide_in_values(asdict(entry)))

    @rank_zero_only
    def log_inputs(self, datasets: list[dict[str, Any]]) -> None:
        """Log data sets as the run's inputs (see `covidmt.tracking.provenance.dataset_input`)."""
        self.datasets += datasets
        self._write("inputs", datasets=hide_in_values(datasets))

    def fail(self, error: BaseException) -> None:
        """Mark the run FAILED (KILLED if a person or the cluster stopped it), with ``traceback.txt``, and close it.

        A preempted run is SCHEDULED: it is resumed later.

        Lightning ends rank zero as soon as another rank that it started fails: that one tells the store itself, in
        ``traceback-rank-<number>.txt``.
        """
        text = "".join(traceback.format_exception(error))
        stopped = isinstance(error, KeyboardInterrupt | SystemExit | Preempted)
        status = "SCHEDULED" if isinstance(error, Preempted) else "KILLED" if stopped else "FAILED"
        rank = global_rank()

        if rank == 0:
            try:
                if status != "SCHEDULED":
                    self.log_text_file(text, "traceback.txt")
                self._set_status(status)
                self.close()
                for problem in self.problems:
                    log.warning("%s", problem)
            except OSError as unwritten:  # such as a full disk; what went wrong first matters more
                log.warning("How run %s ended could not be noted in its spool: %s", self.run_id, unwritten)

        elif self.run_id is not None and not stopped:
            try:
                client = self.store.client
                client.log_text(self.run_id, hide_secrets(text), f"traceback-rank-{rank}.txt")
                client.set_terminated(self.run_id, status)
            except Exception as unsent:  # what went wrong first matters more
                log.warning("Rank %d could not tell the tracking store %s: %s", rank, self.store, unsent)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what is left. Lightning calls it after every fit, validate or test; `fail` is for a run that failed.

        The run is FINISHED then, unless it `stays_open`.
        """
        if status in ("success", "finished") and not self.stays_open:
            self._set_status("FINISHED")
        self._flush()

    @rank_zero_only
    def close(self) -> None:
        """Send what is left, as far as patience goes, and release the spool; called at the process's end by itself.

        What could not be sent is warned about, with how to send it.
        """
        if self._spool is None or self._sender is None:
            return
        if self._monitor:
            self._monitor.stop()
        self._flush()

        spool, stopped = self._spool, self._sender.stop()
        self.problems += describe_losses(spool, self._sender.error)
        if spool.pending and not self.problems:
            log.warning(
                "The tracking store %s did not take everything that run %s logged%s. Nothing is lost: it waits in %s, "
                "and `covidmt sync` sends it when the store is back.",
                self.store,
                self.run_id,
                f" ({self.store.explain(self._sender.error)})" if self._sender.error else "",
                spool.folder,
            )
        elif spool.rejected:
            log.warning("The tracking store refused some events: they are in %s.", spool.rejected)

        if stopped:
            spool.close()  # else the lock goes with the process: the thread may still write
        self._spool = self._sender = self._monitor = None
        atexit.unregister(self.close)

    def require_complete(self) -> None:
        """Refuse to end as if all were well, after `close`.

        Raises:
            UserError: Something that was logged is lost, or will not reach the store by itself.
        """
        if self.problems:
            raise UserError("; ".join(self.problems))

    def __getstate__(self) -> dict[str, Any]:
        self.close()
        return self.__dict__.copy()

    @rank_zero_only
    def _open_run(self, run_name: str | None, tags: dict[str, str], resume_at: int | None) -> None:
        try:
            self.store.prepare()
        except StoreAway as error:
            if self.run_id is None or not (self.spool_dir / "uri").exists():
                raise
            log.warning("%s. The run continues; what it logs waits in %s.", error, self.spool_dir)
            self._resume(resume_at, tags, set())
            self._started = self._open().begin_time or self._started
            return

        end_orphans(self.root / "spool")
        client = self.store.client
        with self.store.explaining():
            if self.run_id is None:
                run = self._make_run(run_name, tags)
            else:
                run = client.get_run(self.run_id)
                if run.info.lifecycle_stage == "deleted":
                    raise UserError(f"run {self.run_id} has been deleted in {self.store}: restore it")
                self._params = dict(run.data.params)
                self._open().origin = self._origin(run)
                self._resume(resume_at, tags, self._logged_in_store(run, resume_at))
        self._started = run.info.start_time / 1000
        os.environ[RUN_ID] = run.info.run_id
        self._open()

    def _make_run(self, run_name: str | None, tags: dict[str, str]) -> Run:
        """Make a run, and its spool, which tells of it from then on; a process killed in between leaves a note."""
        experiment_id = self.store.open_experiment(self.tracking.experiment)
        with noted_start(self.store, self.root / "spool") as start:
            tags = hide_in_values({**author(), **tags}) | dict(start)
            name = hide_secrets(run_name) if run_name else None
            run = self.store.client.create_run(experiment_id, run_name=name, tags=tags)
            self.run_id = run.info.run_id
            self._open().origin = self._origin(run)
        return run

    def _origin(self, run: Run) -> Origin:
        return Origin(self.tracking.experiment, run.info.run_name, dict(run.data.tags), run.info.artifact_uri)

    def _resume(self, resume_at: int | None, tags: dict[str, str], logged: set[Point]) -> None:
        """Resume a run that exists, of which the store has ``logged``."""
        os.environ[RUN_ID] = str(self.run_id)
        if resume_at is not None:
            self._replay.expect(logged | self._open().logged())
        self._set_status("RUNNING")
        self._write_pairs("tags", tags)

    def _logged_in_store(self, run: Run, resume_at: int | None) -> set[Point]:
        begin = self._open().begin_time
        if resume_at is None or (begin is not None and 1000 * begin <= resume_at):
            return set()  # the spool has been there since before the checkpoint
        return read_logged(self.store, run, resume_at)

    def _open(self) -> Spool:
        if self._spool is None:
            self._spool = self._take_spool()
            self._sender = Sender(self._spool)
            self._sender.start()
            atexit.register(self.close)
            if self.tracking.system_metrics:
                self._monitor = SystemMetrics(self._log_system)
                self._monitor.start()
        return self._spool

    def _take_spool(self) -> Spool:
        lock, self._lock = self._lock, None
        return Spool(self.spool_dir, self.store, lock or SpoolLock.take(self.spool_dir))

    def _write(self, op: str, **payload: Any) -> None:
        self._open().append(op, **payload)

    def _write_pairs(self, op: str, values: dict[str, str]) -> None:
        items = list(values.items())
        for start in range(0, len(items), BATCH_PAIRS):
            self._write(op, values=dict(items[start : start + BATCH_PAIRS]))

    def _log_system(self, metrics: dict[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        step = int(now / 1000 - self._started)  # the run's age, so that a resumed run continues where it stopped
        spool = self._spool  # of this thread's own: `close` may take it away meanwhile
        if spool is not None:
            spool.append(
                "metrics", points=[[clean_key(key), float(value), now, step] for key, value in metrics.items()]
            )

    def _set_status(self, status: str) -> None:
        self._status = status
        self._write("status", status=status, time=time.time_ns() // 1_000_000)

    def _flush(self) -> None:
        if self._sender is not None:
            start = time.monotonic()
            self._sender.flush(self._patience)
            self._patience = max(0.0, self._patience - (time.monotonic() - start))
