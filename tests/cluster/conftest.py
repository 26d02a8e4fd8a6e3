"""A SLURM of two node names on this machine, for the tests in this folder."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("slurm.sh")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Starts it; skips where it is not installed."""
    path = os.environ["PATH"] + ":/usr/sbin"
    if missing := [name for name in ("munged", "slurmctld", "slurmd", "srun") if not shutil.which(name, path=path)]:
        pytest.skip(f"no SLURM on this machine ({', '.join(missing)} missing): apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, check=False)
    assert started.returncode == 0, f"SLURM is installed and does not start: {started.stderr[-2000:]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield
    subprocess.run([SCRIPT, "stop", folder], check=False)
