"""Settings with which an experiment on the made-up data takes seconds: two steps of one epoch at 64 px, four pairs."""

import os
import subprocess
import sys
from pathlib import Path

QUICK = [
    *("data.image_size=64", "data.num_workers=0", "data.epoch_length=2", "data.pairs.limit=4", "data.pairs.test=null"),
    *("trainer.max_epochs=1", "trainer.limit_val_batches=1", "robustness.overlays=1", "trainer.log_every_n_steps=1"),
]


def run(folder: Path, *arguments: str, path: str = "") -> str:
    """Run ``covidmt`` in a process of its own, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": path}
    for name in ("MLFLOW_TRACKING_URI", "WANDB_SERVICE"):  # of another test in this process
        environment.pop(name, None)
    command = [sys.executable, "-P", "-m", "covidmt", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
