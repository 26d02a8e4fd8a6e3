"""``covidmt export``: a trained network into MLflow, with its card, or into a file for programs without covidmt."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from rich.console import Console

from covidmt.exporting.card import model_card
from covidmt.exporting.facts import ModelFacts, read_facts
from covidmt.exporting.networks import HEAT_MAP, Difference, explains, export_networks
from covidmt.exporting.package import CARD, write_model
from covidmt.tracking.checkpoints import FoundCheckpoint, find_checkpoint
from covidmt.tracking.models.logged import ModelEntry, deliver_model
from experiments.errors import UserError, first_line
from experiments.paths import absolute
from lightning_modules.load import load_module
from lightning_modules.lungs.segmenters import load_unet
from lightning_modules.multitask import MultiTaskModule

MLFLOW = "mlflow"


def export(
    reference: str,
    *,
    kind: str = MLFLOW,
    out: Path | None = None,
    register: str | None = None,
    segmenter: str | None = "covidmt",
) -> str:
    """Log a run's network to its store as a LoggedModel, or write it to a folder.

    Args:
        reference: See :func:`.find_checkpoint`.
        kind: ``mlflow``, or one of :data:`.networks.FORMATS`.
        out: The folder; of ``mlflow`` None: the model goes to the store; of the others None: ``exports/<run>``.
        register: Name in the registry; of a model that goes to the store.
        segmenter: What finds the lungs, as in ``covidmt predict``; None: the export has none.

    Returns:
        The model's URI, or the folder.

    Raises:
        UserError: Something of this cannot be used; or a folder with files in it.
    """
    if register and (kind != MLFLOW or out is not None):
        raise UserError("--register: only a model in the store has a name there; leave out --out, and --format mlflow")
    found = find_checkpoint(reference)
    module = load_module(found.path)
    console = Console(markup=False)

    if kind == MLFLOW and out is None:
        uri = _log(found, module, register, segmenter, reference)
        console.print(f"logged as {uri} to {found.store}: mlflow.pyfunc.load_model(URI) loads it", soft_wrap=True)
        return uri

    folder = _new_folder(out or Path("exports") / (found.run_id or found.path.stem))
    if kind == MLFLOW:
        card = model_card(_facts(found, module))
        folder.rmdir()  # MLflow makes it
        write_model(folder, found.path, card, segmenter=segmenter)
    else:
        lungs = load_unet(segmenter) if segmenter else None
        if segmenter and lungs is None:
            raise UserError(f"--segmenter {segmenter}: only covidmt's own can be exported; name another one, or none")
        differences = export_networks(module, lungs, folder, kind)
        (folder / CARD).write_text(model_card(_facts(found, module)))
        _print_differences(console, differences, module)
    console.print(f"written to {folder}", soft_wrap=True)
    return str(folder)


def _log(
    found: FoundCheckpoint, module: MultiTaskModule, register: str | None, segmenter: str | None, name: str
) -> str:
    """Log the model to the run that trained it; return its URI."""
    from mlflow.exceptions import MlflowException

    if found.run_id is None:
        raise UserError(
            f"{name}: which run trained this checkpoint is not known; --out DIR writes the model to a folder"
        )
    found.store.require(f"run {found.run_id}: there is no tracking store {found.store}; --out DIR writes a folder")
    facts = _facts(found, module)
    card = model_card(facts)
    entry = ModelEntry(card, facts.epoch or 0, facts.metrics or {}, register, facts.monitor)

    staging = absolute("mlruns") / "exports" / uuid.uuid4().hex
    staging.mkdir(parents=True)
    try:
        write_model(staging / "model", found.path, card, segmenter=segmenter)
        model_id = deliver_model(found.store.client, found.run_id, staging / "model", entry, token=staging.name)
    except MlflowException as error:
        raise UserError(f"{name}: {found.store} does not take the model: {first_line(error)}") from error
    finally:
        shutil.rmtree(staging)
    return f"models:/{model_id}"


def _facts(found: FoundCheckpoint, module: MultiTaskModule) -> ModelFacts:
    """Return what is known: of a run that its store knows all, else what the checkpoint tells."""
    from mlflow.exceptions import MlflowException

    if found.run_id is None or (found.store.database and not found.store.database.is_file()):
        return ModelFacts(module.experiment, found.run_id)
    try:
        return read_facts(found.store.client, found.run_id, module.experiment)
    except MlflowException:
        return ModelFacts(module.experiment, found.run_id)


def _new_folder(folder: Path) -> Path:
    folder = absolute(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--out {folder}: is there already; name another folder, or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _print_differences(console: Console, differences: list[Difference], module: MultiTaskModule) -> None:
    for name, output, largest in differences:
        console.print(f"{name}: outputs equal ours within {largest:.1g} (the most: {output})", soft_wrap=True)
    if not explains(module):
        console.print(
            f"{HEAT_MAP} is left out: this network's heat map needs gradients, which the format does not hold",
            soft_wrap=True,
        )
