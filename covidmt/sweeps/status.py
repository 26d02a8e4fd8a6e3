"""The state of each trial of a sweep: from what its job says, what SLURM says, and whether its process lives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covidmt.sweeps import slurm
from covidmt.sweeps.folder import LOST, SweepFolder, TrialFolder, TrialOutcome, TrialRecord
from covidmt.sweeps.runs import close_run
from experiments.errors import UserError, nearest

GONE = "gone without a word"  # begins the reason of a trial that died without one
SETTLES = 120  # seconds for which network file systems may show old files, with room


@dataclass(frozen=True)
class TrialStatus:
    """How a trial is.

    Attributes:
        state: ``missing`` (never started), ``waiting``, ``running``, ``finished``, ``failed``, ``stopped`` (it wrote a
            checkpoint and left) or ``cancelled``.
        record: What was submitted.
        node: Where it runs or ran last.
        seconds: How long its last start took, until now or its end.
        reason: Why it waits or ended.
        died: How it ended, where its job did not say so.

    Example:
        >>> from covidmt.sweeps.folder import TrialOutcome, TrialRecord
        >>> record = TrialRecord("resnet50, seed 0", "resnet50", {"seed": 0}, run_id="4f0c")
        >>> outcome = TrialOutcome("preempted", "node7", 4711, begin=0.0, end=60.0, reason="checkpointed on SIGTERM")
        >>> status = TrialStatus.of(outcome, record)
        >>> status.state, status.node, status.seconds
        ('stopped', 'node7', 60.0)
    """

    state: str
    record: TrialRecord
    node: str = ""
    seconds: float | None = None
    reason: str = ""
    died: TrialOutcome | None = None

    @classmethod
    def of(cls, outcome: TrialOutcome, record: TrialRecord) -> TrialStatus:
        """Return the status that a job's own word means."""
        state = "stopped" if outcome.state == "preempted" else outcome.state
        return cls(state, record, outcome.node, outcome.seconds, outcome.reason or "")


def trial_statuses(sweep: SweepFolder, *, note: bool = True) -> dict[str, TrialStatus]:
    """Return the status of each trial, by id, in the sweep's order.

    A trial that died without a word is settled: its reason is noted, its run closed.

    Args:
        sweep: Submitted before.
        note: False: nothing is written.

    Raises:
        UserError: SLURM does not answer.
    """
    if note:
        slurm.note_left_arrays(sweep)
    records = [(trial, trial.record) for trial in sweep.trials]
    on_slurm = [record.job for _, record in records if record.job and record.launcher == "slurm"]
    queued = slurm.queue(on_slurm, sweep.path.stat().st_uid)
    launcher = sweep.has_launcher
    statuses = {trial.id: _status(trial, record, queued, launcher) for trial, record in records}
    if note:
        for trial, record in records:
            status = statuses[trial.id]
            if status.died and not _note(sweep, trial, status, status.died):  # its job has said meanwhile how it ended
                statuses[trial.id] = _status(trial, record, queued, launcher)
    return statuses


def find_trial(sweeps: Sequence[SweepFolder], name: str) -> tuple[SweepFolder, str]:
    """Return a trial by the beginning of its id.

    Args:
        sweeps: Where to look.
        name: Beginning of the id.

    Returns:
        The trial's sweep and its whole id.

    Raises:
        UserError: There is none, or several.
    """
    trials = [(sweep, trial) for sweep in sweeps for trial in sweep.submitted.trials]
    matches = [(sweep, trial) for sweep, trial in trials if trial.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise UserError(f"no trial {name!r}{nearest(name, [trial for _, trial in trials])}")
    several = ", ".join(f"{sweep.name}/{trial}" for sweep, trial in matches)
    raise UserError(f"{name!r} is not one trial: {several}")


def _status(trial: TrialFolder, record: TrialRecord, queued: dict[str, slurm.QueuedJob], launcher: bool) -> TrialStatus:
    outcome = trial.outcome
    if outcome is None and record.job is None:
        return TrialStatus("missing", record)
    if outcome and outcome.state == "finished":
        return TrialStatus.of(outcome, record)

    # SLURM has it in its queue
    job = queued.get(str(record.job))
    if job is not None:
        if job.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING"):
            return TrialStatus("waiting", record, reason="" if job.reason in ("None", "Resources") else job.reason)
        seconds = outcome.seconds if outcome and not outcome.end else None
        return TrialStatus("running", record, job.nodes, seconds)

    # a process of it lives, or will
    if trial.is_locked:  # on SLURM by a job whose submitter was killed before it had noted the job's id
        return TrialStatus.of(outcome, record) if outcome else TrialStatus("running", record)
    if record.launcher == "local" and outcome is None:  # not begun: it will be, unless its launcher has ended
        return TrialStatus("waiting" if launcher or trial.is_claimed else "missing", record)

    # it has ended
    if outcome and outcome.state in ("failed", "cancelled") and not str(outcome.reason).startswith(LOST):
        return TrialStatus.of(outcome, record)
    return _settle(record, outcome, trial.is_cancelled)


def _settle(record: TrialRecord, outcome: TrialOutcome | None, cancelled: bool) -> TrialStatus:
    """Return the status of a trial whose job is gone and did not say how it ended."""
    outcome = outcome or TrialOutcome("running", "", 0, begin=_log_time(record) or time.time())
    reason: str | None = "cancelled" if cancelled else ""
    if record.launcher == "slurm" and not cancelled:
        reason = slurm.fate(str(record.job))

    last_word = max(outcome.begin, _log_time(record))
    # A job that has ended well has said so, and shared disks may show it late.
    if reason is None or (reason == slurm.COMPLETED and time.time() - last_word < SETTLES):
        return TrialStatus("running", record, outcome.node, time.time() - outcome.begin)
    if outcome.state == "preempted" and reason != "cancelled":
        return TrialStatus.of(outcome, record)

    reason = reason or outcome.reason or f"{GONE}: killed, or its machine failed; see its log"
    state = "cancelled" if reason == "cancelled" else "failed"
    ended = outcome.ended(state, reason, end=outcome.end or last_word)
    return replace(TrialStatus.of(ended, record), died=ended)


def _log_time(record: TrialRecord) -> float:
    """Return when a trial's log was last written, seconds since 1970; 0: there is none."""
    log = Path(record.log) if record.log else None
    return log.stat().st_mtime if log and log.exists() else 0.0


def _note(sweep: SweepFolder, trial: TrialFolder, status: TrialStatus, outcome: TrialOutcome) -> bool:
    """Write on disk and on its run how a trial ended; return False if its job has done so meanwhile."""
    newest = trial.outcome
    if newest and newest.end not in (None, outcome.end):
        return False
    trial.save_outcome(outcome)
    close_run(sweep.submitted.store, status.record, status.state, status.reason)
    return True
