"""Head-only Grad-CAM against plain inference and against pytorch-grad-cam, on this machine.

    python benchmarks/gradcam.py [--networks resnet18 ...] [--size 224] [--batch 16] [--runs 10] [--threads 0]

Random weights, the paper's classification head, float32. The ways are run in turn; each ratio is the median of the
runs' own ratios, since a shared machine's speed drifts. With one thread, the processor's time is measured, which does
not count the waiting for other programs. "frozen" is pytorch-grad-cam with the parameters below the last stage frozen.
"pass" is the whole robustness pass over half as many pairs: two predictions, two maps, heat-map regions, IOL and PI;
masks preloaded, tensors in memory. "targets" is Grad-CAM of all three answers that can be explained, from one
forward, as `covidmt evaluate` needs them. "six tasks" is the pass of a validation over the pairs of three sources, as
the callback makes it: every task's predictions, decisions, heat maps, boxes, PI, LI and OLS, with their intervals,
against the plain predictions of the same six tasks on the same pairs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch
import torchvision
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from callbacks.pair_maps import ExplainedSide
from callbacks.task_maps import TaskMaps
from callbacks.task_scores import TaskScores
from experiments.batch import Pair, TaskPairs
from experiments.load import SHIPPED, load_experiment
from experiments.schema import Target, Task, TaskKind
from explain.decision import Decision
from explain.gradcam import gradcam, gradcams
from explain.heat import heat_map, heat_region
from lightning_modules.heads import BoxHead
from lightning_modules.multitask import MultiTaskModule
from metrics.instability import PredictionInstability
from metrics.paired import SIDES
from metrics.saliency import OutOfLungSaliency

DECISION = Decision("COVID-19", 2)


class Explained(nn.Module):
    """The decision made, as pytorch-grad-cam asks for it: one image's logits -> score."""

    def forward(self, logits: Tensor) -> Tensor:
        """(number of labels,) -> scalar."""
        return DECISION.score(logits[None])[0]


def network(name: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Base network up to its last map, and the paper's head: transition convolution, pooling, linear."""
    trunk = nn.Sequential(*list(torchvision.models.get_model(name, weights=None).children())[:-2]).eval()
    channels = trunk(torch.zeros(1, 3, 64, 64)).shape[1]
    transition = nn.Sequential(nn.Conv2d(channels, 512, 3, padding=1, bias=False), nn.BatchNorm2d(512), nn.ReLU())
    return trunk, nn.Sequential(transition, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 3)).eval()


