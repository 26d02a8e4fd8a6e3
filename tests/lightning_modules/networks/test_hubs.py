from __future__ import annotations

import pytest
import timm

from experiments.errors import UserError
from lightning_modules.networks.hubs import cached_timm_weights, require_torchvision_weights

URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"


def test_a_file_in_torchs_cache_needs_no_hub(offline):
    with pytest.raises(UserError, match=r"ImageNet weights of resnet18 .*covidmt weights fetch resnet18 DIR"):
        require_torchvision_weights(URL, "resnet18")
    folder = offline / "torch" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "resnet18-f37072fd.pth").write_bytes(b"")
    require_torchvision_weights(URL, "resnet18")


def test_timms_weights_are_looked_up_on_its_hub_or_at_an_address(offline):
    config = timm.get_pretrained_cfg("resnet18")
    with pytest.raises(UserError, match="the hub cannot be reached"):
        cached_timm_weights(config, "timm:resnet18")
    snapshot = offline / "hf" / "models--timm--resnet18.a1_in1k" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "model.safetensors").write_bytes(b"")
    assert cached_timm_weights(config, "timm:resnet18") == {"file": str(snapshot / "model.safetensors")}

    at_an_address = timm.models.PretrainedCfg(url=URL)
    with pytest.raises(UserError, match="the hub cannot be reached"):
        cached_timm_weights(at_an_address, "timm:resnet18")
    (offline / "torch" / "checkpoints").mkdir(parents=True)
    (offline / "torch" / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"")
    assert cached_timm_weights(at_an_address, "timm:resnet18") == {}
