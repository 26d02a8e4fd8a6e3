"""The paper's feature pyramid against torchvision's: detection after equal training, and what a step costs.

    python benchmarks/pyramid.py DIR [--pyramids paper torchvision] [--seeds 0] [--steps 200] [--cache FOLDER]

DIR holds data sets as `experiments/mini_cxr.yaml` has them. Each pyramid is trained on RSNA's boxes for the same steps
from the same weights (8 images a step, 1 of COVIDx, Adam 1e-3, a tenth of it in the last quarter), without a choice of
the epoch; so validation and test images together tell how good it is. Each network's boxes are also ranked without
its objectness (`agreement`), as those of a network without that branch are. Intervals: 95 %, bootstrap over images. The
cost is that of training steps in processor seconds, without the loading of their images; one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from covidmt.evaluation.answers import TaskAnswers
from covidmt.evaluation.task_scores import task_scores
from datamodules.multitask import MultiTaskDataModule
from experiments.batch import Batch
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Experiment
from lightning_modules.heads import BoxHead
from lightning_modules.multitask import MultiTaskModule
from metrics.bootstrap import PatientBootstrap


def make_experiment(options: argparse.Namespace, pyramid: str, seed: int) -> Experiment:
    """The mini experiment with boxes as its primary task."""
    settings = [
        *(f"data.root={options.data}", f"data.image_size={options.size}", "data.num_workers=0", f"seed={seed}"),
        *("active_tasks=[rsna_boxes,covidx]", "tasks.rsna_boxes.batch_size=8", "tasks.covidx.batch_size=1"),
        *(f"data.epoch_length='{options.steps}'", f"model.boxes.pyramid={pyramid}", "optimizer.lr=1e-3"),
    ]
    cache = [] if options.cache is None else [f"data.cache={options.cache}"]
    return load_experiment(SHIPPED / "mini_cxr.yaml", [*settings, *cache])


def train(module: MultiTaskModule, batches: Iterator[Batch], steps: int) -> float:
    """Train; return the median step's processor seconds."""
    optimizer = module.build_optimizer()
    seconds = []
    for step, batch in enumerate(batches):
        if step == 3 * steps // 4:
            for group in optimizer.param_groups:
                group["lr"] /= 10
        start = time.process_time()
        optimizer.zero_grad()
        module.training_step(batch, step)["loss"].backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


@torch.no_grad()
def detect(module: MultiTaskModule, data: MultiTaskDataModule, *, objectness: bool) -> TaskAnswers:
    """What the network says of all validation and test images, ranked by its objectness or without."""
    detections: list[dict[str, Tensor]] = []
    truths: list[Tensor] = []
    task = module.eval().tasks["rsna_boxes"]
    head = task.head
    assert isinstance(head, BoxHead)
    for batch in (batch for loader in (*data.val_dataloader(), *data.test_dataloader()) for batch in loader):
        if "rsna_boxes" not in batch.tasks:
            continue
        share = batch.tasks["rsna_boxes"]
        output = task([m[share.rows] for m in module.features(batch.images)])
        if not objectness:
            output = output._replace(objectness=None)
        detections += head.decode(output)
        truths += share.boxes
    empty = np.empty((len(truths), 0), np.float32)
    return TaskAnswers(np.arange(len(truths)).astype(str), empty, empty, detections, truths)


def main() -> None:
    """Train and score each pyramid of each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--pyramids", nargs="+", default=["paper", "torchvision"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--cache")
    options = parser.parse_args()
    torch.set_num_threads(1)

    for seed in options.seeds:
        for pyramid in options.pyramids:
            # train
            experiment = make_experiment(options, pyramid, seed)
            data = MultiTaskDataModule(experiment)
            data.setup()
            torch.manual_seed(seed)
            module = MultiTaskModule(experiment).train()
            seconds = train(module, iter(data.train_dataloader()), options.steps)

            # score, ranked by objectness and without
            head = module.tasks["rsna_boxes"].head
            parameters = sum(p.numel() for p in head.parameters()) / 1e6
            print(f"{pyramid}, seed {seed}: head of {parameters:.2f} million parameters, {1e3 * seconds:.0f} ms a step")
            for objectness in (True, False):
                answers = detect(module, data, objectness=objectness)
                bootstrap = PatientBootstrap(answers.patients, 2000)
                scores = task_scores(experiment.tasks["rsna_boxes"], answers, bootstrap)
                texts = ["{} {:.3f} ({:.3f} to {:.3f})".format(name, *score.estimate) for name, score in scores.items()]
                boxes = sum(len(truth) for truth in answers.truths)
                by = "objectness" if objectness else "agreement"
                print(f"  by {by}, {len(answers.truths)} images with {boxes} boxes: {'; '.join(texts)}", flush=True)


if __name__ == "__main__":
    main()
