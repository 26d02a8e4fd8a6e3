"""Published networks, out of this machine's caches and without internet."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchxrayvision.models import DenseNet, model_urls

from experiments.errors import UserError
from experiments.models.schema import Model, Normalisation
from lightning_modules.networks.backbones import build_backbone
from lightning_modules.networks.published import published_weights

NAME = "densenet121-res224-all"


@pytest.fixture
def hub(offline: Path) -> Path:
    """A repository in the hub's cache, as its own client leaves it."""
    folder = offline / "hf/models--someone--net"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("4f0c")
    (folder / "snapshots/4f0c").mkdir(parents=True)
    return folder / "snapshots/4f0c"


def test_a_repository_of_the_hub_in_the_cache(hub: Path):
    network = timm.create_model("test_resnet", pretrained=False)
    save_file(network.state_dict(), hub / "model.safetensors")
    (hub / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}))
    for reference in ("hf-hub:someone/net", "hf-hub:someone/net@main"):
        tensors, normalisation = published_weights(reference)
        assert tensors.keys() == network.state_dict().keys()
        assert normalisation == Normalisation([0.5] * 3, [0.25] * 3)

    (hub / "config.json").unlink()
    assert published_weights("hf-hub:someone/net").normalisation is None


@pytest.mark.usefixtures("offline")
def test_without_internet_the_hub_is_one_message():
    with pytest.raises(UserError, match=r"hf-hub:someone/other is not in this machine's cache.*`hf download someone/"):
        published_weights("hf-hub:someone/other")


@pytest.mark.usefixtures("offline")
def test_a_name_that_the_hub_does_not_take_is_one_message():
    with pytest.raises(UserError, match=r"model\.init_from: hf-hub:a/b/c/d"):
        published_weights("hf-hub:a/b/c/d")


def test_torchxrayvisions_network_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".torchxrayvision/models_data" / Path(model_urls[NAME]["weights_url"]).name
    file.parent.mkdir(parents=True)
    torch.save(DenseNet(num_classes=18), file)
    tensors, normalisation = published_weights(f"torchxrayvision:{NAME}")
    backbone = build_backbone(Model("densenet121", pretrained=False), 64)
    ours = {f"features.{name}" for name in backbone.network.state_dict()}
    assert ours <= tensors.keys()
    assert tensors["features.conv0.weight"].shape == (64, 1, 7, 7)
    grey = torch.tensor([0.0, 1.0])
    scaled = (grey - normalisation.mean[0]) / normalisation.std[0]
    assert scaled.tolist() == [-1024, 1024]

    file.write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"cannot be loaded.*delete"):
        published_weights(f"torchxrayvision:{NAME}")


@pytest.mark.usefixtures("offline")
def test_torchxrayvision_without_internet_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"cannot be downloaded .*bring nih-pc-chex-mimic_ch.*\.pt"):
        published_weights(f"torchxrayvision:{NAME}")
    with pytest.raises(UserError, match=r"no network 'densenet121-all'; did you mean"):
        published_weights("torchxrayvision:densenet121-all")
