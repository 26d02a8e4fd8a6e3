"""Trials as job arrays on SLURM, through submitit; what SLURM says of them."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from callbacks.processes import PLACE_NAMES
from covidmt.sweeps.folder import SweepFolder, TrialFolder
from covidmt.sweeps.snapshot import job_environment
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.sweep_schema import Launcher

if TYPE_CHECKING:
    from submitit import SlurmExecutor

T = TypeVar("T")

# SLURM's word for how a job ended, and ours.
FATES = {
    "OUT_OF_MEMORY": "out of memory (launcher.mem_gb)",
    "NODE_FAIL": "node failure",
    "BOOT_FAIL": "node failure: it did not boot",
    "TIMEOUT": "time limit (launcher.time_hours) before a checkpoint could be written (launcher.signal_seconds)",
    "DEADLINE": "time limit: the cluster's deadline",
    "PREEMPTED": "preempted by the cluster, which does not requeue",
    "CANCELLED": "cancelled",
}
COMPLETED = "completed without a word of how its training ended; see its log"
ENDED = {*FATES, "COMPLETED", "FAILED", "REVOKED"}  # SLURM's words for a job's end; all others are on the way there


@dataclass(frozen=True)
class QueuedJob:
    """A job that SLURM still has.

    Attributes:
        state: ``PENDING``, ``RUNNING``, ``COMPLETING``, ...
        nodes: Where it runs; empty while it waits.
        reason: Why it waits.
    """

    state: str
    nodes: str
    reason: str


@dataclass(frozen=True)
class ArrayPlan:
    """The trials of an array, noted before SLURM is given it, until their jobs are noted: ``jobs/<token>.plan``.

    A submitter that is killed in between leaves it, and the array is found by the token in its comment.

    Attributes:
        path: The note.
        token: What the array's comment has.
        trials: Ids, in the array's order.
    """

    path: Path
    token: str
    trials: list[str]

    @classmethod
    def make(cls, sweep: SweepFolder, trials: list[str]) -> ArrayPlan:
        """Note a new plan."""
        token = secrets.token_hex(8)
        plan = cls(sweep.path / "jobs" / f"{token}.plan", token, trials)
        with replace_file(plan.path) as new:
            new.write_text(json.dumps(trials))
        return plan

    @classmethod
    def left(cls, sweep: SweepFolder) -> list[ArrayPlan]:
        """Return the plans whose jobs have not been noted."""
        paths = sorted((sweep.path / "jobs").glob("*.plan"))
        return [cls(path, path.stem, json.loads(path.read_text())) for path in paths]


def note_left_arrays(sweep: SweepFolder) -> None:
    """Note the jobs of arrays whose submitter was killed before it had done so, as far as SLURM knows them.

    Raises:
        UserError: SLURM does not answer.
    """
    plans = ArrayPlan.left(sweep)
    if not plans:
        return
    user = sweep.path.stat().st_uid
    queued = _output("squeue", "--noheader", "--array", f"--user={user}", "--format=%i|%k").splitlines()
    ended = _output("scontrol", "show", "job", "--oneliner").splitlines()  # those of a few minutes
    for plan in plans:
        mark = f"covidmt:{plan.token}"
        jobs = {line.partition("|")[0] for line in queued if mark in line}
        for line in ended:
            if mark in line:
                jobs |= {f"{array}_{task}" for array, task in re.findall(r"ArrayJobId=(\d+) ArrayTaskId=(\d+)\b", line)}

        for number, trial in enumerate(map(sweep.trial, plan.trials)):
            for job in jobs:
                if job.endswith(f"_{number}") and trial.record.job != job:
                    log_file = str(sweep.path / "jobs" / f"{job}_0_log.out")
                    trial.save_record(replace(trial.record, job=job, launcher="slurm", log=log_file))


def submit(sweep: SweepFolder, trials: Iterable[str], launcher: Launcher) -> None:
    """Submit trials as one array, or as several where the cluster's MaxArraySize is smaller; write down each job's id.

    Several arrays share ``launcher.array_parallelism``; where they are more than that, one begins at another's end.

    Args:
        sweep: The sweep.
        trials: Ids.
        launcher: What each gets.

    Raises:
        UserError: There is no SLURM here, or it refuses the job.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    for plan in ArrayPlan.left(sweep):  # their jobs are noted by now, or there are none
        plan.path.unlink()
    shapes: dict[tuple[int, int], list[TrialFolder]] = {}
    for trial in map(sweep.trial, trials):
        trainer = trial.experiment().trainer if trial.has_experiment else sweep.submitted.trainer
        shapes.setdefault((trainer["num_nodes"], trainer["devices"]), []).append(trial)
    most = max_array_size()
    arrays = [(shape, part) for shape, group in shapes.items() for part in split_evenly(group, most)]

    # as many chains of arrays as may run at a time; each array of a chain waits for the one before
    chains, after = min(launcher.array_parallelism, len(arrays)), dict[int, str]()
    for number, ((nodes, tasks), part) in enumerate(arrays):
        chain = number % chains
        share = launcher.array_parallelism // chains + (chain < launcher.array_parallelism % chains)
        plan = ArrayPlan.make(sweep, [trial.id for trial in part])
        executor = make_executor(sweep, launcher, nodes, tasks, share, after.get(chain), plan.token)
        try:
            jobs = executor.map_array(_run, [str(sweep.path)] * len(part), [trial.id for trial in part])
        except (FailedJobError, FailedSubmissionError, OSError, subprocess.SubprocessError) as error:
            if "timed out" not in str(error).lower():  # else SLURM may have it all the same, and the plan tells
                plan.path.unlink()
            raise UserError(f"launcher: SLURM does not take the job: {' '.join(str(error).split())[-500:]}") from error
        for trial, job in zip(part, jobs, strict=True):
            log_file = str(job.task(0).paths.stdout)
            trial.save_record(replace(trial.record, job=job.job_id, launcher="slurm", log=log_file))
        plan.path.unlink()
        after[chain] = jobs[0].job_id.partition("_")[0]


