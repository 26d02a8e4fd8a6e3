"""``covidmt panel``: one image in its representations, with each network's answer and heat map (paper 001: Fig 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from covidmt.comparison.configurations import network_names
from covidmt.comparison.hide_and_seek import VIEWS
from covidmt.comparison.style import VERDICTS
from covidmt.comparison.trained_runs import TrainedRun, collect_runs
from covidmt.lungs.masks import prepare_masks, resolve_segmenter, with_local_cache
from covidmt.pages.style import INK
from covidmt.prediction.predictor import ExplainedImage, Predictor
from covidmt.tracking.checkpoints import find_checkpoint
from covidmt.tracking.store import Store
from datamodules.evaluation import EvaluationDataModule
from datamodules.images.masks import LungMasks
from experiments.errors import UserError, nearest
from experiments.schema import Target
from explain.cam import engine_title
from explain.picture import blend, cells_text
from lightning_modules.load import load_module
from lightning_modules.lungs.segmenters import load_segmenter
from lightning_modules.multitask import MultiTaskModule

SIDE = 384  # pixels of one picture


def draw_representations(
    names: Sequence[str],
    images: Sequence[str],
    out: Path,
    store: Store,
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
        store: The tracking store.
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
    chosen = _choose_runs(collect_runs(names, store).counted, network, seed)
    modules = {view: load_module(find_checkpoint(run.run_id, store).path) for view, run in chosen.items()}
    titles = {name: Path(name).name for name in images}
    if not titles:
        titles = _draw_test_images(next(iter(modules.values())), rows, segmenter)
    columns = {view: _explain(predictor_of(module, segmenter), list(titles)) for view, module in modules.items()}

    engine = next(iter(modules.values())).experiment.robustness.engine
    figure = _grid(columns, list(titles.values()), engine)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=100)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror}); name another file") from error
    Console().print(f"panel: {out}", soft_wrap=True, highlight=False)
    return out


def _explain(predictor: Predictor, images: list[str]) -> list[ExplainedImage]:
    """Return the answers in the order of the images; the first error is raised."""
    answers = dict(predictor(images))
    explained = []
    for name in images:
        answer = answers[name]
        if isinstance(answer, UserError):
            raise answer
        explained.append(answer)
    return explained


def predictor_of(module: MultiTaskModule, segmenter: str | None) -> Predictor:
    """Return a predictor with the lungs that the network knows from its training, or by the named segmenter.

    It explains the class that is named below the image, the most probable one, whatever the experiment's own target is.
    """
    robustness = replace(module.experiment.robustness, target=Target.predicted)
    module.experiment = replace(module.experiment, robustness=robustness)
    if segmenter is not None:
        return Predictor(module.eval(), {}, load_segmenter(segmenter))
    settings = module.experiment.data.masks
    own = None
    if settings.segmenter is not None:
        cache = settings.cache_folder
        own = load_segmenter(resolve_segmenter(module.experiment, cache, may_train=False))
    return Predictor(module.eval(), {}, own, LungMasks(settings))


def _choose_runs(runs: Sequence[TrainedRun], network: str | None, seed: str | None) -> dict[str, TrainedRun]:
    """Return view -> the run of one network and seed."""
    # the network, by the papers' name or its own
    titles = network_names({run.params["backbone"] for run in runs})
    backbones = {name: backbone for backbone, title in titles.items() for name in (title, backbone)}
    backbone = backbones.get(network or runs[0].params["backbone"])
    if backbone is None:
        raise UserError(f"--network: no trial of {network!r}{nearest(str(network), backbones)}")

    # the seed: the one named, or that with most representations
    by_seed: dict[str, dict[str, TrainedRun]] = {}
    for run in sorted(runs, key=lambda run: (len(run.seed), run.seed)):
        if run.params["backbone"] == backbone:
            by_seed.setdefault(run.seed, {})[run.params.get("view", "original")] = run
    if seed is not None and seed not in by_seed:
        raise UserError(f"--seed: no trial of seed {seed}; there are {', '.join(by_seed)}")
    views = by_seed[seed] if seed is not None else max(by_seed.values(), key=len)
    if len(views) < 2:
        raise UserError("the trials know one representation only; name a sweep that varies data.view")
    return {view: views[view] for view in VIEWS if view in views}


def _draw_test_images(module: MultiTaskModule, rows: int, segmenter: str | None) -> dict[str, str]:
    """Return test images of each class that have lungs, and the class; drawn by seed."""
    # the test images, with lungs by the named segmenter where one is
    masks = with_local_cache(module.experiment.data.masks)
    masks = replace(masks, segmenter=segmenter or masks.segmenter)
    experiment = replace(module.experiment, data=replace(module.experiment.data, masks=masks))
    data = EvaluationDataModule(experiment, "test")
    data.setup()
    prepare_masks(experiment, data, ["test"], may_train=False)

    # those in which lungs are found
    task = experiment.tasks[experiment.robustness.task]
    table = data.tables[task.source]
    table = table[table["split"] == "test"]
    empty = data.masks.empty(table["image"], experiment.data.image_size, experiment.data.crop_top)
    table = table[~table["image"].isin(empty)]

    rng = np.random.default_rng(experiment.data.split_seed)
    images = {}
    for label in task.labels:
        paths = sorted(table.loc[table[label] == 1, "image"])
        images |= {str(path): label for path in rng.permutation(np.array(paths, object))[:rows]}
    return images


def _grid(columns: dict[str, list[ExplainedImage]], titles: Sequence[str], engine: str) -> Figure:
    """Draw a row an image, a column a representation."""
    figure = Figure(figsize=(2.3 * len(columns), 2.75 * len(titles) + 0.3), layout="constrained")
    axes = figure.subplots(len(titles), len(columns), squeeze=False)
    for column, (view, images) in enumerate(columns.items()):
        axes[0, column].set_title(view.replace("_", " "), fontsize=11)
        for row, image in enumerate(images):
            _draw_image(axes[row, column], image, right=image.top_label == titles[row])
    for row, title in enumerate(titles):
        axes[row, 0].set_ylabel(title, fontsize=11)

    cells = " / ".join(dict.fromkeys(cells_text(images[0].cells) for images in columns.values()))
    figure.supxlabel(
        "Below each: the most probable class by the network that was trained on such images. Heat: "
        f"{engine_title(engine)} of that class (robustness.target: predicted), {cells}.",
        fontsize=8.5,
    )
    return figure


def _draw_image(axis: Axes, image: ExplainedImage, *, right: bool) -> None:
    """Draw an image with its heat map, and the answer below it, green where it is right."""
    grey = cv2.resize(image.grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    heat = cv2.resize(image.heat, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    axis.imshow(np.clip(blend(grey, heat), 0, 255).astype(np.uint8))
    axis.set_xlabel(image.top_label, fontsize=10, color=VERDICTS["clear"] if right else INK)
    axis.set_xticks([])
    axis.set_yticks([])
