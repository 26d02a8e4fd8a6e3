"""What a training says when it begins and when it has ended, a line each: a name, then the text."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Trainer
from rich.console import Console
from rich.filesize import decimal

from covidmt.tracking.folders import RunFolder, mlruns_dir
from covidmt.tracking.store import Store
from covidmt.tracking.ui import ADDRESS, run_page
from datamodules.groups import Group
from datamodules.multitask import MultiTaskDataModule
from experiments.names import Terminal
from experiments.schema import Experiment, Task, TaskKind
from lightning_modules.multitask import MultiTaskModule

SPLITS = ("train", "val", "test")


def print_block(lines: Mapping[str, str], console: Console | None = None) -> None:
    r"""Print a block: names in a column; a text of several lines stays in its own.

    Example:
        >>> print_block({"run": "demo", "data": "covidx\nrsna"})
        run        demo
        data       covidx
                   rsna
    """
    console = console or Terminal(markup=False)
    for name, text in lines.items():
        for number, line in enumerate(text.splitlines()):
            console.print(f"{'' if number else name:<10} {line}", soft_wrap=True, highlight=False)


def start_block(experiment: Experiment, datamodule: MultiTaskDataModule, trainer: Trainer) -> dict[str, str]:
    """Return what is trained, on what."""
    return {
        "data": describe_data(experiment, datamodule),
        "devices": describe_devices(trainer),
        "batch": describe_batch(datamodule.groups, trainer.world_size, trainer.accumulate_grad_batches),
    }


def end_block(run: RunFolder, store: Store | None, seconds: float, others: Sequence[str] = ()) -> dict[str, str]:
    """Return how long a finished training took, what it left on the disk, and where its curves and pictures are.

    Args:
        run: Its files.
        store: Where it has been sent; None: it was not tracked.
        seconds: That its command took.
        others: Other loggers.
    """
    folders = [run.checkpoints, *(artifact_folders(run, store) if store else [])]
    lines = {"time": describe_duration(seconds), "disk": f"{decimal(used_bytes(folders))} in {mlruns_dir()}"}
    if store is not None:
        pictures = "MLflow UI: the run, Model metrics, gradcam/00 ... with a slider over the epochs"
        return {**lines, "pictures": pictures, "MLflow UI": describe_run_page(run, store)}
    kept = f"curves and pictures are where {', '.join(others)} wrote them" if others else ""
    kept = kept or "no curves and no pictures were kept"
    return {**lines, "MLflow": f"off (tracking.enabled=false): {kept}; reports and comparisons do not know this run"}


def describe_data(experiment: Experiment, datamodule: MultiTaskDataModule) -> str:
    """Return the images of every task in every split, a line each, and then the pairs."""
    lines = [
        f"{task.name} ({task.source}): {_counts(task, group)} images"
        for group in datamodule.groups
        for task in group.tasks
    ]
    return "\n".join([*lines, describe_pairs(experiment, datamodule)])


def describe_pairs(experiment: Experiment, datamodule: MultiTaskDataModule) -> str:
    """Return how many pairs of which source decide PI and OLS, in validation and test, and how they were made."""
    pairs = experiment.data.pairs
    words = []
    for split in ("val", "test"):
        source = next(iter(pairs.sources_of(split)), None)
        if source in datamodule.tables:
            dataset = datamodule.pair_dataset(split)
            way = f"through {pairs.channel} (simulated)" if dataset.channel else "as received"
            words.append(f"{split} {len(dataset):,} of {source} {way}")
        elif source is not None:
            words.append(f"{split} none ({source} is not there)")
    return f"pairs: {', '.join(words)}"


def describe_network(module: MultiTaskModule) -> str:
    """Return the base network, the parameters of all, and the maps that heads and Grad-CAM read.

    Example:
        >>> from experiments.load import load_experiment
        >>> module = MultiTaskModule(load_experiment("experiments/demo.yaml", ["active_tasks=[covidx]"]))
        >>> describe_network(module)
        'resnet18, 11.5 million parameters; maps of stride 4 (64 channels), 8 (128), 16 (256), 32 (512)'
    """
    backbone, parameters = module.backbone, sum(each.numel() for each in module.parameters())
    first, *others = zip(backbone.strides, backbone.channels, strict=True)
    maps = [f"{first[0]} ({first[1]} channels)", *(f"{stride} ({channels})" for stride, channels in others)]
    name = module.experiment.model.backbone
    return f"{name}, {parameters / 1e6:.1f} million parameters; maps of stride {', '.join(maps)}"


def describe_devices(trainer: Trainer) -> str:
    """Return what a training computes on.

    Example:
        >>> describe_devices(Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False))
        'CPU'
    """
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    nodes = f" on {trainer.num_nodes} machines" if trainer.num_nodes > 1 else ""
    return f"{trainer.world_size} x {name}{nodes}" if trainer.world_size > 1 else name


def describe_batch(groups: Iterable[Group], processes: int, accumulated: int) -> str:
    """Return how many images an optimizer step sees, and of which groups.

    Args:
        groups: The batch groups.
        processes: How many processes draw such batches.
        accumulated: Batches of a step.
    """
    groups = list(groups)
    parts = ", ".join(f"{group.name} {group.batch_size}" for group in groups)
    times = "".join(f", x {n} {what}" for n, what in ((processes, "processes"), (accumulated, "batches")) if n > 1)
    total = sum(group.batch_size for group in groups) * processes * accumulated
    return f"{total} images a step ({parts}{times})"


def describe_duration(seconds: float) -> str:
    """Return a time in hours, minutes and seconds, the largest two that there are.

    Example:
        >>> describe_duration(7260), describe_duration(75.4), describe_duration(9.2)
        ('2 h 1 min', '1 min 15 s', '9 s')
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def used_bytes(folders: Iterable[Path]) -> int:
    """Return the bytes of all files in some folders; a file of several names counts once.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     size = (Path(folder) / "best.ckpt").write_bytes(b"weights")
        ...     os.link(Path(folder) / "best.ckpt", Path(folder) / "copy.ckpt")
        ...     used_bytes([Path(folder)])
        7
    """
    sizes: dict[tuple[int, int], int] = {}
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                state = os.lstat(os.path.join(place, name))
                sizes[state.st_dev, state.st_ino] = state.st_size
    return sum(sizes.values())


