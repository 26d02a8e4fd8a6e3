"""The network that a training begins with: from scratch, from published weights, or from ``model.init_from``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from covidmt.tracking.checkpoints import find_checkpoint
from covidmt.tracking.logger import global_rank
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.models.schema import Normalisation
from experiments.paths import expand
from experiments.schema import Experiment
from lightning_modules.checkpoint import read_checkpoint, saved_experiment
from lightning_modules.initial import InitialWeights, load_initial, read_initial
from lightning_modules.load import build_module
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.networks.published import HUB, TORCHXRAYVISION, published_weights

_FILES = (".pt", ".pth", ".safetensors")


def begin_module(experiment: Experiment, resumed: Path | None = None) -> MultiTaskModule:
    """Return the module that a training begins with; what ``model.init_from`` leaves out is said.

    Args:
        experiment: The experiment.
        resumed: The checkpoint that the training resumes from, which has all weights.

    Raises:
        UserError: Weights that are unavailable or do not fit.
    """
    if experiment.model.init_from is None:
        return build_module(experiment)
    if resumed is not None:
        saved = saved_experiment(read_checkpoint(resumed, "covidmt train"), resumed)
        return build_module(_normalised_as(experiment, saved.model.normalisation), pretrained=False)

    # ImageNet's weights are not asked for: what does not fit starts from scratch
    initial = find_initial(experiment)
    module = build_module(_normalised_as(experiment, initial.normalisation), pretrained=False)
    loaded = load_initial(module, initial)
    if global_rank() == 0:
        print(loaded.text)
    return module


def find_initial(experiment: Experiment) -> InitialWeights:
    """Return what ``model.init_from`` names.

    Raises:
        UserError: There is no such run, file, model or network, or it can only be had with internet.
    """
    reference = str(experiment.model.init_from)
    if reference.startswith((HUB, TORCHXRAYVISION)):
        tensors, normalisation = published_weights(reference)
        return InitialWeights(reference, tensors, None, normalisation)
    try:
        if reference.endswith(_FILES):
            return read_initial(expand(reference), reference)
        found = find_checkpoint(reference, Store.of(experiment.tracking))
        source = reference if found.run_id in (None, reference) else f"{reference} (run {found.run_id})"
        return read_initial(found.path, source)
    except UserError as error:
        raise UserError(f"model.init_from: {error}") from error


def _normalised_as(experiment: Experiment, trained: Normalisation | None) -> Experiment:
    """Return the experiment with the input's normalisation that the weights were trained with, unless it has one."""
    normalisation = experiment.model.normalisation or trained
    return replace(experiment, model=replace(experiment.model, normalisation=normalisation))
