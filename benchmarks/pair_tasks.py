"""What does every task's stability cost a training? The whole command, with and without it.

    python benchmarks/pair_tasks.py DATA [--experiment experiments/mini_cxr.yaml] [--rounds 3] [--epochs 5]

Trains the experiment with the pairs of all its sources (``data.pairs.val=[covidx,rsna,nih]``: PI of five tasks, LI and
OLS of the boxes at every epoch) and with the decision's pairs alone (``data.pairs.val=covidx``), in turns, each a
process of its own in a folder of its own. ``DATA`` holds the data sets. The time is the CPU time of the command and of
all that it starts; the figure is the median over the rounds of the ratio (bar: 1.15), with its 95 % interval. What the
runs have logged is counted, too.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import interval

REPO = Path(__file__).parents[1]
WAYS = {"every task": "[covidx,rsna,nih]", "decision alone": "covidx"}


def train(experiment: Path, data: Path, sources: str, epochs: int, folder: Path) -> float:
    """Train in a folder; return the seconds of CPU time."""
    command = [sys.executable, "-m", "covidmt", "train", str(experiment), f"data.root={data}"]
    command += [f"data.pairs.val={sources}", f"trainer.max_epochs={epochs}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=os.environ)
    if done.returncode:
        sys.exit((folder / "log.txt").read_text()[-3000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def count_logged(folder: Path) -> str:
    """Return of which tasks a run in a folder has PI and LI, and at how many epochs."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiments = [each.experiment_id for each in client.search_experiments()]
    (run,) = [run for run in client.search_runs(experiments) if run.data.metrics]
    tasks = [f"val/pi/{task}" for task in run.data.tags["tasks"].split(",")]
    tasks = sorted(key for key in tasks if key in run.data.metrics)
    boxes = sorted(key for key in run.data.metrics if key.startswith("val/li/") and key.endswith("/0.5"))
    counts = {key: len(client.get_metric_history(run.info.run_id, key)) for key in (*tasks, *boxes)}
    return ", ".join(f"{key} at {count} epochs" for key, count in counts.items())


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--experiment", type=Path, default=REPO / "experiments" / "mini_cxr.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(options.rounds):
        for way, sources in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                place = options.experiment.absolute(), options.data.absolute(), sources, options.epochs, Path(folder)
                seconds[way].append(train(*place))
                if not number:
                    print(f"{way}: {count_logged(Path(folder))}", flush=True)
        print(", ".join(f"{way} {times[-1]:.1f} s" for way, times in seconds.items()), flush=True)
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    print(f"every task's stability: {interval(ratios)} times the CPU time of the decision's alone (bar: 1.15)")


if __name__ == "__main__":
    main()
