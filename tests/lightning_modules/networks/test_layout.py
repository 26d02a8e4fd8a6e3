import pytest
from torch import nn

from experiments.errors import UserError
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.networks.layout import refuse_broken_channels_last
from tests.helpers.tiny_experiment import batch, experiment, loader, trainer


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 8, 1, stride=2),
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(3, 8, 3, stride=2),
        nn.Conv2d(3, 8, (1, 3), stride=2),
    ],
)
def test_layers_that_are_right_pass(layer: nn.Module):
    refuse_broken_channels_last(nn.Sequential(layer))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 8, 1, stride=2),
        nn.Conv2d(15, 8, 1, stride=(1, 2)),
        nn.Conv2d(32, 32, 1, stride=2, groups=32),
    ],
)
def test_layers_that_corrupt_memory_are_named(layer: nn.Module):
    with pytest.raises(UserError, match=r"layer 0\.0 is a strided 1x1 .*oneDNN#6035"):
        refuse_broken_channels_last(nn.Sequential(nn.Sequential(layer)))


def test_a_training_on_the_cpu_is_refused(tmp_path):
    module = MultiTaskModule(experiment("active_tasks=[covidx]", "model.channels_last=true"))
    module.backbone.extra = nn.Conv2d(3, 16, 1, stride=2)
    with pytest.raises(UserError, match=r"model\.channels_last: layer backbone\.extra"):
        trainer(tmp_path).fit(module, loader([batch()]))
