import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing import util
from pathlib import Path

import pytest

from datamodules.loaders import JobLoader
from tests.conftest import REPO

SCRIPT = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
import pytest

from datamodules.loaders import JobLoader

def wait(file):
    signal.signal(signal.SIGTERM, lambda *_: (Path(file).write_text("asked to end"), sys.exit()))
    Path(file).write_text("ready")
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    other = multiprocessing.Process(target=wait, args=(sys.argv[1],), daemon=True)
    other.start()
    while not Path(sys.argv[1]).exists():
        time.sleep(0.01)
    iterator = iter(JobLoader(range(100), num_workers=1))
    next(iterator)
    (worker,) = set(multiprocessing.active_children()) - {other}
    print(worker.pid)
    raise ValueError("an error that leaves the loader's iterator behind")
"""


@pytest.mark.slow
def test_what_an_error_leaves_behind_ends_with_the_process(tmp_path: Path):
    """The loader's workers, which ignore SIGTERM; and nobody else's process is killed."""
    script, other = tmp_path / "script.py", tmp_path / "other"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    command = [sys.executable, script, other]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("ValueError: an error that leaves the loader's iterator behind")
    assert not Path(f"/proc/{int(ended.stdout)}").exists()
    assert other.read_text() == "asked to end"


CYCLE = """
import gc, multiprocessing
import pytest

from datamodules.loaders import JobLoader

def break_off():
    iterator = iter(JobLoader(range(100), num_workers=1))
    next(iterator)
    try:
        raise ValueError
    except ValueError as error:
        error.itself = error

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    break_off()
    (worker,) = multiprocessing.active_children()
    gc.collect()
    print(worker.pid)
"""


@pytest.mark.slow
def test_what_is_left_behind_in_a_cycle_of_garbage_ends_with_the_process(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(CYCLE)
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    ended = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert not Path(f"/proc/{int(ended.stdout)}").exists()


def exit_hooks() -> list[tuple[int, int]]:
    """What the loaders have left for the end of this process."""
    return [key for key in util._finalizer_registry if key[0] == 1]


CHILD = """
import multiprocessing
import pytest

from datamodules.loaders import JobLoader

def train(connection):
    iterator = iter(JobLoader(range(100), num_workers=1))
    next(iterator)
    (worker,) = multiprocessing.active_children()
    connection.send(worker.pid)
    raise SystemExit(iterator)  # who holds it outlives the function

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    child = context.Process(target=train, args=(there,))
    child.start()
    print(here.recv())
    child.join(60)
    print(child.exitcode)
"""


@pytest.mark.slow
def test_what_a_process_of_multiprocessing_leaves_behind_ends_with_it(tmp_path: Path):
    """Such processes end without `atexit`, and wait for their children."""
    script = tmp_path / "script.py"
    script.write_text(CHILD)
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    ended = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    pid, status = ended.stdout.split()
    assert status == "1", ended.stderr
    assert not Path(f"/proc/{pid}").exists()


def test_workers_survive_a_scheduler_and_their_hook_goes_with_them():
    hooks, others = exit_hooks(), set(multiprocessing.active_children())  # of other tests
    iterator = iter(JobLoader(range(100), num_workers=1))
    assert int(next(iterator)) == 0
    (hook,) = set(exit_hooks()) - set(hooks)

    (worker,) = set(multiprocessing.active_children()) - others
    for number in (signal.SIGTERM, signal.SIGUSR2):
        os.kill(worker.pid, number)
    time.sleep(0.2)
    assert [int(number) for number in iterator] == list(range(1, 100))

    del iterator
    gc.collect()
    assert hook not in exit_hooks()
    assert worker not in multiprocessing.active_children()


def test_without_workers_there_is_no_hook():
    hooks = exit_hooks()
    assert len(list(JobLoader(range(3)))) == 3
    assert exit_hooks() == hooks


LARGE = """
import sys, torch
import pytest

from datamodules.loaders import JobLoader
from experiments.errors import explain_shared_memory

if __name__ == "__main__":
    try:
        list(JobLoader(torch.ones(8, 1024, 1024), batch_size=2, num_workers=1))
    except RuntimeError as error:
        sys.exit(explain_shared_memory(error) or f"not explained: {error}")
"""


def test_shared_memory_that_is_full_is_named(tmp_path: Path):
    """A real /dev/shm of 1 MB, seen by this process alone."""
    (tmp_path / "script.py").write_text(LARGE)
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here (needs root)")
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$0" script.py', sys.executable],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 1
    for words in ("/dev/shm is full", "--shm-size", "data.num_workers"):
        assert words in ended.stderr
