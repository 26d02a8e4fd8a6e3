"""Made-up answers to made-up images, for tests of an evaluation's parts without a network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from covidmt.evaluation.answers import VARIANTS, Answers, TaskAnswers
from covidmt.evaluation.networks import Network
from covidmt.evaluation.result import Evaluation, build_evaluation, task_notes
from datamodules.evaluation import EvaluationDataModule
from experiments.pairs.schema import Pairs
from experiments.schema import Data, Experiment, Robustness, Target, Task
from experiments.source_schema import FolderSource
from explain.decision import Decision
from metrics.controls import pack
from metrics.paired import SIDES

N, SIZE, NAMES = 24, 16, ["normal", "COVID-19"]
EVIL = "<script>alert(1)<"
CHANNELS = ("camera", "jpeg:70", "jpeg:10")


def make_data(
    root: Path,
    labels: list[str],
    task: str = "covidx",
    label: str = "COVID-19",
    channel: str = "whatsapp",
    stem: str = "image",
) -> EvaluationDataModule:
    """Images of as many classes as there are labels, in turn; the decision is about one of them."""
    rng = np.random.default_rng(0)
    names = [("test", f"{EVIL if index == 1 else stem}{index:02d}.png") for index in range(N)]
    names += [(split, f"{split}{index}.png") for split in ("train", "val") for index in range(6)]
    for index, (split, name) in enumerate(names):
        path = root / split / labels[index % len(labels)] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE), np.uint8)).save(path)
    experiment = Experiment(
        name=EVIL,
        data=Data(image_size=SIZE, sources={"own": FolderSource(root=str(root))}, pairs=Pairs("own", "own", channel)),
        tasks={task: Task(name=task, source="own", labels=labels)},
        robustness=Robustness(task=task, label=label),
    )
    data = EvaluationDataModule(experiment, "test")
    data.setup()
    return data


def make_answers(data: EvaluationDataModule, flips: int, seed: int = 0, *, labelled=True, lungs=True) -> Answers:
    """Right on originals, of which the first ``flips`` positives are lost on the way; maps are hot inside the lungs."""
    dataset, rng = data.pair_dataset("test"), np.random.default_rng(seed)
    truth = dataset.labels == 1
    margin = np.where(truth, 2, -2) + rng.normal(0, 0.3, N)
    after = margin.copy()
    after[np.flatnonzero(truth)[:flips]] *= -1
    sides = {"original": margin, "received": after} | dict.fromkeys(VARIANTS, margin)
    logits = {name: np.stack([-value, value], axis=1).astype(np.float32) for name, value in sides.items()}
    maps = np.zeros((N, 4, 4), np.float32)
    maps[:, 1:3, 0] = 1
    masks = np.zeros((N, SIZE, SIZE), bool)
    masks[:, :, : SIZE // 2] = lungs
    task = data.experiment.robustness.task
    decision = Decision.of(data.experiment.tasks[task], data.experiment.robustness)
    targets = np.stack([~truth, truth], axis=1).astype(np.float32)
    return Answers(
        decision=decision,
        ids=dataset.ids,
        patients=np.array(dataset.patients),
        labels=dataset.labels if labelled else np.full(N, np.nan, np.float32),
        logits=logits,
        maps=dict.fromkeys(Target, dict.fromkeys(SIDES, maps)),
        target=Target.decision,
        lungs=pack(torch.from_numpy(masks)),
        heart="in",
        other_lungs=pack(torch.from_numpy(masks)),
        size=SIZE,
        channel_rows=np.arange(0, N, 2),
        channel_logits=dict.fromkeys(CHANNELS, logits["received"][::2]),
        tasks={task: TaskAnswers(np.array(dataset.patients), targets, logits["original"])} if labelled else {},
    )


def network(data: EvaluationDataModule, name: str = EVIL, seed: int = 0, **changes) -> Network:
    own = replace(data.experiment, seed=seed, **changes)
    return Network(name, None, own, own, own, None)  # ty: ignore


def evaluation_of(data: EvaluationDataModule, *answers: Answers, history=None) -> Evaluation:
    """An evaluation of several seeds."""
    networks = [network(data, f"{EVIL} {seed}", seed) for seed in range(len(answers))]
    notes = [*task_notes(networks, answers), f"a note with {EVIL}"]
    return build_evaluation(networks, answers, data, resamples=100, notes=notes, history=history)
