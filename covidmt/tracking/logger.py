"""The Lightning logger: an MLflow run whose events go through the spool."""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import time
import traceback
from argparse import Namespace
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from callbacks.preemption import Preempted
from covidmt.tracking.spool import BATCH_PAIRS, BATCH_POINTS, HEARTBEAT, Sender, Spool, SpoolInUse, parse_picture
from covidmt.tracking.store import (
    StoreAway,
    author,
    make_client,
    mlruns_dir,
    open_experiment,
    prepare_store,
    resolve_uri,
    store_error,
    without_password,
)
from covidmt.tracking.system_metrics import SystemMetrics
from experiments.errors import UserError
from experiments.schema import Tracking

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

THUMBNAIL = 640  # longest side in the UI's picture cards: MLflow's own 256 leaves an overlay's text unreadable
RUN_ID = "COVIDMT_RUN_ID"  # environment variable: rank zero tells the processes that it starts


def global_rank() -> int:
    """This process's number among those of the training, 0 where it is alone; known before a Trainer is made."""
    return getattr(rank_zero_only, "rank", 0)


@contextmanager
def tracked(logger: MlflowSpoolLogger) -> Generator[None]:
    """Closes the run at the block's end; whatever ends the block early marks it and leaves its traceback there."""
    try:
        yield
    except BaseException as error:
        logger.fail(error)
        raise
    logger.close()


