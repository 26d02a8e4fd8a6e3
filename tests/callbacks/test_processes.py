"""Who starts the processes, by the environment that torchrun, srun, sbatch, salloc and a left-over shell give."""

import os
from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only

from callbacks.processes import choose_environment, own_environment, require_processes, step_port
from covidmt.trainer import make_trainer
from experiments.errors import UserError

JOB = {"SLURM_JOB_ID": "4711", "SLURM_JOBID": "4711", "SLURM_JOB_NODELIST": "n1", "SLURM_NODELIST": "n1"}
SCRIPT = {"SLURM_JOB_NAME": "train.sh", "SLURM_NNODES": "1", "SLURM_NTASKS": "1"}
BATCH = {**JOB, **SCRIPT, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
LEFT_OVER = {**BATCH, "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_TASK_PID": "1999999"}
SALLOC = {**JOB, "SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "t", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # fmt: skip


def srun(per_node: str, tasks: int, nodes: int = 1, **more: str) -> dict[str, str]:
    return {
        **JOB,
        "SLURM_JOB_NAME": "train.sh",
        "SLURM_STEP_ID": "0",
        "SLURM_STEPID": "0",
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_STEP_TASKS_PER_NODE": per_node,
        "SLURM_NTASKS": str(tasks),
        "SLURM_NNODES": str(nodes),
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_TASK_PID": str(os.getppid()),
        **more,
    }


@pytest.fixture(autouse=True)
def rank(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    for name in [name for name in os.environ if name not in own_environment(os.environ)]:
        monkeypatch.delenv(name)


def start(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], **settings: object) -> Trainer:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return make_trainer({"accelerator": "cpu", **settings}, [], Path("mlruns"))


STARTS_ITS_OWN = {
    "a batch script without srun": BATCH,
    "sbatch --wrap": {**BATCH, "SLURM_JOB_NAME": "wrap"},
    "sbatch --ntasks=2 without srun": {**BATCH, "SLURM_NTASKS": "2"},
    "the shell of salloc": SALLOC,
    "one task of srun": srun("1", 1),
    "srun --pty bash": {**srun("1", 1), "SLURM_JOB_NAME": "bash"},
    "a tmux of a job that has ended": LEFT_OVER,
}


@pytest.mark.parametrize("shell", STARTS_ITS_OWN)
@pytest.mark.parametrize("devices", [1, 2])
def test_where_one_process_was_started_it_starts_the_others(monkeypatch: pytest.MonkeyPatch, shell: str, devices: int):
    monkeypatch.setattr(rank_zero_only, "rank", int(STARTS_ITS_OWN[shell].get("SLURM_PROCID", 0)))
    strategy = {"strategy": "ddp"} if devices > 1 else {}
    trainer = start(monkeypatch, STARTS_ITS_OWN[shell], devices=devices, **strategy)
    assert trainer.world_size == devices
    assert rank_zero_only.rank == 0  # whoever logs
    if devices > 1:
        environment = trainer.strategy.cluster_environment
        assert isinstance(environment, LightningEnvironment)
        assert not environment.creates_processes_externally
    with pytest.raises(UserError, match=r"put `srun --nodes=2 --ntasks-per-node=DEVICES` before"):
        start(monkeypatch, STARTS_ITS_OWN[shell], devices=devices, num_nodes=2, **strategy)


def test_torchrun_inside_of_a_job_is_one_training(monkeypatch: pytest.MonkeyPatch):
    for job in (BATCH, srun("1", 1), srun("1", 1, SLURM_NTASKS="4")):
        trainer = start(monkeypatch, {**job, **TORCHRUN}, devices=2, strategy="ddp")
        assert isinstance(trainer.strategy.cluster_environment, TorchElasticEnvironment)
        assert trainer.world_size == 2
    with pytest.raises(UserError, match=r"ask for 1 process\(es\) \(1 x 1\), but torchrun has started 2"):
        start(monkeypatch, {**BATCH, **TORCHRUN}, devices=1)
    with pytest.raises(UserError, match="torchrun has started 2"):
        start(monkeypatch, {**BATCH, **TORCHRUN}, devices=4, strategy="ddp")


@pytest.mark.parametrize(("per_node", "tasks", "nodes"), [("2", 2, 1), ("2(x2)", 4, 2)])
def test_tasks_of_srun_are_the_processes(monkeypatch: pytest.MonkeyPatch, per_node: str, tasks: int, nodes: int):
    """Also with ``--ntasks`` alone, which SLURM then deals out: there is no SLURM_NTASKS_PER_NODE."""
    variables = srun(per_node, tasks, nodes)
    trainer = start(monkeypatch, variables, devices=2, num_nodes=nodes, strategy="ddp")
    assert isinstance(trainer.strategy.cluster_environment, SLURMEnvironment)
    assert trainer.world_size == tasks
    assert os.environ["MASTER_PORT"] == str(step_port("4711", "0"))


@pytest.mark.parametrize(
    ("variables", "settings", "message"),
    [
        (srun("4", 4), {"devices": 2, "strategy": "ddp"}, "srun has started 4"),
        (srun("2", 2), {"devices": 1}, r"ask for 1 process\(es\) \(1 x 1\), but srun has started 2"),
        (srun("1(x2)", 2, 2), {"devices": 2, "strategy": "ddp"}, r"srun has started 2 \(1, 1 on its machines\)"),
        (srun("2", 2), {"devices": 1, "num_nodes": 2, "strategy": "ddp"}, r"ask for 2 .* but srun has started 2"),
        (srun("2(x2)", 4, 2), {"devices": 2, "strategy": "ddp"}, r"srun has started 4 \(2, 2 on its machines\)"),
        (srun("2(x2),1", 5, 3), {"devices": 2, "num_nodes": 3, "strategy": "ddp"}, r"unequally many .*\(2, 2, 1\)"),
        (srun("2", 2, SLURM_HET_SIZE="2"), {"devices": 2, "strategy": "ddp"}, "heterogeneous job"),
        (srun("2", 2, SLURM_TASK_PID="1999999"), {"devices": 2, "strategy": "ddp"}, "this process is none of them"),
    ],
)
def test_other_numbers_are_refused_before_any_process_waits(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], settings: dict[str, object], message: str
):
    with pytest.raises(UserError, match=message):
        start(monkeypatch, variables, **settings)


def test_the_number_that_runs_is_compared_when_the_fit_begins():
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    require_processes(trainer, 1)
    with pytest.raises(UserError, match="but there are 2"):
        require_processes(trainer, 2)


def test_outside_of_clusters_lightning_finds_out_by_itself(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")  # of a login node
    assert choose_environment(4) is None


def test_no_two_steps_on_a_machine_meet():
    jobs = [(str(job), str(step)) for job in range(4711, 4811) for step in range(3)]
    ports = {step_port(*job) for job in jobs}
    assert len(ports) == len(jobs)
    assert all(10_000 <= port < 30_000 for port in ports)
