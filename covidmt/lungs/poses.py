"""Which images of an experiment are no upright frontal films, as far as a segmenter sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from covidmt.lungs.segment import segment_files
from datamodules.sources.table import load_tables
from experiments.lungs.poses import pose_lines
from experiments.schema import Experiment
from lightning_modules.lungs.segmenters import SHIPPED, Segmenter, load_segmenter

PER_SOURCE = 100  # images of a source that are looked at


def describe_poses(experiment: Experiment, limit: int = PER_SOURCE) -> list[str]:
    """Return a line for each source and kind of picture that is no upright frontal film.

    Args:
        experiment: Its active tasks' sources are looked at.
        limit: At most so many images of each source, drawn by ``data.split_seed``; files that cannot be read are left
            to the other checks.

    Raises:
        UserError: A data set cannot be read.
    """
    segmenter, lines = load_segmenter(SHIPPED), []
    tables = load_tables(experiment.data, {task.source for task in experiment.active})
    for name, table in tables.items():
        images = np.unique(table["image"].astype(str))
        drawn = np.random.default_rng(experiment.data.split_seed).permutation(len(images))[:limit]
        paths = [Path(images[row]) for row in np.sort(drawn)]
        lines += [f"source {name}: {line}" for line in pose_lines(find_poses(segmenter, paths))]
    return lines


def find_poses(segmenter: Segmenter, paths: Sequence[Path]) -> dict[str, str]:
    """Return how each image lies, by its file's name; files that cannot be read are left out.

    Args:
        segmenter: What is asked.
        paths: Image files.
    """
    films = segment_files(segmenter, paths, skipped={})
    return {film.path.name: film.pose for film in films if film.pose is not None}
