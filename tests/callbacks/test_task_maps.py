import pytest
import torch

from callbacks.pair_maps import PairMaps
from callbacks.task_maps import TaskMaps
from experiments.schema import Robustness
from tests.helpers.tiny_module import FINDINGS, PLACES, TASK, Tiny, TinyTaskData, trainer


@pytest.mark.parametrize("engine", ["gradcam", "eigencam"])
def test_the_deciding_tasks_answers_are_those_of_one_task(engine):
    """One forward of the base network for all tasks; the answers and maps are the same as one by one."""
    robustness, data = Robustness(engine=engine), TinyTaskData()
    module, run = Tiny().eval(), trainer()
    data.trainer = run
    pair = next(iter(data.pair_dataloader("val")))
    calls = []
    module.trunk.register_forward_hook(lambda *_: calls.append(1))
    answers = TaskMaps(robustness, [TASK, FINDINGS, PLACES]).ask(module, pair, ["covidx", "findings", "places"])
    assert len(calls) == (1 if engine == "gradcam" else 3)  # boxes and two tasks; the library runs the network anew
    for ours, theirs in zip(answers["covidx"], PairMaps(robustness, TASK)(run, module, pair), strict=True):
        for left, right in zip(ours, theirs, strict=True):
            assert torch.equal(left, right)


def test_boxes_of_both_sides():
    data = TinyTaskData()
    data.trainer = trainer()
    pair = next(iter(data.pair_dataloader("val")))
    original, received = TaskMaps(Robustness(), [PLACES]).ask(Tiny().eval(), pair, ["places"])["places"]
    assert len(original) == len(received) == len(pair.id)
    assert original[0]["boxes"].shape == (1, 4)
    assert not torch.equal(original[0]["scores"], received[0]["scores"])
