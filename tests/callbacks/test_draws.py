from pathlib import Path

import numpy as np
import pytest
import torch

from callbacks.draws import score_draws
from callbacks.pair_maps import PairMaps, undisturbed
from datamodules.channels.registry import get_channel
from datamodules.images.decode import decode
from datamodules.multitask import MultiTaskDataModule
from experiments.load import SHIPPED, load_experiment
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import trainer


def test_the_further_draws_are_the_channels_own(demo_data: Path, tmp_path: Path):
    """By hand: each validation image through draws 2 and 3, and how many decisions change."""
    settings = [f"data.root={demo_data}", "data.image_size=32", "data.num_workers=0", "active_tasks=[covidx]"]
    settings += [
        "data.pairs={channel: 'resize:16..24+jpeg:1..40', draws: 3, limit: 6}",
        "model.backbone=timm:test_resnet",
    ]
    experiment = load_experiment(SHIPPED / "demo.yaml", settings)
    torch.manual_seed(0)
    module, data = MultiTaskModule(experiment), MultiTaskDataModule(experiment)
    with torch.no_grad():
        module.head("covidx")[-1].weight.mul_(30)
    data.setup()
    maps = PairMaps(experiment.robustness, experiment.active[0])
    runner = trainer(tmp_path)
    runner.datamodule = data

    pairs, channel = data.pair_dataset("val"), get_channel("resize:16..24+jpeg:1..40")
    inputs = []
    for row in range(len(pairs)):
        original = decode(pairs.paths[row])
        lung = pairs.lung(row, original)
        received = [pairs.input(decode(channel.draw(seed)(original)), lung) for seed in (0, 1, 2)]
        inputs.append([pairs.input(original, lung), *received])
    with undisturbed(module), torch.no_grad():
        images = torch.tensor(np.array(inputs)).flatten(0, 1)[:, None]
        answers = maps.decision.decided(module.head("covidx")(module.features(images)[-1])).reshape(-1, 4)
        found = score_draws(runner, module, maps, "val", [tuple(row) for row in answers[:, :2].tolist()])
    changed = answers[:, :1] != answers[:, 1:]
    assert found["val/pi/draws/mean"] == pytest.approx(100 * changed.float().mean().item())
    assert found["val/pi/draws/any"] == pytest.approx(100 * changed.any(dim=1).float().mean().item())
    assert found["val/pi/draws/n"] == len(pairs) == 6

    experiment.data.pairs.draws = 1
    assert score_draws(runner, module, maps, "val", []) == {}
