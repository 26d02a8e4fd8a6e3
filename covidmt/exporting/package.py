"""The folder of an MLflow model: checkpoint, signature, example, pinned requirements, card."""

from __future__ import annotations

import importlib.metadata
import io
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from covidmt.exporting.pyfunc import IMAGE, model_signature
from datamodules.demo.anatomy import Anatomy
from datamodules.demo.phantom import draw_chest
from experiments.keys import Values
from lightning_modules.lungs.segmenters import SHIPPED

CARD = "model_card.md"
EXAMPLE_SIDE = 96  # pixels of the example's made-up film


def write_model(
    folder: Path, checkpoint: Path, card: str, *, channels: Sequence[str] | None = None, segmenter: str | None = SHIPPED
) -> None:
    """Write a model that ``mlflow.pyfunc.load_model`` and ``mlflow models serve`` take.

    Nothing in it is pickled code: MLflow imports :mod:`covidmt.exporting.pyfunc`, which reads the checkpoint as
    ``covidmt predict`` does.

    Args:
        folder: Does not exist yet.
        checkpoint: Of ``covidmt train``.
        card: Its model card, Markdown.
        channels: What the answer is asked again after, as in ``covidmt predict``; None: the training's own channel.
        segmenter: What finds the lungs; None: they are not looked for.
    """
    from mlflow.pyfunc import save_model

    config: Values = {"segmenter": segmenter}
    if channels is not None:
        config["channels"] = list(channels)
    staged = folder.parent / f".{folder.name}" / "best.ckpt"  # the name that it gets
    staged.parent.mkdir(parents=True)
    staged.symlink_to(checkpoint.absolute())
    mlflow_log = logging.getLogger("mlflow.pyfunc")
    level = mlflow_log.level
    mlflow_log.setLevel(logging.WARNING)  # it would announce each step
    try:
        save_model(
            folder,
            loader_module="covidmt.exporting.pyfunc",
            data_path=str(staged),
            signature=model_signature(),
            input_example=pd.DataFrame({IMAGE: [example_film()]}),
            pip_requirements=pinned_requirements(),
            model_config=config,
        )
    finally:
        mlflow_log.setLevel(level)
        shutil.rmtree(staged.parent)
    (folder / CARD).write_text(card)


def pinned_requirements() -> list[str]:
    """Return covidmt and what it needs directly, each in the version that is installed, as for pip.

    Example:
        >>> pinned_requirements()[0].startswith("covidmt=="), any("pytest" in line for line in pinned_requirements())
        (True, False)
    """
    needed = [line for line in importlib.metadata.requires("covidmt") or [] if "extra ==" not in line]
    names = ["covidmt", *(re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed)]
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def example_film() -> bytes:
    """Return a made-up chest X-ray, a PNG file's bytes: the same at every call.

    Example:
        >>> Image.open(io.BytesIO(example_film())).size
        (96, 96)
    """
    anatomy = Anatomy.draw(EXAMPLE_SIDE, np.random.default_rng(0))
    chest = draw_chest(anatomy, [], np.random.default_rng(1), size=EXAMPLE_SIDE)
    file = io.BytesIO()
    Image.fromarray(chest.image).save(file, "PNG")
    return file.getvalue()