def split_evenly(group: Sequence[T], most: int) -> list[Sequence[T]]:
    """Return the group in as few parts as possible of at most so many, dealt out in turn.

    Example:
        >>> from covidmt.sweeps.slurm import split_evenly
        >>> split_evenly("abcde", 2)
        ['ad', 'be', 'c']
    """
    parts = -(-len(group) // most)
    return [group[first::parts] for first in range(parts)]


def make_executor(
    sweep: SweepFolder,
    launcher: Launcher,
    nodes: int,
    tasks: int,
    parallelism: int,
    after: str | None = None,
    token: str = "",
) -> SlurmExecutor:
    """Return submitit's executor for trials of that many machines and processes a machine.

    Args:
        sweep: The sweep.
        launcher: What each gets.
        nodes: Machines of a trial.
        tasks: Its processes on each.
        parallelism: Trials at a time.
        after: A job, or array of jobs, whose end they wait for; None: they start at once.
        token: Of an `ArrayPlan`, which the jobs' comment has.

    Raises:
        UserError: There is no SLURM on this machine.
    """
    from submitit import SlurmExecutor

    try:
        executor = SlurmExecutor(sweep.path / "jobs", python=launcher.python)
    except RuntimeError as error:
        raise UserError("launcher.kind=slurm: this machine has no srun; submit from a login node") from error

    environment, options = job_environment(Path(sweep.submitted.code)), dict(launcher.options)
    if after:
        options["dependency"] = ",".join([*filter(None, [options.get("dependency")]), f"afterany:{after}"])
    if token:
        options["comment"] = " ".join([*filter(None, [options.get("comment")]), f"covidmt:{token}"])
    gpus = {"gpus_per_node": launcher.gpus_per_node} if launcher.gpus_per_node else {}
    chosen = {
        "cpus_per_task": launcher.cpus_per_task,
        "mem": f"{round(launcher.mem_gb * 1024)}M" if launcher.mem_gb else None,
        "partition": launcher.partition,
        "account": launcher.account,
        "constraint": launcher.constraint,
    }

    executor.update_parameters(
        job_name=sweep.name,
        time=max(1, round(launcher.time_hours * 60)),
        nodes=nodes,
        ntasks_per_node=tasks,
        signal_delay_s=launcher.signal_seconds,
        array_parallelism=parallelism,
        stderr_to_stdout=True,
        setup=[
            f"unset {' '.join(PLACE_NAMES)}",  # of the shell that submits: trials on one machine would meet
            *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
            *launcher.setup,
        ],
        # A process that dies takes the others with it, which would else wait for it until the time limit. From 22.05 on
        # srun does not take the cores of a task from the job that it is in.
        srun_args=[
            "--kill-on-bad-exit=1",
            *([f"--cpus-per-task={launcher.cpus_per_task}"] if launcher.cpus_per_task else []),
        ],
        additional_parameters={"requeue": True, **options},
        **gpus,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    return executor


def queue(jobs: Iterable[str], user: int) -> dict[str, QueuedJob]:
    """Return those jobs that SLURM has in its queue, by id.

    Args:
        jobs: Job ids.
        user: Id of the user who submitted them.

    Raises:
        UserError: SLURM does not answer.
    """
    arrays = {job.partition("_")[0] for job in jobs}
    if not arrays:
        return {}
    # The job ids are not given to squeue, which fails on one that it has forgotten.
    text = _output("squeue", "--noheader", "--array", f"--user={user}", "--format=%i|%T|%N|%r")
    queued = parse_queue(text)
    return {job: entry for job, entry in queued.items() if job.partition("_")[0] in arrays}


def parse_queue(text: str) -> dict[str, QueuedJob]:
    r"""Return the jobs of squeue's output in the format ``%i|%T|%N|%r``, by id.

    Example:
        >>> from covidmt.sweeps.slurm import parse_queue
        >>> parse_queue("12_0|RUNNING|node7|None\n12_1|PENDING||Resources")["12_1"]
        QueuedJob(state='PENDING', nodes='', reason='Resources')
    """
    entries = (line.split("|", 3) for line in text.splitlines() if line)
    return {job: QueuedJob(*columns) for job, *columns in entries}


def fate(job: str) -> str | None:
    """Return why a job that is not in the queue has ended: from accounting, else from what the controller remembers.

    Returns:
        Empty: SLURM has forgotten the job. None: it has not ended yet; accounting is behind, or the job is cleaned up.
    """
    word, code = _ask_accounting(job)
    if word not in ENDED:
        word, code = _ask_controller(job)
    if word not in ENDED:
        return None if word else ""
    return describe_end(word, code)


def describe_end(word: str, code: str) -> str:
    """Return a job's end in words.

    Args:
        word: SLURM's state, one of `ENDED`.
        code: SLURM's exit code, ``<status>:<signal>``.

    Example:
        >>> from covidmt.sweeps.slurm import describe_end
        >>> describe_end("NODE_FAIL", "0:0")
        'node failure'
        >>> describe_end("FAILED", "137:0"), describe_end("FAILED", "2:0")
        ('killed by signal 9; see its log', 'failed with exit status 2; see its log')
    """
    if word in FATES:
        return FATES[word]
    status, _, number = code.partition(":")
    if number not in ("", "0") or (status.isdecimal() and int(status) > 128):
        return f"killed by signal {number if number != '0' else int(status) - 128}; see its log"
    return COMPLETED if word == "COMPLETED" else f"{word.lower()} with exit status {status}; see its log"


def _ask_accounting(job: str) -> tuple[str, str]:
    """Return SLURM's word for the job's state, and its exit code, from accounting; empty where that has nothing."""
    try:
        lines = _output("sacct", "--noheader", "--parsable2", "--allocations", "--format=State,ExitCode", "--jobs", job)
        state, code = (lines.splitlines() or [""])[-1].split("|")
    except (UserError, ValueError):
        return "", ""
    return (state.split() or [""])[0].rstrip("+"), code  # CANCELLED by 1000


def _ask_controller(job: str) -> tuple[str, str]:
    """Return the same from the controller, which forgets after its MinJobAge."""
    try:
        fields = dict(re.findall(r"(\w+)=(\S+)", _output("scontrol", "show", "job", "--oneliner", job)))
    except UserError:
        return "", ""
    return fields.get("JobState", ""), fields.get("ExitCode", "")


def cancel_jobs(jobs: Sequence[str]) -> None:
    """Have SLURM end those jobs; running ones write a checkpoint if they can within the cluster's KillWait."""
    if jobs:
        _output("scancel", *jobs)


def max_array_size() -> int:
    """Return the most jobs that an array of this cluster can have."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", _output("scontrol", "show", "config"))
    return max(1, int(match.group(1))) if match else 1001


def _run(folder: str, trial: str) -> None:
    """Run a trial: what submitit calls. The import is in here, so that the submitter needs no torch."""
    heard: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR2):  # of submitit, which would requeue at the second too
        signal.signal(number, lambda signum, frame: heard.append(signum))
    from covidmt.sweeps.job import main

    main(folder, trial, heard)


def _output(*command: Any) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: no such command on this machine: is SLURM here?") from error
    except subprocess.SubprocessError as error:
        reason = " ".join((getattr(error, "stderr", None) or str(error)).split())
        raise UserError(f"{' '.join(command)}: {reason}") from error
