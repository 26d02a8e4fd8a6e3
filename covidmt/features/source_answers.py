"""What a trained network makes of every image of a source, whatever its split: features and answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from covidmt.lungs.masks import prepare_masks
from datamodules.source_images import SourceImages
from experiments.schema import Experiment, Task
from lightning_modules.multitask import MultiTaskModule

BATCH_SIZE = 64


@dataclass(frozen=True)
class SourceAnswers:
    """A source's n images, in the order of its sample table.

    Attributes:
        table: The sample table's rows.
        features: (n, channels) float32, the mean of the base network's last map over its places.
        logits: (n, labels) float32 of the task.
    """

    table: pd.DataFrame
    features: np.ndarray
    logits: np.ndarray


def answer_source(module: MultiTaskModule, experiment: Experiment, task: Task) -> SourceAnswers:
    """Return a network's features and a task's logits of all images of the task's source, on one device.

    Args:
        module: The network, in eval mode.
        experiment: Its data; ``trainer.accelerator`` says where it runs.
        task: A classification task of the network.

    Raises:
        UserError: The source, an image or the lung masks of ``data.view`` cannot be used.
    """
    data = SourceImages(experiment, task.source)
    data.setup()
    prepare_masks(experiment, data, ["train", "val", "test"], may_train=False)

    on_gpu = torch.cuda.is_available() and experiment.trainer.get("accelerator") != "cpu"
    module = module.to("cuda" if on_gpu else "cpu")
    head = module.head(task.name)
    features, logits = [], []
    with torch.inference_mode():
        for batch in data.loader(BATCH_SIZE):
            last = module.features(batch.images.to(module.device))[-1]
            features.append(last.mean(dim=(2, 3)).float().cpu().numpy())
            logits.append(head(last).float().cpu().numpy())
    return SourceAnswers(data.table, np.concatenate(features), np.concatenate(logits))
