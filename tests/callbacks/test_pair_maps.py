import pytest
import torch

from callbacks.pair_maps import undisturbed
from callbacks.robustness import RobustnessCallback
from experiments.errors import UserError
from experiments.schema import Robustness
from explain.heat import heat_map
from tests.helpers.tiny_module import TASK, Tiny, TinyData, trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]


def test_undisturbed_restores_each_submodules_mode_and_the_random_state():
    module = Tiny()
    module.trunk[1].eval()  # a frozen BatchNorm
    before = [part.training for part in module.modules()]
    state = torch.get_rng_state()
    with undisturbed(module):
        assert not any(part.training for part in module.modules())
        torch.rand(3)
    assert [part.training for part in module.modules()] == before
    assert torch.equal(torch.get_rng_state(), state)


def test_engine_and_layer_of_the_settings():
    module, data = Tiny(), TinyData()
    plain, other = Robustness(), Robustness(engine="layercam", layer="trunk.0")
    for robustness in (plain, other, Robustness(engine="guided_gradcam")):
        callback = RobustnessCallback(robustness, TASK)
        trainer(callbacks=[callback]).test(module, data, verbose=False)  # under inference_mode
        assert callback.last["test/ols/original/no_region"] == 0
    pair = next(iter(data.pair_dataloader("val")))
    maps, run = RobustnessCallback(other, TASK).maps, trainer()
    original, received = maps(run, module.eval(), pair)
    alone = maps.explain(module, pair.original)  # needs no Trainer
    assert original.raw.shape == (2, 7, 7)
    assert torch.allclose(alone.map, original.raw)
    assert torch.allclose(alone.logits, original.logits)
    assert torch.equal(heat_map(received.raw, (16, 16)), received.heat)
    with pytest.raises(UserError, match=r"robustness\.layer: Tiny has no module 'trnk\.0'; did you mean 'trunk\.0'"):
        trainer(callbacks=[RobustnessCallback(Robustness(layer="trnk.0"), TASK)]).validate(module, data, verbose=False)
    with pytest.raises(UserError, match="no engine 'gradcam-plus'"):
        RobustnessCallback(Robustness(engine="gradcam-plus"), TASK)
