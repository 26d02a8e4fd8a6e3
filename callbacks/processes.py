"""Who starts a training's processes: torchrun, SLURM's srun, or Lightning; and whether they are as many as asked for.

SLURM's variables alone do not tell: a batch script, the shell of ``salloc``, a ``tmux`` that outlives its job and the
tasks of ``srun`` all have them. Only srun starts tasks (``SLURM_STEP_NUM_TASKS``), each of which is a process below
``SLURM_TASK_PID``. Everywhere else Lightning starts the processes itself, on one machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from experiments.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.plugins.environments import ClusterEnvironment

# what tells a process of its place among others
_PLACE = re.compile(
    r"(?!SLURM_CONF$)(SLURM|PMI|PMIX|OMPI|JSM|TORCHELASTIC|GROUP|ROLE)_\w+|SLURM_JOBID|"
    r"(GLOBAL_|LOCAL_|NODE_)?RANK|(LOCAL_)?WORLD_SIZE|MASTER_(ADDR|PORT)|COVIDMT_RUN_ID"
)
PLACE_NAMES = ("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
SRUN = "srun has started"
FIRST_PORT, PORTS = 10_000, 20_000  # below those that the system hands out


def own_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables without those that tell a process of its place among others.

    A training that is started with them is one of its own, with a port of its own, also inside of an allocation.

    Example:
        >>> from callbacks.processes import own_environment
        >>> own_environment({"SLURM_JOB_ID": "12", "MASTER_PORT": "12345", "SLURM_CONF": "/etc/slurm.conf"})
        {'SLURM_CONF': '/etc/slurm.conf'}
    """
    return {name: value for name, value in variables.items() if not _PLACE.fullmatch(name)}


def step_tasks(variables: Mapping[str, str] | None = None) -> list[int]:
    """Return how many tasks srun has started on each machine, if this process is one of them; else nothing.

    Args:
        variables: None: this process's environment.

    Raises:
        UserError: The variables are of a step of several tasks that this process is none of.

    Example:
        >>> from callbacks.processes import step_tasks
        >>> step_tasks({"SLURM_STEP_NUM_TASKS": "5", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1"})
        [2, 2, 1]
        >>> step_tasks({"SLURM_JOB_ID": "12", "SLURM_NTASKS": "4"})  # a batch script, or the shell of salloc
        []
    """
    variables = os.environ if variables is None else variables
    tasks = int(variables.get("SLURM_STEP_NUM_TASKS", 0))
    if tasks == 0:
        return []
    if not _is_below(variables.get("SLURM_TASK_PID")):
        if tasks > 1:
            raise UserError(
                f"SLURM's variables tell of a step of {tasks} tasks, but this process is none of them (they were left "
                "over in this shell, or hidden by a container's own process ids): start it in a new shell, or with "
                "`env -u SLURM_STEP_NUM_TASKS`, or the container with the host's process ids"
            )
        return []

    counts: list[int] = []
    for part in variables.get("SLURM_STEP_TASKS_PER_NODE", str(tasks)).split(","):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts


def choose_environment(num_nodes: int) -> ClusterEnvironment | None:
    """Return Lightning's cluster environment where SLURM's variables are set; None: Lightning finds out by itself.

    Args:
        num_nodes: The machines that the experiment asks for (``trainer.num_nodes``).

    Raises:
        UserError: SLURM gives the processes in another way than a training can use.
    """
    from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
    from lightning.pytorch.utilities import rank_zero_only

    if TorchElasticEnvironment.detect():  # torchrun, also inside of a job
        return TorchElasticEnvironment()
    if not any(name.startswith("SLURM_") and name != "SLURM_CONF" for name in os.environ):
        return None

    counts = step_tasks()
    if sum(counts) <= 1:  # a batch script, a shell, one task: Lightning starts the others
        if num_nodes > 1:
            raise UserError(
                f"trainer.num_nodes={num_nodes}: one process has been started, and it cannot start others on other "
                f"machines: put `srun --nodes={num_nodes} --ntasks-per-node=DEVICES` before the command"
            )
        if not {"RANK", "LOCAL_RANK"} & os.environ.keys():
            setattr(rank_zero_only, "rank", 0)  # noqa: B010  whatever SLURM_PROCID says
        return LightningEnvironment()

    # one of srun's tasks
    if int(os.environ.get("SLURM_HET_SIZE", 1)) > 1:
        raise UserError(
            "a training cannot run in a heterogeneous job, whose parts count their processes each for itself: submit a "
            "job of one kind of machine (no `:` in sbatch or srun)"
        )
    if len(set(counts)) > 1:
        raise UserError(
            f"srun has started unequally many processes on its machines ({', '.join(map(str, counts))}): say "
            "`srun --ntasks-per-node=DEVICES` with DEVICES as in trainer.devices"
        )
    os.environ["SLURM_NTASKS"], os.environ["SLURM_NTASKS_PER_NODE"] = str(sum(counts)), str(counts[0])
    os.environ["SLURM_NNODES"] = str(len(counts))
    os.environ.setdefault("MASTER_PORT", str(step_port(os.environ["SLURM_JOB_ID"], os.environ["SLURM_STEP_ID"])))
    # Lightning's own requeue keeps its checkpoints in one folder for all runs, and every run would start from them.
    return SLURMEnvironment(auto_requeue=False)


def step_port(job: str, step: str) -> int:
    """Return the port at which a step's processes meet: one of its own among all that share a machine with it.

    Example:
        >>> from callbacks.processes import step_port
        >>> step_port("4711", "0"), step_port("4711", "1"), step_port("4712", "0")
        (14711, 20884, 14712)
    """
    return FIRST_PORT + (int(job) + 6173 * int(step)) % PORTS


def require_processes(trainer: Trainer, running: int | None = None) -> None:
    """Refuse to train on another number of processes than was asked for.

    Args:
        trainer: Knows what was asked for.
        running: How many there are; None: as many as whoever started them says.

    Raises:
        UserError: Saying both numbers, and how to make them equal.
    """
    asked = [trainer.num_devices] * trainer.num_nodes
    if running is not None:
        source, started = "there are", [running]
    else:
        source, started = _started(asked)
    if sum(started) != sum(asked) or (source == SRUN and started != asked):
        each = f" ({', '.join(map(str, started))} on its machines)" if len(started) > 1 else ""
        raise UserError(
            f"trainer.devices, trainer.num_nodes: ask for {sum(asked)} process(es) ({trainer.num_nodes} x "
            f"{trainer.num_devices}), but {source} {sum(started)}{each}: set them to what is started, or start "
            f"{trainer.num_devices} on each machine (srun --nodes={trainer.num_nodes} "
            f"--ntasks-per-node={trainer.num_devices}, torchrun --nproc-per-node={trainer.num_devices})"
        )


def _started(otherwise: list[int]) -> tuple[str, list[int]]:
    """Return who has started the processes, and how many on each machine, as far as that is known.

    Args:
        otherwise: Where nobody but Lightning will start them.
    """
    from lightning.pytorch.plugins.environments import TorchElasticEnvironment

    if TorchElasticEnvironment.detect():
        return "torchrun has started", [int(os.environ.get("WORLD_SIZE", 1))]
    tasks = step_tasks()
    return (SRUN, tasks) if sum(tasks) > 1 else ("there are", otherwise)


def _is_below(pid: str | None) -> bool:
    """Return whether a process is this one or one that has started it, at any remove."""
    if pid is None:
        return True
    import psutil

    process = psutil.Process()
    return int(pid) in {process.pid, *(parent.pid for parent in process.parents())}
