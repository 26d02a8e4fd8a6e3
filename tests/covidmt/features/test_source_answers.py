from pathlib import Path

import pytest
import torch

from covidmt.features.source_answers import answer_source
from experiments.load import SHIPPED, load_experiment
from lightning_modules.multitask import MultiTaskModule


def test_features_and_logits_are_the_networks_in_the_tables_order(demo_data: Path):
    settings = [f"data.root={demo_data}", "data.image_size=64", "data.num_workers=0", "trainer.accelerator=cpu"]
    experiment = load_experiment(SHIPPED / "demo.yaml", [*settings, "active_tasks=[covidx]"])
    module = MultiTaskModule(experiment).eval()
    answers = answer_source(module, experiment, experiment.active[0])
    assert answers.features.shape == (len(answers.table), module.backbone.channels[-1])

    from datamodules.source_images import SourceImages

    data = SourceImages(experiment, "covidx")
    data.setup()
    batch = next(iter(data.loader(batch_size=3)))
    with torch.no_grad():
        last = module.features(batch.images)[-1]
        assert answers.features[:3] == pytest.approx(last.mean(dim=(2, 3)).numpy(), abs=1e-5)
        assert answers.logits[:3] == pytest.approx(module.head("covidx")(last).numpy(), abs=1e-4)
