"""The networks of an evaluation, all set to the data and definitions of the first, and what speaks against them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from covidmt.lungs.masks import with_local_cache
from covidmt.tracking.checkpoints import find_checkpoint
from covidmt.tracking.identity import differences, identity
from covidmt.tracking.store import Store
from datamodules.evaluation import EvaluationDataModule
from datamodules.sources.table import load_tables
from experiments.errors import UserError
from experiments.load import override, to_dict
from experiments.paths import expand
from experiments.schema import Experiment, ThresholdRule, Tracking, View
from experiments.source_schema import WacxrSource
from lightning_modules.load import load_module
from lightning_modules.multitask import MultiTaskModule

log = logging.getLogger("covidmt")

# Of the trainer section: what says where and in which precision a network runs.
RUNS_ON = ("accelerator", "devices", "num_nodes", "strategy", "precision", "plugins", "enable_progress_bar")
MOST = 12  # settings that differ, written out in a note
_SECTIONS = ("data", "robustness", "tracking", "trainer")
_NO_PATIENT = pd.DataFrame({"patient": [], "split": []})


@dataclass(frozen=True)
class Network:
    """A trained network, and what it is evaluated on.

    Attributes:
        name: As a person knows it: the experiment's name and the run's first digits.
        run_id: The run that made it; None where that is not known.
        trained: Its experiment, as it was trained.
        own: The same, with the data sets where they are now.
        experiment: The same, on the data that all are evaluated on.
        module: The network.
        checkpoint: The file that it was loaded from.
    """

    name: str
    run_id: str | None
    trained: Experiment
    own: Experiment
    experiment: Experiment
    module: MultiTaskModule
    checkpoint: Path | None = None


def load_networks(references: Sequence[str], overrides: Sequence[str], pairs: str | None) -> list[Network]:
    """Load the networks, all set to the data and definitions of the first.

    Args:
        references: Checkpoints, or ids of runs; the first is evaluated, the others are compared with it.
        overrides: ``key.path=value`` of the data, robustness, trainer and tracking sections of the first.
        pairs: A source of the experiment, or a folder of ``covidmt pairs make``; None: ``data.pairs``.

    Raises:
        UserError: A checkpoint or a setting cannot be used.
    """
    for text in overrides:
        if text.partition("=")[0].partition(".")[0] not in _SECTIONS:
            raise UserError(f"command line: {text!r}: a trained network's evaluation takes {', '.join(_SECTIONS)} only")

    networks: list[Network] = []
    for reference in references:
        checkpoint = find_checkpoint(reference, named_store(overrides))
        module = load_module(checkpoint.path)
        if networks:
            own, experiment = _like_first(module.experiment, networks[0].experiment, reference)
        else:
            own, experiment = _as_first(module.experiment, overrides, pairs, reference)
        if experiment.robustness.thresholds is not ThresholdRule.fixed and not module.label_thresholds:
            raise UserError(
                f"robustness.thresholds={experiment.robustness.thresholds.value}: {reference} has no thresholds of its "
                "labels: they are chosen while it is trained with this setting; use robustness.thresholds=fixed"
            )
        trained, module.experiment = module.experiment, experiment
        name = checkpoint.title(own.name)
        networks.append(Network(name, checkpoint.run_id, trained, own, experiment, module, checkpoint.path))
    return networks


def named_store(overrides: Sequence[str]) -> Store:
    """Return the tracking store that the overrides name, or the one that is used without."""
    uris = [text.partition("=")[2] for text in overrides if text.startswith("tracking.uri=")]
    return Store.of(Tracking(uri=uris[0] if uris else None))


def _as_first(
    experiment: Experiment, overrides: Sequence[str], pairs: str | None, reference: str
) -> tuple[Experiment, Experiment]:
    """Return the first network's experiment as set by the command line, and the same with the pairs it names."""
    data = replace(experiment.data, masks=with_local_cache(experiment.data.masks))
    trainer = _safe_trainer(experiment.trainer)
    own = override(replace(experiment, data=data, trainer=trainer), overrides, reference)
    return own, own if pairs is None else _with_pairs(own, pairs)