class MlflowSpoolLogger(Logger):
    """Logs to one MLflow run through a spool on disk: no network call once it is made.

    Making it is the one synchronous contact with the store: it opens the experiment and makes the run, or goes on with
    ``run_id``. That needs no server if the run was logged from this folder before: what its spool holds is enough.
    Afterwards every method writes to ``mlruns/spool/<run id>/`` and a thread sends (see `covidmt.tracking.spool`).
    Only rank zero does anything. It survives pickling (strategies that spawn): the spool goes to the process that logs.

    Args:
        tracking: Store, experiment, run name, tags, system metrics.
        run_name: Name of a new run where ``tracking.run_name`` has none; None: MLflow invents one.
        tags: More tags.
        run_id: A run that is there: made by a sweep, or to be resumed.
        resume_at: The `position` of the checkpoint that the run goes on from (0: it starts again from the beginning).
            Metrics and pictures that the run logged after it will be logged again; the store keeps the first ones, as
            it cannot forget any, and those that come again at the same step are dropped, so that none is there twice.
            None: nothing is dropped.
        patience: Seconds that `finalize` and `close`, together, wait for a store that is away.

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
        patience: float = 30.0,
    ):
        super().__init__()
        self.tracking = tracking
        self.uri = resolve_uri(tracking)
        self.root = mlruns_dir()
        self.run_id = run_id or (os.environ.get(RUN_ID) if global_rank() != 0 else None)
        self._patience = patience
        self._spool: Spool | None = None
        self._sender: Sender | None = None
        self._monitor: SystemMetrics | None = None
        self._started = time.time()
        self._params: dict[str, str] = {}
        self._status = "RUNNING"
        self._clock = resume_at or 0
        self._repeats: dict[tuple[str, int], list[int]] = {}  # timestamps of what will be logged again, oldest first
        self._repeated_to = self._repeats_end = 0
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
        return self.root / "spool" / str(self.run_id)

    @property
    def position(self) -> int:
        """A timestamp in ms: all that is logged after this moment has, or had before it was repeated, a larger one."""
        return self._clock if self._repeated_to == self._repeats_end else self._repeated_to

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Logs scalars with the time of now.

        Args:
            metrics: Key -> number; NaN and infinities too (MLflow keeps infinities as the largest floats).
                ``val/`` and ``test/`` keys get the step ``metrics["epoch"]``, which Lightning adds, and that helper is
                then not logged itself.
            step: Global step, for all other keys.
        """
        epoch = metrics.get("epoch")
        evaluated = {key for key in metrics if key.startswith(("val/", "test/"))}
        if self._status != "RUNNING":  # testing after fitting: Lightning finalises after each
            self._set_status("RUNNING")
        now = self._tick()
        points = []
        for key, value in metrics.items():
            at = int(epoch) if key in evaluated and epoch is not None else int(step or 0)
            if not (key == "epoch" and evaluated) and not self._repeated(_clean(key), at):
                points.append([_clean(key), float(value), now, at])
        for start in range(0, len(points), BATCH_POINTS):
            self._write("metrics", points=points[start : start + BATCH_POINTS])

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Logs parameters to compare runs by: as given, nothing flattened.

        MLflow keeps a parameter's first value, so a resumed run's changed one is only said; a value over MLflow's limit
        is cut with a note (the resolved YAML, an artifact, has it whole).
        """
        given = vars(params) if isinstance(params, Namespace) else params
        values = {_clean(key): _cut(str(value)) for key, value in given.items()}
        for key in values.keys() & self._params.keys():
            if values[key] != self._params[key]:
                log.warning("Parameter %s is now %r; the run keeps %r.", key, values[key], self._params[key])
        self._write_pairs("params", {key: value for key, value in values.items() if key not in self._params})
        self._params = values | self._params

    @rank_zero_only
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets tags; the last value of one stays."""
        self._write_pairs("tags", {key: str(value)[:8000] for key, value in tags.items()})

    @rank_zero_only
    def log_image(self, key: str, images: list[np.ndarray], step: int | None = None) -> None:
        """Logs pictures as `mlflow.log_image` does, so that the UI shows one picture a key with a slider over steps.

        Args:
            key: Name; several images are numbered ``<key>/00`` ...
            images: uint8, (H, W) or (H, W, 3) RGB.
            step: The slider's position.
        """
        from mlflow.tracking.multimedia import compress_image_size
        from PIL import Image

        now = self._tick()
        for number, array in enumerate(images):
            name = _clean(key if len(images) == 1 else f"{key}/{number:02d}").replace("/", "~").replace(":", "_")
            # MLflow's naming, of which the UI reads key, step and time. A repeat must meet the same file, so the name
            # is made here, once.
            stem = f"{name}+step+{step or 0}+timestamp+{now}+{os.urandom(16).hex()}"
            if self._repeated(name, step or 0):
                continue
            picture = Image.fromarray(np.asarray(array, dtype=np.uint8))
            files = []
            for image, ending in ((picture, ".png"), (compress_image_size(picture, THUMBNAIL), "+compressed.webp")):
                path, relative = self._open().new_file(stem + ending)
                image.save(path)
                files.append(relative)
            for relative in files:
                self._write("artifact", file=relative, path="images")
        self._write_pairs("tags", {"mlflow.loggedImages": "True"})

    @rank_zero_only
    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Logs a copy of a file or folder as it is now, into the artifact folder ``artifact_path``."""
        path = Path(path)
        copy, relative = self._open().new_file(path.name)
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copyfile(path, copy)
        self._write("artifact", file=relative, path=artifact_path)

    @rank_zero_only
    def log_text(self, text: str, name: str) -> None:
        """Logs a text as the artifact file ``name``, which may name a folder."""
        place = PurePosixPath(name)
        path, relative = self._open().new_file(place.name)
        path.write_text(text)
        self._write("artifact", file=relative, path=None if place.parent == PurePosixPath() else str(place.parent))

    @rank_zero_only
    def log_inputs(self, datasets: list[dict[str, Any]]) -> None:
        """Logs data sets as the run's inputs (see `covidmt.tracking.provenance.dataset_input`)."""
        self._write("inputs", datasets=datasets)

    def fail(self, error: BaseException) -> None:
        """Marks the run FAILED (KILLED if a person or the cluster stopped it), with ``traceback.txt``; closes.

        A preempted run is SCHEDULED: it goes on later.

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
                    self.log_text(text, "traceback.txt")
                self._set_status(status)
                self.close()
            except OSError as unwritten:  # such as a full disk; what went wrong first matters more
                log.warning("How run %s ended could not be noted in its spool: %s", self.run_id, unwritten)
        elif self.run_id is not None and not stopped:
            try:
                client = make_client(self.uri)
                client.log_text(self.run_id, text, f"traceback-rank-{rank}.txt")
                client.set_terminated(self.run_id, status)
            except Exception as unsent:  # what went wrong first matters more
                log.warning(
                    "Rank %d could not tell the tracking store %s: %s", rank, without_password(self.uri), unsent
                )

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Called by Lightning after every fit, validate or test; how a run failed is for `fail` to say."""
        if status in ("success", "finished"):
            self._set_status("FINISHED")
        self._flush()

    @rank_zero_only
    def close(self) -> None:
        """Sends what is left, as far as patience goes, and lets go of the spool; at the process's end by itself.

        Says what is left and how to send it.
        """
        if self._spool is None or self._sender is None:
            return
        if self._monitor:
            self._monitor.stop()
        self._flush()
        spool, stopped = self._spool, self._sender.stop()
        if spool.pending:
            log.warning(
                "The tracking store %s did not take everything that run %s logged. Nothing is lost: it waits in %s, "
                "and `covidmt sync` sends it when the store is back.",
                without_password(self.uri),
                self.run_id,
                spool.folder,
            )
        elif spool.rejected:
            log.warning("The tracking store refused some events: they are in %s.", spool.rejected)
        if stopped:
            spool.close()  # else the lock goes with the process: the thread may still write
        self._spool = self._sender = self._monitor = None
        atexit.unregister(self.close)

    def __getstate__(self) -> dict[str, Any]:
        self.close()
        return self.__dict__.copy()

    @rank_zero_only
    def _open_run(self, run_name: str | None, tags: dict[str, str], resume_at: int | None) -> None:
        from mlflow.exceptions import MlflowException

        try:
            prepare_store(self.uri)
        except StoreAway as error:
            if self.run_id is None or not self.spool_dir.exists():
                raise
            log.warning("%s. The run goes on; what it logs waits in %s.", error, self.spool_dir)
            self._go_on(resume_at, tags, set())
            self._started = self._open().begun or self._started
            return
        client = make_client(self.uri)
        try:
            if self.run_id is None:
                experiment_id = open_experiment(client, self.uri, self.tracking.experiment)
                run = client.create_run(experiment_id, run_name=run_name, tags={**author(), **tags})
                self.run_id = run.info.run_id
            else:
                run = client.get_run(self.run_id)
                if run.info.lifecycle_stage == "deleted":
                    raise UserError(f"run {self.run_id} has been deleted in {without_password(self.uri)}: restore it")
                self._params = dict(run.data.params)
                logged = set() if resume_at is None else self._in_store(client, list(run.data.metrics))
                self._go_on(resume_at, tags, logged)
        except MlflowException as error:
            raise store_error(self.uri, error) from error
        self._started = run.info.start_time / 1000
        os.environ[RUN_ID] = run.info.run_id
        self._open()

    def _go_on(self, resume_at: int | None, tags: dict[str, str], logged: set[tuple[str, int, int]]) -> None:
        """With a run that is there, of which the store has ``logged``."""
        os.environ[RUN_ID] = str(self.run_id)
        if resume_at is not None:
            self._expect_repeats(logged | self._open().logged())
        self._set_status("RUNNING")
        self._write_pairs("tags", tags)

    def _in_store(self, client: MlflowClient, keys: list[str]) -> set[tuple[str, int, int]]:
        """(key, step, timestamp) of the metrics and pictures that the store has."""
        assert self.run_id is not None
        points = {
            (key, point.step, point.timestamp)
            for key in keys
            if not key.startswith("system/")
            for point in client.get_metric_history(self.run_id, key)
        }
        files = client.list_artifacts(self.run_id, "images")
        return points | {picture for file in files if (picture := parse_picture(file.path))}

    def _expect_repeats(self, logged: set[tuple[str, int, int]]) -> None:
        """What has been logged after the checkpoint."""
        later = [
            (key, step, stamp) for key, step, stamp in logged if stamp > self._clock and not key.startswith("system/")
        ]
        for key, step, stamp in sorted(later, key=lambda point: point[2]):
            self._repeats.setdefault((key, step), []).append(stamp)
        self._repeated_to = self._clock
        self._clock = self._repeats_end = max([self._clock, *(stamp for _, _, stamp in later)])

    def _repeated(self, key: str, step: int) -> bool:
        stamps = self._repeats.get((key, step))
        if not stamps:
            return False
        self._repeated_to = max(self._repeated_to, stamps.pop(0))
        return True

    def _tick(self) -> int:
        """Now in ms, but later than the time before: the stamps tell what came after a checkpoint."""
        self._clock = max(time.time_ns() // 1_000_000, self._clock + 1)
        return self._clock

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
        try:
            return Spool(self.spool_dir, self.uri, wait=2)
        except SpoolInUse:
            log.warning("Run %s is being written by another process: waiting for its end.", self.run_id)
        try:
            # A job that was moved to another machine waits until the killed one counts as dead.
            return Spool(self.spool_dir, self.uri, wait=HEARTBEAT + 30)
        except SpoolInUse as error:
            raise UserError(
                f"run {self.run_id} is being written by another process: resume it after its end"
            ) from error

    def _write(self, op: str, **payload: Any) -> None:
        self._open().append(op, **payload)

    def _write_pairs(self, op: str, values: dict[str, str]) -> None:
        items = list(values.items())
        for start in range(0, len(items), BATCH_PAIRS):
            self._write(op, values=dict(items[start : start + BATCH_PAIRS]))

    def _log_system(self, metrics: dict[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        # The step is the run's age: it goes on where a resumed run left it.
        step = int(now / 1000 - self._started)
        if (spool := self._spool) is not None:
            spool.append("metrics", points=[[_clean(key), float(value), now, step] for key, value in metrics.items()])

    def _set_status(self, status: str) -> None:
        self._status = status
        self._write("status", status=status, time=time.time_ns() // 1_000_000)

    def _flush(self) -> None:
        if self._sender is not None:
            start = time.monotonic()
            self._sender.flush(self._patience)
            self._patience = max(0.0, self._patience - (time.monotonic() - start))


def _clean(key: str) -> str:
    """The key with the characters that MLflow takes."""
    return re.sub(r"[^\w/.:\- ]", "_", key, flags=re.ASCII)


def _cut(value: str) -> str:
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    note = f" ... (cut, {len(value)} characters)"
    return value if len(value) <= MAX_PARAM_VAL_LENGTH else value[: MAX_PARAM_VAL_LENGTH - len(note)] + note
