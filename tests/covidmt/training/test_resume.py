"""A training that is killed or told to go, and started again, ends as if nothing had been."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from covidmt.tracking.folders import RunFolder
from covidmt.tracking.logger import MlflowSpoolLogger
from covidmt.training.resume import choose_run, hash_settings
from experiments.load import load_experiment
from experiments.schema import Tracking
from tests.conftest import REPO
from tests.helpers.kill import outcome, run_status, train

pytestmark = pytest.mark.slow

TINY = [
    "experiments/demo.yaml",
    "active_tasks=[covidx,rsna_boxes]",
    "data.image_size=32",
    "data.num_workers=0",
    "data.epoch_length=5",
    "data.pairs.limit=3",
    "model.backbone=timm:test_resnet",
    "model.transition_channels=8",
    "model.boxes.channels=8",
    "robustness.overlays=1",
    "robustness.batch_size=4",
    "tracking.system_metrics=false",
    "tracking.log_checkpoint=false",
    "checkpoint.every_n_steps=2",
    "checkpoint.keep=all",
    "trainer.accelerator=cpu",
    "trainer.deterministic=true",
    "trainer.enable_progress_bar=false",
    "trainer.max_epochs=3",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
    "trainer.log_every_n_steps=1",
]
SETTINGS = {
    "plain": ["scheduler.options={milestones: [1, 2]}"],
    # several validations an epoch, steps of two batches, a scheduler that looks at scores, the loader's workers
    "rich": [
        "trainer.val_check_interval=2",
        "trainer.accumulate_grad_batches=2",
        "trainer.log_every_n_steps=2",
        "scheduler.name=ReduceLROnPlateau",
        "scheduler.options={milestones: [8, 16, 20], patience: 0, threshold: 10.0}",
        "data.num_workers=1",
        "checkpoint.every_n_steps=1",
    ],
    "max_steps": ["trainer.max_epochs=-1", "trainer.max_steps=12", "checkpoint.every_n_steps=1"],
    "extra losses": ["losses.weighting=uncertainty", "losses.consistency=1", "losses.attention=1"],
    # long behind its checkpoint when it is killed, and told to go while it catches up
    "behind": ["trainer.max_epochs=1", "data.epoch_length=10", "checkpoint.every_n_steps=200"],
    "private": ["model.norm=group", "model.pretrained=false", "privacy.noise_multiplier=0.5"],
}
SMALL = ["experiments/small_data.yaml", *TINY[2:]]
Unbroken = Callable[[str, int], dict[str, Any]]


KILL, TERM, USR2 = int(signal.SIGKILL), int(signal.SIGTERM), int(signal.SIGUSR2)
Point = tuple[str, int, int, int]  # hook, how many times, rank, signal
# Each start meets the next point: n counts from there.
KILLS: dict[str, list[Point]] = {
    "plain": [
        ("on_train_batch_start", 2, 0, KILL),  # before the first checkpoint
        ("on_before_optimizer_step", 4, 1, KILL),
        ("on_train_batch_end", 2, 0, KILL),
        ("write", 1, 0, KILL),
        ("on_validation_batch_end", 1, 1, KILL),
        ("on_validation_epoch_end", 1, 0, KILL),  # PI and OLS done, not sent
        ("on_train_epoch_end", 1, 0, KILL),
        ("on_train_epoch_start", 1, 1, KILL),
        ("on_train_batch_end", 3, 0, KILL),
        ("on_validation_start", 1, 0, KILL),
        ("on_train_batch_start", 2, 1, KILL),
        ("on_train_end", 1, 0, KILL),
        ("on_test_batch_end", 1, 1, KILL),
        ("on_test_end", 1, 0, KILL),
    ],
    "rich": [
        ("on_train_batch_end", 3, 0, KILL),  # accumulated, no step yet
        ("on_validation_end", 1, 0, KILL),
        ("on_validation_batch_end", 3, 0, KILL),
        ("on_train_epoch_end", 1, 0, KILL),
        ("write", 2, 0, KILL),
        ("on_train_batch_start", 4, 0, KILL),
        ("on_validation_epoch_end", 1, 1, KILL),
        ("on_train_batch_end", 5, 0, KILL),
    ],
    "extra losses": [("on_train_batch_end", 4, 0, KILL), ("on_train_batch_start", 3, 1, KILL)],
    "max_steps": [
        ("on_train_batch_start", 4, 0, KILL),
        ("on_train_batch_end", 3, 0, KILL),
        ("on_train_epoch_start", 1, 1, KILL),
        ("on_test_batch_end", 1, 0, KILL),
    ],
}
RICH_SIGNALS: list[Point] = [("on_train_batch_end", 3, 0, TERM), ("on_validation_end", 1, 1, USR2)]
BEHIND_SIGNALS: list[Point] = [("on_train_batch_end", 9, 0, KILL), ("on_train_batch_start", 3, 0, TERM)]
SIGNALS: dict[tuple[str, int], list[Point]] = {
    ("plain", 1): [
        ("on_train_batch_start", 3, 0, USR2),
        ("on_validation_batch_end", 1, 0, TERM),
        ("on_validation_epoch_end", 1, 0, USR2),  # PI and OLS done
        ("on_train_batch_end", 2, 0, TERM),
        ("on_validation_end", 2, 0, USR2),  # the last one: the test is not begun
        ("on_test_batch_end", 1, 0, TERM),
    ],
    # One of torchrun's processes may be alone with a signal: there a validation is finished first, and a test.
    ("plain", 2): [
        ("on_train_batch_start", 3, 1, USR2),
        ("on_validation_batch_end", 1, 0, TERM),
        ("on_validation_epoch_end", 1, 0, USR2),
        ("on_train_batch_end", 2, 1, TERM),
        ("on_validation_end", 1, 0, USR2),  # the last one
    ],
    ("rich", 1): RICH_SIGNALS,
    ("rich", 2): RICH_SIGNALS,
    ("behind", 1): BEHIND_SIGNALS,
    ("behind", 2): BEHIND_SIGNALS,
}


def command(data: Path, settings: str, processes: int, points: list[Point]) -> list[str]:
    stops = json.dumps([(hook, number, min(rank, processes - 1), signum) for hook, number, rank, signum in points])
    stop = f"{{class_path: tests.helpers.kill.Stop, init_args: {{points: {stops}}}}}"
    devices = ["trainer.devices=2", "trainer.strategy=ddp"] if processes == 2 else []
    callbacks = f"trainer.callbacks=[{{class_path: tests.helpers.kill.Noise}}, {stop}]"
    return [*(SMALL if settings == "private" else TINY), *SETTINGS[settings], *devices, f"data.root={data}", callbacks]


@pytest.fixture(scope="module")
def unbroken(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """What a training that is left alone ends with."""
    known: dict[tuple[str, int], dict[str, Any]] = {}

    def get(settings: str, processes: int) -> dict[str, Any]:
        if (settings, processes) not in known:
            folder = tmp_path_factory.mktemp(f"{settings}-{processes}")
            assert train(folder, command(demo_data, settings, processes, []), processes) == [0] * processes
            known[settings, processes] = outcome(folder)
        return known[settings, processes]

    return get


def assert_same(left: Any, right: Any, where: str = "") -> None:
    """Equal to the last bit, at any depth."""
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype, where
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}/{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for number, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{where}/{number}")
    else:
        assert left == right, where


def check(unbroken: Unbroken, data: Path, folder: Path, settings: str, points: list[Point], processes: int = 1) -> None:
    """The same command over and over, until it is through."""
    arguments = command(data, settings, processes, points)
    for point in points:
        ended = train(folder, arguments, processes)
        text = (folder / "log-0.txt").read_text()
        if point[3] == KILL:
            assert -KILL in ended, (point, text)
        else:
            check_preempted(ended, folder, point[3])
    assert train(folder, arguments, processes) == [0] * processes, (folder / "log-0.txt").read_text()
    ended = outcome(folder)
    assert ended["status"] == "FINISHED"
    assert ended["files"] == ["best.ckpt", "last.ckpt"]
    assert_same(ended, unbroken(settings, processes))


def check_preempted(ended: list[int | None], folder: Path, signum: int) -> None:
    text = (folder / "log-0.txt").read_text()
    assert ended == [128 + signum, *[0] * (len(ended) - 1)], text
    assert "the same command resumes" in text.splitlines()[-1]
    assert run_status(folder) == "SCHEDULED"


def test_a_run_that_is_broken_off_ends_as_if_it_had_not_been(unbroken: Unbroken, demo_data: Path, tmp_path: Path):
    points = [
        ("on_train_batch_end", 4, 0, KILL),
        ("on_validation_batch_end", 1, 0, KILL),
        ("on_train_batch_start", 3, 0, TERM),
    ]
    check(unbroken, demo_data, tmp_path, "plain", points)


def test_a_private_run_goes_on_with_its_noise_its_draws_and_its_epsilon(
    unbroken: Unbroken, demo_data: Path, tmp_path: Path
):
    check(unbroken, demo_data, tmp_path, "private", [("on_train_batch_end", 4, 0, KILL)])


@pytest.mark.kill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("settings", list(KILLS))
def test_kills(unbroken: Unbroken, demo_data: Path, tmp_path: Path, settings: str, processes: int):
    check(unbroken, demo_data, tmp_path, settings, KILLS[settings], processes)


@pytest.mark.kill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("settings", "processes"), list(SIGNALS))
def test_preemption(unbroken: Unbroken, demo_data: Path, tmp_path: Path, settings: str, processes: int):
    check(unbroken, demo_data, tmp_path, settings, SIGNALS[settings, processes], processes)


@pytest.mark.kill
@pytest.mark.parametrize(("hook", "number"), [("on_train_batch_end", 7), ("on_validation_batch_end", 1)])
def test_sigterm_under_lightnings_own_launcher(
    unbroken: Unbroken, demo_data: Path, tmp_path: Path, hook: str, number: int
):
    arguments = command(demo_data, "plain", 2, [(hook, number, 0, TERM)])
    (tmp_path / "log-0.txt").touch()
    ended = []
    for _ in range(2):
        with (tmp_path / "log-0.txt").open("a") as log:
            ended.append(
                subprocess.run(
                    [sys.executable, "-m", "covidmt", "train", *arguments],
                    cwd=tmp_path,
                    env=os.environ | {"PYTHONPATH": str(REPO)},
                    stdout=log,
                    stderr=log,
                    timeout=500,
                    check=False,
                ).returncode
            )
        if len(ended) == 1:
            check_preempted(ended.copy(), tmp_path, TERM)
    assert ended[1] == 0, (tmp_path / "log-0.txt").read_text()
    assert_same(outcome(tmp_path), unbroken("plain", 2))


def test_what_auto_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The newest unfinished run of the same settings that the store knows and that no process writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("covidmt.tracking.spool.place.GRACE", 0.1)
    experiment = load_experiment(REPO / "experiments" / "demo.yaml")
    other = load_experiment(REPO / "experiments" / "demo.yaml", ["seed=1"])
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)

    def chosen(resume: str = "auto", run_id: str | None = None) -> str | None:
        run = choose_run(experiment, resume, run_id, trainer)
        run.release()
        return run.run_id

    assert chosen() is None
    loggers = [MlflowSpoolLogger(Tracking(system_metrics=False)) for _ in range(3)]
    old, new, others = (str(logger.version) for logger in loggers)
    for run_id, settings in {old: experiment, new: experiment, others: other, "unknown": experiment}.items():
        RunFolder(run_id).begin(hash_settings(settings))
    for seconds, run_id in enumerate((old, new, others, "unknown")):
        os.utime(RunFolder(run_id).checkpoints / "unfinished", (seconds, seconds))
    assert chosen() is None  # all are being written
    loggers[0].close()
    assert chosen() == old
    loggers[1].close()
    loggers[2].close()
    assert chosen() == new
    RunFolder(new).finish()
    assert chosen() == old
    assert chosen("never") is None
    assert chosen(run_id=others) == others
    RunFolder(others).last.touch()
    assert chosen("never", others) == others
    assert not RunFolder(others).last.exists()


def test_whoever_has_waited_for_a_run_reads_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two equal commands at once: the second has seen an unfinished run, which the first finishes meanwhile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    experiment = load_experiment(REPO / "experiments" / "demo.yaml")
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    logger = MlflowSpoolLogger(Tracking(system_metrics=False))
    run = RunFolder(str(logger.version))
    run.begin(hash_settings(experiment))
    logger.close()
    first = choose_run(experiment, "auto", None, trainer)
    assert (first.run_id, first.lock is not None) == (run.run_id, True)

    def end() -> None:
        run.finish()
        first.release()

    timer = threading.Timer(1, end)
    timer.start()
    assert choose_run(experiment, "auto", None, trainer).run_id is None
    assert not timer.is_alive()  # it has waited


def test_a_disk_that_fills_up_in_a_training_and_has_room_again(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]  # the store and the spool, and no checkpoint
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here (needs root)")
    try:
        monkeypatch.chdir(disk)
        arguments = ["train", *TINY, "trainer.max_epochs=1", "model.transition_channels=64", f"data.root={demo_data}"]
        assert covidmt(*arguments) == 2
        said = capfd.readouterr().err
        assert "Traceback" not in said
        assert "covidmt: " in said.splitlines()[-1]
        assert "No space left on device" in said.splitlines()[-1]
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        assert covidmt(*arguments) == 0
        assert "has no checkpoint yet: it begins with its first step" in capfd.readouterr().out
        ended = outcome(disk)
        assert ended["status"] == "FINISHED"
        logged = [
            step for (key, step, _), count in ended["metrics"].items() if key == "train/loss" for _ in range(count)
        ]
        assert sorted(logged) == [*range(5)]
    finally:
        monkeypatch.chdir(tmp_path)
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
