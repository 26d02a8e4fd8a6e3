"""What a job of a sweep does: train one trial, say what became of it.

Who requeues: exactly one. When SLURM ends a job (``scontrol requeue``, preemption, node drain: it requeues by itself;
``scancel``: it must not be), it says so before it sends SIGTERM: such a job only checkpoints. A job that SLURM still
calls RUNNING after a signal is requeued by its first process, once all have left the training with a checkpoint: after
USR2, which comes ``launcher.signal_seconds`` before the time limit, and after the SIGTERM with which a preemption's
GraceTime begins. submitit's own handler, which would requeue too, is taken away at once, and Lightning's requeueing is
off (`callbacks.processes`). Before the training listens (`callbacks.preemption`) there is nothing to save: after
SIGTERM the process leaves at once and requeues as above, USR2 is kept and has the training leave at its first step.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import FrameType

import psutil
from filelock import Timeout

from callbacks.preemption import EarlySignal, Preempted
from covidmt.sweeps.folder import LOST, SweepFolder, TrialFolder, TrialOutcome
from covidmt.sweeps.runs import write_end, write_parent_end
from covidmt.tracking.environment import set_mlflow_defaults
from covidmt.tracking.folders import RunFolder
from covidmt.tracking.logger import global_rank
from experiments.errors import UserError, explain_shared_memory
from experiments.schema import Experiment
from experiments.secrets import hide_secrets, hiding, print_exception

ALONE_AFTER = 60  # seconds that another process gives the first one to leave


def run_trial(folder: str, trial: str, heard: Sequence[int] = ()) -> None:
    """Train a trial on this process's rank; resume where an earlier job of it left.

    Args:
        folder: The sweep's folder.
        trial: Its id.
        heard: Signals that have come already.

    Raises:
        UserError: Another live process trains it.
    """
    set_mlflow_defaults()
    early = {number: EarlySignal() for number in (signal.SIGTERM, signal.SIGUSR2)}
    for number, handler in early.items():
        signal.signal(number, handler)
        if number in heard:  # asked afterwards, so that none comes in between
            handler.signum = number
    sweep = SweepFolder(Path(folder))
    files = sweep.trial(trial)
    os.chdir(sweep.submitted.cwd)
    first = global_rank() == 0

    # one job a trial: the first of its processes holds the lock
    lock = files.lock()
    if first:
        try:
            lock.acquire(timeout=60)
        except Timeout as error:
            raise UserError(f"trial {trial} is being trained by another process: wait for its end") from error
    earlier = files.outcome
    if earlier and earlier.state == "finished":  # a job that was requeued after its end, or waited for another's
        lock.release()
        return
    outcome = TrialOutcome(
        "running",
        socket.gethostname(),
        os.getpid(),
        begin=psutil.Process().create_time(),
        requeues=earlier.requeues if earlier else 0,
    )
    if first:
        files.save_outcome(outcome)

    try:
        with _leaving_at_once(early[signal.SIGTERM], RunFolder(files.record.run_id).last):
            from covidmt.training.train import train  # takes seconds

            train(_load_experiment(sweep, files, first), run_id=files.record.run_id)
    except Preempted as error:
        if first or _is_alone(files):
            _leave(sweep, files, outcome, signal.Signals(error.signum).name)
    except BaseException as error:
        # The first process that fails says why, whatever its rank; of those that only see it gone none is believed.
        reason, newest = explain_failure(error), files.outcome or outcome
        if newest.state == "running" or (str(newest.reason).startswith(LOST) and not reason.startswith(LOST)):
            _end_trial(sweep, files, outcome.ended("failed", reason))
        raise
    else:
        if first:
            _end_trial(sweep, files, outcome.ended("finished", None))
    finally:
        lock.release()


@contextmanager
def _leaving_at_once(early: EarlySignal, checkpoint: Path) -> Generator[None]:
    """Leave the block after SIGTERM, wherever it is, unless a training listens; what comes after it is brief."""

    def leave(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Preempted(checkpoint, signum)

    signal.signal(signal.SIGTERM, leave)
    try:
        if early.signum:
            leave(early.signum, None)
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def explain_failure(error: BaseException) -> str:
    """Return a line for the table: out of memory, or the exception with its message.

    Example:
        >>> from covidmt.sweeps.job import explain_failure
        >>> explain_failure(MemoryError("1 GiB"))
        'out of memory: 1 GiB'
        >>> explain_failure(ConnectionError("Connection reset by peer"))
        'another of its processes died: Connection reset by peer'
    """
    import torch

    text = hide_secrets(" ".join(str(error).split()))[:300]
    shared_memory = explain_shared_memory(error)
    if shared_memory:
        return shared_memory
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of memory on the GPU: {text}"
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return f"out of memory: {text}"
    if isinstance(error, UserError):
        return text
    if re.search(r"[Cc]onnection (closed|reset) by peer|[Rr]emote process exited|Broken pipe", text):
        return f"{LOST}: {text}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {text} ({Path(place.filename).name}:{place.lineno})"


def _load_experiment(sweep: SweepFolder, trial: TrialFolder, first: bool) -> Experiment:
    """Return what was submitted; in a search the first process has Optuna draw it, once."""
    if first and not trial.has_experiment:
        from covidmt.sweeps.search import draw_trial

        return draw_trial(sweep, trial)
    while not trial.has_experiment:
        time.sleep(0.5)
    return trial.experiment()


def _is_alone(trial: TrialFolder) -> bool:
    """Return whether the first process of a job does not leave too.

    On the GPU it may wait for ever for this one, which is gone.
    """
    end = time.monotonic() + ALONE_AFTER
    while "SLURM_JOB_ID" in os.environ:
        outcome = trial.outcome
        if outcome is None or outcome.state != "running":
            return False
        if time.monotonic() > end:
            return True
        time.sleep(1)
    return False


def _leave(sweep: SweepFolder, trial: TrialFolder, outcome: TrialOutcome, signal_name: str) -> None:
    """Write that the trial has left with a checkpoint, or that a person has cancelled it; requeue it if need be."""
    if trial.is_cancelled:
        _end_trial(sweep, trial, outcome.ended("cancelled", "cancelled"))
        return
    outcome = outcome.ended("preempted", f"checkpointed on {signal_name}")
    trial.save_outcome(outcome)
    _requeue(sweep, trial, outcome)


def _end_trial(sweep: SweepFolder, trial: TrialFolder, outcome: TrialOutcome) -> None:
    """Write the end on disk for `status` and the next `run`, then on the MLflow runs as far as the store answers."""
    submission = sweep.submitted
    if outcome.state == "finished" and submission.search:
        from covidmt.sweeps.search import tell_result

        tell_result(submission, trial)
    trial.save_outcome(outcome)

    try:
        # the logger does not write the status before it exists, nor after it has been closed
        write_end(submission.store, trial.record.run_id, outcome.state, outcome.reason)
        outcomes = [other.outcome for other in sweep.trials]
        states = {other.state if other else "missing" for other in outcomes}
        if states <= {"finished", "failed", "cancelled"}:
            write_parent_end(submission, states)
    except Exception as error:  # `covidmt sweep status` tells it again
        print(
            f"covidmt: the tracking store does not know that trial {trial.id} has {outcome.state}: {error}",
            file=sys.stderr,
        )


def _requeue(sweep: SweepFolder, trial: TrialFolder, outcome: TrialOutcome) -> None:
    """Have SLURM start this job again, unless it is ending it itself or it has been requeued often enough."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    if job is None:
        return

    name = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job
    try:
        if "JobState=RUNNING" not in _scontrol("show", "job", "--oneliner", name):
            return
        limit = sweep.submitted.launcher.requeues
        if outcome.requeues >= limit:
            reason = f"time limit: requeued {limit} times (launcher.requeues)"
            _end_trial(sweep, trial, outcome.ended("failed", reason))
            return
        outcome = replace(outcome, requeues=outcome.requeues + 1)
        trial.save_outcome(outcome)
        _scontrol("requeue", name)
    except (OSError, subprocess.SubprocessError) as error:
        text = getattr(error, "stderr", None) or error
        _end_trial(sweep, trial, outcome.ended("failed", f"{outcome.reason}, but cannot be requeued: {text}"))


def _scontrol(*arguments: str) -> str:
    return subprocess.run(["scontrol", *arguments], check=True, capture_output=True, text=True, timeout=60).stdout


def main(folder: str, trial: str, heard: Sequence[int] = ()) -> None:
    """Run a trial as `run_trial` does; nothing that it prints or raises tells a password or token."""
    sys.excepthook = print_exception
    with redirect_stdout(hiding(sys.stdout)), redirect_stderr(hiding(sys.stderr)):
        try:
            run_trial(folder, trial, heard)
        except Exception:
            trace = traceback.format_exc()  # submitit writes it down too
            if hide_secrets(trace) == trace:
                raise
            raise RuntimeError(hide_secrets(trace)) from None


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