def _like_first(experiment: Experiment, first: Experiment, reference: str) -> tuple[Experiment, Experiment]:
    """Return another network's experiment with its data sets where they are now, and the same on the first's data."""
    own = _relocated(experiment, first)
    sees = {key: getattr(own.data, key) for key in ("image_size", "crop_top", "view")}
    data = replace(first.data, **sees, sources={**own.data.sources, **first.data.sources})
    return own, override(replace(own, data=data, robustness=first.robustness), (), reference)


def _safe_trainer(trainer: Mapping[str, object]) -> dict[str, object]:
    """Return a saved trainer section without objects: a checkpoint of others must not choose what is run."""
    safe = {key: value for key, value in trainer.items() if "class_path" not in str(value)}
    for key in trainer.keys() & set(RUNS_ON) - safe.keys():
        log.warning("trainer.%s: ignored, for the checkpoint's value names code to run; set it here if needed.", key)
    return safe


def _relocated(experiment: Experiment, other: Experiment) -> Experiment:
    """Return the experiment with its sources where the other one's of the same names are."""
    roots = {name: source.root for name, source in other.data.sources.items()}
    sources = {
        name: replace(source, root=roots.get(name, source.root)) for name, source in experiment.data.sources.items()
    }
    return replace(experiment, data=replace(experiment.data, sources=sources))


def _with_pairs(experiment: Experiment, pairs: str) -> Experiment:
    """Return the experiment with other test pairs: a source of it, or a folder."""
    sources = experiment.data.sources
    if pairs not in sources:
        root = expand(pairs)
        folders = sorted(path.name for path in root.glob("covid_binary_test_*") if path.is_dir())
        if not folders:
            raise UserError(
                f"--pairs {pairs}: neither a source of the experiment ({', '.join(sources)}) nor a folder with "
                "covid_binary_test and covid_binary_test_<channel>, as `covidmt pairs make` writes them"
            )
        if len(folders) > 1 and WacxrSource.received not in folders:
            raise UserError(
                f"--pairs {pairs}: it has several channels ({', '.join(folders)}); make a folder with links to "
                "covid_binary_test and one of them, and name that"
            )
        received = WacxrSource.received if WacxrSource.received in folders else folders[0]
        label = experiment.robustness.label
        sources = {**sources, pairs: WacxrSource(root=pairs, received=received, label=label)}
    data = experiment.data
    return replace(experiment, data=replace(data, sources=sources, pairs=replace(data.pairs, test=pairs)))


def caution_notes(network: Network, data: EvaluationDataModule) -> list[str]:
    """Return what flatters a network or wrongs it on these data, a sentence each.

    Patients that are evaluated may be in the network's own training or validation split; a representation
    (``data.view``) may be made of other lung masks than in its training.
    """
    own = network.own

    # its patients
    names = {task.source for task in own.active} | {own.data.pairs.val_sources[0]}
    present = {name for name in names if own.data.sources[name].folder.exists()}
    tables = load_tables(own.data, present).values()
    split = pd.concat([table[["patient", "split"]] for table in tables] or [_NO_PATIENT])
    evaluated = set(data.pair_dataset(data.split).patients)
    notes = []
    for name, what in {"train": "training", "val": "validation"}.items():
        shared = evaluated & set(split["patient"][split["split"] == name])
        if shared and name != data.split:
            notes.append(
                f"{len(shared)} of the {len(evaluated)} patients of the pairs are in the {what} split of "
                f"{network.name}: its scores on them flatter it"
            )

    # its lungs
    trained, here = own.data.masks, network.experiment.data.masks
    other_masks = (trained.folders, trained.segmenter) != (here.folders, here.segmenter)
    if own.data.view is not View.original and other_masks:
        notes.append(
            f"{network.name}: its data.view={own.data.view.value} is made of other lung masks here than in its "
            "training (data.masks)"
        )
    return notes


def difference_notes(networks: Sequence[Network]) -> list[str]:
    """Return what each other network was trained with in another way than the first, but for seed and machine."""
    first, *others = [(network.name, identity(to_dict(network.trained))) for network in networks]
    notes = []
    for name, settings in others:
        changed = [str(each) for each in differences(settings, first[1])]
        more = [f"{len(changed) - MOST} more settings"] if len(changed) > MOST else []
        if changed:
            notes.append(f"{name} was trained otherwise than {first[0]}: {'; '.join([*changed[:MOST], *more])}")
    return notes
