import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

REPO = Path(__file__).parents[3]
SLEEP = """
import time
from datamodules.images.processes import in_processes
list(in_processes(time.sleep, [99] * 2, 2, ''))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_goes_on_without_the_one_that_began_it(number: signal.Signals):
    parent = subprocess.Popen([sys.executable, "-c", SLEEP], cwd=REPO)
    known: list[psutil.Process] = []
    while len(known) < 4:  # the server that forks, the resource tracker, two workers
        assert parent.poll() is None
        time.sleep(0.05)
        known = psutil.Process(parent.pid).children(recursive=True)
    time.sleep(0.5)
    parent.send_signal(number)
    parent.wait()
    assert not psutil.wait_procs(known, 30)[1]
