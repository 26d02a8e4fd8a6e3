"""What a job of a sweep does: train one trial, say what became of it.

Who requeues: exactly one. When SLURM ends a job (``scontrol requeue``, preemption, node drain: it requeues by itself;
``scancel``: it must not be), it says so before it sends SIGTERM: such a job only checkpoints. A job that SLURM still
calls RUNNING after a signal is requeued by its first process, once all have left the training with a checkpoint: after
USR2, which comes ``launcher.signal_seconds`` before the time limit, and after the SIGTERM with which a preemption's
GraceTime begins. submitit's own handler, which would requeue too, is taken away at once, and Lightning's requeueing is
off (`covidmt.trainer`). Before the training listens (`callbacks.preemption`) there is nothing to save: SIGTERM ends the
process, USR2 is kept and has the training leave at its first step.
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
from pathlib import Path

from filelock import Timeout

from callbacks.preemption import EarlySignal, Preempted
from covidmt.sweeps.folder import ENDINGS, LOST, Outcome, SweepFolder, parent_status
from covidmt.tracking.logger import global_rank
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.schema import Experiment

ALONE_AFTER = 60  # seconds that another process gives the first one to leave


def run_trial(folder: str, trial: str) -> None:
    """Trains a trial on this process's rank, goes on where an earlier job of it left.

    Args:
        folder: The sweep's folder.
        trial: Its id.

    Raises:
        UserError: Another live process trains it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, EarlySignal())
    sweep = SweepFolder(Path(folder))
    if (said := sweep.outcome(trial)) and said.state == "finished":  # a job that was requeued after its end
        return
    os.chdir(sweep.settings["cwd"])
    first = global_rank() == 0
    from covidmt.training.train import train

    lock = sweep.lock(trial)
    outcome = Outcome("running", socket.gethostname(), os.getpid(), requeues=said.requeues if said else 0)
    if first:
        try:
            lock.acquire(timeout=60)
        except Timeout as error:
            raise UserError(f"trial {trial} is being trained by another process: wait for its end") from error
        sweep.save_outcome(trial, outcome)
    try:
        train(_experiment(sweep, trial, first), run_id=sweep.record(trial).run_id)
    except Preempted as error:
        if first or _alone(sweep, trial):
            if sweep.cancelled(trial):
                _end(sweep, trial, outcome, "cancelled", "cancelled")
                return
            reason = f"checkpointed on {signal.Signals(error.signum).name}"
            outcome.state, outcome.end, outcome.reason = "preempted", time.time(), reason
            sweep.save_outcome(trial, outcome)
            _requeue(sweep, trial, outcome)
    except BaseException as error:
        # The first process that fails says why, whatever its rank; of those that only see it gone none is believed.
        reason, said = explain(error), sweep.outcome(trial) or outcome
        if said.state == "running" or (str(said.reason).startswith(LOST) and not reason.startswith(LOST)):
            _end(sweep, trial, outcome, "failed", reason)
        raise
    else:
        if first:
            _end(sweep, trial, outcome, "finished", None)
    finally:
        lock.release()


def explain(error: BaseException) -> str:
    """A line for the table: out of memory, or the exception with its message."""
    import torch

    text = " ".join(str(error).split())[:300]
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


def _experiment(sweep: SweepFolder, trial: str, first: bool) -> Experiment:
    """What was submitted; in a search the first process has Optuna draw it, once."""
    if sweep.has_experiment(trial):
        return sweep.experiment(trial)
    if first:
        from covidmt.sweeps.search import draw

        return draw(sweep, trial)
    while not sweep.has_experiment(trial):
        time.sleep(0.5)
    return sweep.experiment(trial)


def _alone(sweep: SweepFolder, trial: str) -> bool:
    """Whether the first process of a job does not leave too: on the GPU it may wait for ever for this one, now gone."""
    end = time.monotonic() + ALONE_AFTER
    while "SLURM_JOB_ID" in os.environ and (said := sweep.outcome(trial)) and said.state == "running":
        if time.monotonic() > end:
            return True
        time.sleep(1)
    return False


def _end(sweep: SweepFolder, trial: str, outcome: Outcome, state: str, reason: str | None) -> None:
    """On disk for `status` and the next `run`, then on the MLflow runs as far as the store answers."""
    outcome.state, outcome.end, outcome.reason = state, time.time(), reason
    settings = sweep.settings
    if state == "finished" and settings.get("search"):
        from covidmt.sweeps.search import tell

        tell(sweep, trial)
    sweep.save_outcome(trial, outcome)
    try:
        client = Store(settings["uri"]).client
        run_id = sweep.record(trial).run_id
        if state in ENDINGS:  # the logger does not say it before it is there, nor after it has left
            client.set_terminated(run_id, ENDINGS[state])
            client.set_tag(run_id, "failure", str(reason))
        elif "failure" in client.get_run(run_id).data.tags:  # of an earlier start
            client.delete_tag(run_id, "failure")
        states = {said.state if (said := sweep.outcome(other)) else "missing" for other in settings["trials"]}
        if states <= {"finished", "failed", "cancelled"}:
            client.set_terminated(settings["run_id"], parent_status(states))
    except Exception as error:  # `covidmt sweep status` says it again
        print(f"covidmt: the tracking store is not told that trial {trial} {state}: {error}", file=sys.stderr)


def _requeue(sweep: SweepFolder, trial: str, outcome: Outcome) -> None:
    """Has SLURM start this job again, unless it is ending it itself or it has been often enough."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    name = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job
    try:
        if "JobState=RUNNING" not in _scontrol("show", "job", "--oneliner", name):
            return
        limit = sweep.settings["launcher"]["requeues"]
        if outcome.requeues >= limit:
            _end(sweep, trial, outcome, "failed", f"time limit: requeued {limit} times (launcher.requeues)")
            return
        outcome.requeues += 1
        sweep.save_outcome(trial, outcome)
        _scontrol("requeue", name)
    except (OSError, subprocess.SubprocessError) as error:
        text = getattr(error, "stderr", None) or error
        _end(sweep, trial, outcome, "failed", f"{outcome.reason}, but cannot be requeued: {text}")


def _scontrol(*arguments: str) -> str:
    return subprocess.run(["scontrol", *arguments], check=True, capture_output=True, text=True, timeout=60).stdout


if __name__ == "__main__":
    run_trial(*sys.argv[1:])