def measure(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Seconds of each way in each run, run in turn after one warm-up."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            start = clock()
            way()
            if run:
                times[name].append(clock() - start)
    return times


def ratio(times: dict[str, list[float]], way: str, other: str) -> str:
    """Median over the runs of how many times as long the one takes as the other."""
    return f"{statistics.median(a / b for a, b in zip(times[way], times[other], strict=True)):.2f}x"


def compare(name: str, size: int, batch: int, runs: int) -> None:
    """Print one network's parity with pytorch-grad-cam, and the ratios."""
    torch.manual_seed(0)
    trunk, head = network(name)
    images, lung = torch.rand(batch, 3, size, size), torch.rand(batch, size, size) > 0.5
    model = nn.Sequential(trunk, head)
    targets = [Explained()] * batch
    with torch.no_grad():
        cam = gradcam(trunk(images), head, DECISION.score)
        if not cam.map.any():  # random weights give maps of one sign: turn the decisions
            cast(nn.Linear, head[-1]).bias.sub_(2 * cam.logits.mean(dim=0))

    # the ways
    def plain() -> Tensor:
        with torch.no_grad():
            return head(trunk(images))

    def ours():
        with torch.no_grad():
            return gradcam(trunk(images), head, DECISION.score)

    def robustness_pass():
        instability, saliency = PredictionInstability(DECISION), OutOfLungSaliency()
        cam = ours()
        instability.update(*cam.logits.chunk(2))
        saliency.update(heat_region(heat_map(cam.map, (size, size))), lung)
        return instability.compute(), saliency.compute()

    def all_targets():
        with torch.no_grad():
            return gradcams(trunk(images), head, [partial(DECISION.score, target=target) for target in Target])

    def library(*, frozen: bool = False) -> None:
        trunk.requires_grad_(not frozen)
        trunk[-1].requires_grad_(True)
        with GradCAM(model, [trunk[-1]]) as cam:
            cam(images, targets)

    # the same maps?
    with GradCAM(model, [trunk[-1]]) as cam:
        cam(images, targets)
        kept = cam.activations_and_grads
        raw = cam.get_cam_image(images, trunk[-1], targets, kept.activations[0].numpy(), kept.gradients[0].numpy())
    expected = torch.from_numpy(raw).relu()
    error = float((ours().map - expected).abs().max())
    shown = int(expected.amax(dim=(1, 2)).gt(0).sum())
    if not shown:
        sys.exit(f"{name}: all maps are zero: their parity says nothing")
    if error > 1e-4 * float(expected.max()):  # stricter than 1e-4: these maps are small
        sys.exit(f"{name}: the maps differ from pytorch-grad-cam's by {error:.1e}")

    # how long they take
    ways = {"plain": plain, "ours": ours, "targets": all_targets, "pass": robustness_pass, "library": library}
    times = measure(ways | {"frozen": lambda: library(frozen=True)}, runs)
    print(
        f"{name:16} {size} px, batch {batch}: largest difference {error:.1e} of {float(expected.max()):.1e} "
        f"({shown} maps not zero); plain {1e3 * statistics.median(times['plain']):.0f} ms; "
        f"Grad-CAM {ratio(times, 'ours', 'plain')} plain, of three targets {ratio(times, 'targets', 'plain')}, "
        f"pass {ratio(times, 'pass', 'plain')} plain; "
        f"pytorch-grad-cam {ratio(times, 'library', 'ours')} ours, frozen {ratio(times, 'frozen', 'ours')} ours",
        flush=True,
    )


def compare_six_tasks(name: str, size: int, batch: int, runs: int) -> None:
    """Print how long a whole pass over the pairs of six tasks takes, against their plain predictions."""
    torch.manual_seed(0)
    settings = [f"model.backbone={name}", f"data.image_size={size}", "model.pretrained=false"]
    experiment = load_experiment(SHIPPED / "covidmt_resnet50.yaml", settings)
    module = MultiTaskModule(experiment, pretrained=False).eval()
    task_maps = TaskMaps(experiment.robustness, experiment.active)
    batches = [_pairs(tasks, size, batch) for tasks in _by_source(experiment.active).values() for _ in range(2)]

    def plain() -> None:
        with torch.no_grad():
            for pairs in batches:
                maps = module.features(torch.cat([pairs.pair.original, pairs.pair.received]))
                for task in pairs.tasks:
                    head = module.head(task)
                    if isinstance(head, BoxHead):
                        head.decode(head(maps))
                    else:
                        head(maps[-1])

    def whole_pass() -> None:
        decisions = task_maps.decisions(module)
        scores = TaskScores(experiment.robustness, decisions, module.device)
        scores.expect({task.name: task.kind for task in experiment.active})
        instability, saliency = PredictionInstability(DECISION), {side: OutOfLungSaliency() for side in SIDES}
        for pairs in batches:
            answers = task_maps.ask(module, pairs.pair, pairs.tasks, decisions)
            scores.update(pairs, answers, pairs.pair.lung)
            if pairs.decides:
                sides = cast("tuple[ExplainedSide, ExplainedSide]", answers["covidx"])
                instability.update(*(side.logits for side in sides))
                for metric, side in zip(saliency.values(), sides, strict=True):
                    metric.update(heat_region(side.heat), pairs.pair.lung)
        scores.compute()
        instability.compute()
        for metric in saliency.values():
            metric.compute()

    times = measure({"plain": plain, "pass": whole_pass}, runs)
    pairs = sum(len(each.pair.id) for each in batches)
    print(
        f"{name:16} {size} px, six tasks, {pairs} pairs: plain {1e3 * statistics.median(times['plain']):.0f} ms; "
        f"pass {ratio(times, 'pass', 'plain')} plain",
        flush=True,
    )


def _by_source(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    sources: dict[str, list[Task]] = {}
    for task in tasks:
        sources.setdefault(task.source, []).append(task)
    return sources


def _pairs(tasks: Sequence[Task], size: int, batch: int) -> TaskPairs:
    """A batch of pairs of noise."""
    images = torch.randint(0, 256, (2, batch, 1, size, size), dtype=torch.uint8)
    pair = Pair(*images, torch.ones(batch), torch.rand(batch, size, size) > 0.5, [str(i) for i in range(batch)])
    boxes = [torch.tensor([[8.0, 8.0, size / 2, size / 2]])] * batch
    names = [task.name for task in tasks]
    has_boxes = any(task.kind is TaskKind.boxes for task in tasks)
    return TaskPairs(names, "covidx" in names, pair, [str(i) for i in range(batch)], boxes if has_boxes else [])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50", "resnext50_32x4d"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for each in options.networks:
        compare(each, options.size, options.batch, options.runs)
        compare_six_tasks(each, options.size, options.batch, options.runs)
