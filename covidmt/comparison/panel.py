"""``covidmt panel``: one image in its representations, with each network's answer and heat map (paper 001: Fig 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from covidmt.comparison.configurations import network_names
from covidmt.comparison.hide_and_seek import VIEWS
from covidmt.comparison.trials import Trial, collect
from covidmt.lungs.masks import prepare_masks, resolve_segmenter, with_local_cache
from covidmt.prediction.predictor import ExplainedImage, Predictor
from covidmt.tracking.checkpoints import find_checkpoint
from datamodules.evaluation import EvaluationDataModule
from datamodules.images.masks import LungMasks
from experiments.errors import UserError, nearest
from experiments.paths import expand
from explain.picture import blend
from lightning_modules.load import load_module
from lightning_modules.lungs.segmenters import load_segmenter
from lightning_modules.multitask import MultiTaskModule

SIDE = 384  # pixels of one picture


def panel(
    names: Sequence[str],
    images: Sequence[str],
    out: Path,
    uri: str,
    *,
    network: str | None = None,
    seed: str | None = None,
    rows: int = 1,
    segmenter: str | None = None,
) -> Path:
    """Draw a row an image, a column a representation: what the network of that representation saw, said and looked at.

    Args:
        names: Sweeps or runs in which ``data.view`` varies.
        images: Files; none: ``rows`` test images of each class, drawn by ``data.split_seed`` and not by what was
            answered.
        out: The PNG file.
        uri: Tracking URI.
        network: Base network, as in the report or the experiment; None: the first.
        seed: Of the trainings; None: the lowest that all representations have.
        rows: Images of each class.
        segmenter: What finds the lungs; None: the masks of each network's own experiment, its folders and segmenter.

    Returns:
        ``out``.

    Raises:
        UserError: No trials with several representations, an unknown network or seed, an image that cannot be read or
            has no lungs, a file that cannot be written.
    """
    chosen = _trials(collect(names, uri).counted, network, seed)
    modules = {view: load_module(find_checkpoint(trial.run_id, uri).path) for view, trial in chosen.items()}
    titled = {name: Path(name).name for name in images} or _drawn(next(iter(modules.values())), rows, segmenter)
    columns: dict[str, list[ExplainedImage]] = {}
    for view, module in modules.items():
        found = dict(_predictor(module, segmenter)(list(titled)))
        for result in found.values():
            if isinstance(result, UserError):
                raise result
        columns[view] = [found[name] for name in titled]  # ty: ignore[invalid-assignment]  # no errors are left
    drawn = _draw(columns, list(titled.values()))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(out, dpi=100)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror}); name another file") from error
    Console().print(f"panel: {out}", soft_wrap=True, highlight=False)
    return out


def _predictor(module: MultiTaskModule, segmenter: str | None) -> Predictor:
    """Lungs as the network knows them from its training, or by the named segmenter."""
    if segmenter is not None:
        return Predictor(module.eval(), {}, load_segmenter(segmenter))
    settings = module.experiment.data.masks
    own = None
    if settings.segmenter is not None:
        cache = expand(settings.cache)
        own = load_segmenter(resolve_segmenter(module.experiment, cache, may_train=False))
    return Predictor(module.eval(), {}, own, LungMasks(settings))


def _trials(trials: Sequence[Trial], network: str | None, seed: str | None) -> dict[str, Trial]:
    """View -> the trial of one network and seed."""
    titles = network_names({trial.params["backbone"] for trial in trials})
    known = {name: backbone for backbone, title in titles.items() for name in (title, backbone)}
    backbone = known.get(network or trials[0].params["backbone"])
    if backbone is None:
        raise UserError(f"--network: no trial of {network!r}{nearest(str(network), known)}")
    mine = [trial for trial in trials if trial.params["backbone"] == backbone]
    by_seed: dict[str, dict[str, Trial]] = {}
    for trial in sorted(mine, key=lambda trial: (len(trial.seed), trial.seed)):
        by_seed.setdefault(trial.seed, {})[trial.params.get("view", "original")] = trial
    if seed is not None and seed not in by_seed:
        raise UserError(f"--seed: no trial of seed {seed}; there are {', '.join(by_seed)}")
    most = by_seed[seed] if seed is not None else max(by_seed.values(), key=len)
    if len(most) < 2:
        raise UserError("the trials know one representation only; name a sweep that varies data.view")
    return {view: most[view] for view in VIEWS if view in most}


def _drawn(module: MultiTaskModule, rows: int, segmenter: str | None) -> dict[str, str]:
    """Test images of each class that have lungs, and the class; drawn by seed."""
    masks = with_local_cache(module.experiment.data.masks)
    masks = replace(masks, segmenter=segmenter or masks.segmenter)
    experiment = replace(module.experiment, data=replace(module.experiment.data, masks=masks))
    data = EvaluationDataModule(experiment, "test")
    data.setup()
    prepare_masks(experiment, data, ["test"], may_train=False)
    task = experiment.tasks[experiment.robustness.task]
    table, size, top = data.tables[task.source], experiment.data.image_size, experiment.data.crop_top
    table = table[table["split"] == "test"]
    table = table[~table["image"].isin(data.masks.empty(table["image"], size, top))]
    rng = np.random.default_rng(experiment.data.split_seed)
    found = {}
    for label in task.labels:
        paths = sorted(table.loc[table[label] == 1, "image"])
        found |= {str(path): label for path in rng.permutation(np.array(paths, object))[:rows]}
    return found


def _draw(columns: dict[str, list[ExplainedImage]], titles: Sequence[str]) -> Figure:
    figure = Figure(figsize=(2.3 * len(columns), 2.75 * len(titles) + 0.3), layout="constrained")
    axes = figure.subplots(len(titles), len(columns), squeeze=False)
    for column, (view, found) in enumerate(columns.items()):
        axes[0, column].set_title(view.replace("_", " "), fontsize=11)
        for row, seen in enumerate(found):
            axis = axes[row, column]
            grey = cv2.resize(seen.grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            heat = cv2.resize(seen.heat, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
            axis.imshow(np.clip(blend(grey, heat), 0, 255).astype(np.uint8))
            right = seen.top_label == titles[row]
            axis.set_xlabel(seen.top_label, fontsize=10, color="#1B7F4B" if right else "#111827")
            axis.set_xticks([])
            axis.set_yticks([])
    for row, title in enumerate(titles):
        axes[row, 0].set_ylabel(title, fontsize=11)
    decision = next(iter(columns.values()))[0].prediction.decision
    figure.supxlabel(
        f"Below each: the answer of the network that was trained on such images. Heat: Grad-CAM of its decision, "
        f"{decision.label} or not.",
        fontsize=8.5,
    )
    return figure