def describe_run_page(run: RunFolder, store: Store) -> str:
    """Return where the run's page is, and on its own line the command that shows it; only that if the store is away."""
    option = "" if store.database == mlruns_dir() / "mlflow.db" else f" --uri {store}"
    command = f"{program()} ui{option}"
    try:
        page = run_page(store.client.get_run(run.run_id).info.experiment_id, run.run_id)
    except Exception:  # a training that is done does not fail for it
        return str(store) if store.is_server else command
    return f"{store}/{page}" if store.is_server else f"{ADDRESS}/{page} while this runs:\n{command}"


def program() -> Path:
    """Return how this command is called from a shell."""
    path = Path(sys.argv[0])  # in a sweep's job something else
    if shutil.which("covidmt"):
        return Path("covidmt")
    return path if path.name == "covidmt" else Path(sys.executable).with_name("covidmt")


def artifact_folders(run: RunFolder, store: Store) -> list[Path]:
    """Return the folders of a run's artifacts and models on this machine; none where they are on a server."""
    try:
        logged = store.client.get_run(run.run_id)
        outputs = logged.outputs.model_outputs if logged.outputs else []
        models = [store.client.get_logged_model(output.model_id).artifact_location for output in outputs]
    except Exception:  # a training that is done does not fail for it
        return []
    return [Path(str(uri)) for uri in (logged.info.artifact_uri, *models) if "://" not in str(uri)]


def _counts(task: Task, group: Group) -> str:
    """Return a task's images with a known label by split; of boxes all images."""
    has_label = np.ones(len(group.images), bool)
    if task.kind is not TaskKind.boxes:
        has_label = ~np.isnan(group.targets[task.name]).all(axis=1)
    counts = {split: int((has_label & (group.splits == split)).sum()) for split in SPLITS}
    return ", ".join(f"{split} {count:,}" for split, count in counts.items() if count)
