"""What a training leaves on the disk: said when it begins, cut to what is asked for when it has ended."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from rich.filesize import decimal
from torch import nn

from covidmt.tracking.checkpoints import CHECKPOINT
from covidmt.tracking.folders import RunFolder
from covidmt.tracking.store import Store
from experiments.schema import Experiment, Keep

log = logging.getLogger(__name__)

STATES = 2  # numbers that Adam keeps beside each parameter, as most optimizers do or fewer


def describe_budget(experiment: Experiment, module: nn.Module) -> str:
    """Return how much a training's checkpoints will take, at its end and until then.

    Args:
        experiment: What is trained.
        module: Its network.

    Example:
        >>> from torch import nn
        >>> describe_budget(Experiment("mine"), nn.Linear(1000, 250))
        'about 1.0 MB in mlruns in the end (its best weights), up to 8.0 MB until then'
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    whole = weights + STATES * sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    kept, what = weights, "its best weights"
    if experiment.checkpoint.keep is Keep.all:
        kept, what = weights + whole, "its best weights, and all that it needs to be resumed"
    most = 2 * weights + whole + max(weights, whole)  # a new one is written beside the old; one is on its way to MLflow
    return f"about {decimal(kept)} in mlruns in the end ({what}), up to {decimal(most)} until then"


def keep_finished(experiment: Experiment, run: RunFolder, store: Store | None) -> None:
    """Cut a finished run's files down to what ``checkpoint.keep`` asks for, and its best checkpoint to one copy.

    The best checkpoint lies in the run folder, among the run's artifacts and in its model.

    Args:
        experiment: What was trained.
        run: Its files.
        store: Where the best checkpoint has been sent, if it has; None: the run is not tracked.
    """
    if experiment.checkpoint.keep is Keep.best and run.best.exists():
        run.last.unlink(missing_ok=True)
    is_sent = experiment.tracking.log_checkpoint and store is not None and store.database is not None
    if is_sent and run.best.exists():
        try:
            logged = store.client.get_run(run.run_id)
            artifact = Path(str(logged.info.artifact_uri)) / "checkpoints" / run.best.name
            share_copy(artifact, run.best)
            for output in logged.outputs.model_outputs if logged.outputs else []:
                model = store.client.get_logged_model(output.model_id)
                share_copy(artifact, Path(model.artifact_location) / CHECKPOINT)
        except Exception as error:  # a training that is done does not fail for it
            log.warning("The best checkpoint is kept several times, here and among the artifacts: %s", error)


def share_copy(artifact: Path, path: Path) -> bool:
    """Make a file and its copy among the artifacts one file of two names, where the disk allows that.

    Args:
        artifact: The copy, which MLflow wrote.
        path: The file.

    Returns:
        Whether they are one now.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     first, second = Path(folder) / "artifact.ckpt", Path(folder) / "best.ckpt"
        ...     sizes = first.write_bytes(b"weights"), second.write_bytes(b"weights")
        ...     share_copy(first, second), second.stat().st_nlink
        (True, 2)
    """
    new = path.with_name(f".{path.name}.new")
    with suppress(OSError):  # another disk, or one without links: two copies then
        if artifact.stat().st_size == path.stat().st_size:
            new.unlink(missing_ok=True)
            os.link(artifact, new)
            new.replace(path)
            return True
    new.unlink(missing_ok=True)
    return False
