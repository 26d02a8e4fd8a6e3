"""Starting from another network: what fits, and what is left out."""

from pathlib import Path

import pytest
import torch

from experiments.errors import UserError
from lightning_modules.initial import InitialWeights, load_initial, read_initial
from lightning_modules.load import build_module
from lightning_modules.multitask import MultiTaskModule
from tests.helpers.tiny_experiment import experiment

SMALL = ("model.backbone=timm:test_resnet", "active_tasks=[covidx,nodule]")


def build(*overrides: str) -> MultiTaskModule:
    return build_module(experiment(*SMALL, *overrides), pretrained=False)


def filled(module: MultiTaskModule, value: float = 0.5) -> dict[str, torch.Tensor]:
    """All of a module's numbers the same, but for what batch normalisations count."""
    return {
        name: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor
        for name, tensor in module.state_dict().items()
    }


def test_a_trained_network_gives_its_base_network_and_its_equal_heads():
    old = build()
    others = ("tasks.covidx.labels=[normal,COVID-19]", "tasks.covidx.upsample={COVID-19: normal}")
    new = build("active_tasks=[covidx,effusion]", *others)
    loaded = load_initial(new, InitialWeights("run 4f0c", filled(old), old.experiment))
    halves = {name for name, tensor in new.state_dict().items() if (tensor == 0.5).all()}
    assert {name for name in loaded.loaded if not name.endswith("num_batches_tracked")} == halves
    assert {name for name in new.state_dict() if name.startswith("backbone.")} <= set(loaded.loaded)
    weight = "tasks.covidx.head.5.weight"
    assert loaded.unfit.keys() == {weight, weight.replace("weight", "bias")}
    assert loaded.unknown
    assert all(name.startswith("tasks.nodule.") for name in loaded.unknown)
    assert "has no place here, left out: tasks.nodule" in loaded.text
    assert "starts from scratch: tasks.effusion" in loaded.text
    assert f"does not fit, left out: {weight} is of other labels" in loaded.text


def test_equal_labels_in_another_order_are_other_labels():
    old, new = build(), build("tasks.covidx.labels=[COVID-19,pneumonia,normal]")
    loaded = load_initial(new, InitialWeights("run 4f0c", filled(old), old.experiment))
    assert set(loaded.unfit.values()) == {"is of other labels"}


def test_other_shapes_are_left_out():
    old, new = build("model.transition_channels=4"), build("model.transition_channels=8")
    loaded = load_initial(new, InitialWeights("run 4f0c", filled(old), old.experiment))
    assert "(4, 96, 3, 3) instead of (8, 96, 3, 3)" in loaded.text


@pytest.mark.parametrize("before", ["", "model.", "module.encoder.", "features."])
def test_a_base_network_by_its_publishers_names(before: str):
    module = build("model.backbone=resnet18")
    names = [name for name in module.state_dict() if name.startswith("backbone.network.")]
    tensors = {f"{before}{name.removeprefix('backbone.network.')}": module.state_dict()[name] * 0 + 1 for name in names}
    loaded = load_initial(module, InitialWeights("some.pth", tensors | {f"{before}fc.weight": torch.zeros(3, 3)}))
    assert loaded.loaded == sorted(names)
    assert loaded.unknown == ["backbone.network.fc.weight"]


def test_a_first_layer_of_one_channel_gives_the_same_answers():
    module = build("model.backbone=resnet18")
    grey = torch.rand(64, 1, 7, 7)
    load_initial(module, InitialWeights("some.pth", {"conv1.weight": grey}))
    image = torch.rand(1, 1, 16, 16)
    spread = module.state_dict()["backbone.network.conv1.weight"]
    conv = torch.nn.functional.conv2d
    assert torch.allclose(conv(image.expand(-1, 3, -1, -1), spread), conv(image, grey), atol=1e-4)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"blocks.0.weight": torch.zeros(3)}, r"nothing of some.pth fits the base network timm:test_resnet"),
        ({"stem.conv1.weight": torch.zeros(3)}, r"nothing of some.pth fits"),
        (None, "holds NaN or infinite values"),
    ],
)
def test_what_cannot_be_started_from_is_one_message(tensors: dict[str, torch.Tensor] | None, message: str):
    module = build()
    trained = None if tensors is not None else module.experiment
    given = filled(module, float("nan")) if tensors is None else tensors
    with pytest.raises(UserError, match=message):
        load_initial(module, InitialWeights("some.pth", given, trained))


def test_files(tmp_path: Path, checkpoint):
    path, module = checkpoint
    initial = read_initial(path, "run 4f0c")
    assert initial.trained.tasks == module.experiment.tasks
    assert initial.normalisation == module.normalise.settings
    torch.save({"state_dict": {"module.conv1.weight": torch.zeros(1)}}, tmp_path / "others.ckpt")
    other = read_initial(tmp_path / "others.ckpt", "others.ckpt")
    assert (list(other.tensors), other.trained) == (["conv1.weight"], None)


def test_python_is_told_who_loads_it():
    with pytest.raises(UserError, match="begin_module"):
        build_module(experiment(*SMALL, "model.init_from=run"))
