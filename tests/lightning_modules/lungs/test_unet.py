from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from experiments.batch import LungBatch
from experiments.errors import UserError
from experiments.load import to_dict
from experiments.lungs_schema import LungData, LungFolder, LungModel, LungsExperiment
from experiments.models.schema import Normalisation
from lightning_modules.lungs import unet
from lightning_modules.lungs.segmentation import Segmentation
from lightning_modules.lungs.segmenters import segmenter_id
from lightning_modules.lungs.unet import Logits, LungUNet


def experiment(folders: int = 1, **model) -> LungsExperiment:
    model = {"encoder": "resnet18", "encoder_weights": None, **model}
    data = LungData(image_size=64, folders={f"f{i}": LungFolder(root=".") for i in range(folders)})
    return LungsExperiment(name="test", data=data, model=LungModel(**model))


def save(module: LungUNet, path) -> None:
    trainer = Trainer(accelerator="cpu", logger=False, barebones=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("lungs") / "lungs.ckpt"
    save(LungUNet(experiment()), path)
    return path


def batch_of(lungs: torch.Tensor, folder: int = 0, heart: bool = False, pose: int = 0) -> LungBatch:
    n = len(lungs)
    images = torch.zeros(n, 1, *lungs.shape[1:], dtype=torch.uint8)
    known, poses = torch.full((n,), heart), torch.full((n,), pose)
    return LungBatch(images, lungs, torch.full((n,), folder), lungs if heart else lungs & False, known, poses)


def test_segment_gives_probabilities_of_the_images_size():
    images = torch.randint(0, 256, (2, 1, 64, 96), dtype=torch.uint8)
    plain = LungUNet(experiment()).eval().segment(images)
    assert plain.lungs.shape == (2, 64, 96)
    assert plain.heart is None
    assert plain.pose_names == [None, None]
    whole = LungUNet(experiment(heart=True, pose=True)).eval()
    drawn = whole.segment(images)
    assert drawn.heart is not None
    assert drawn.poses is not None
    assert drawn.heart.shape == (2, 64, 96)
    assert drawn.poses.sum(dim=1).tolist() == pytest.approx([1, 1])
    assert whole.conventions == {"in", "out"}


def test_what_is_unknown_enters_no_loss():
    """Lungs and heart of a turned film, and the heart of a film without one, leave the loss as it is."""
    torch.manual_seed(0)
    module = LungUNet(experiment(heart=True, pose=True))
    areas = torch.randn(1, 2, 8, 8)
    logits = Logits(areas, torch.zeros(1, 6))
    lungs = torch.zeros(1, 8, 8, dtype=torch.bool)
    lungs[0, 2:5] = True
    chance = 0.2 * float(torch.log(torch.tensor(6.0)))
    assert float(module._loss(logits, batch_of(lungs, pose=2))) == pytest.approx(chance)
    without = float(module._loss(logits, batch_of(lungs)))
    assert float(module._loss(Logits(areas[:, :1].repeat(1, 2, 1, 1), logits.poses), batch_of(lungs))) == without
    assert float(module._loss(logits, batch_of(lungs, heart=True))) > without


def test_scores_are_table_2s(monkeypatch):
    """8 lung pixels, 6 of them found, and 2 found beside: by hand from TP=6, FP=2, FN=2, TN=54."""
    module = LungUNet(experiment(folders=2))
    wanted = torch.zeros(1, 8, 8, dtype=torch.bool)
    wanted[0, 0] = True
    found = wanted.clone()
    found[0, 0, :2] = False
    found[0, 1, :2] = True
    monkeypatch.setattr(module, "segment", lambda images: Segmentation(found.float()))
    monkeypatch.setattr(module, "forward", lambda images: Logits(found[:, None].float(), None))
    logged: dict[str, float] = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: float(value)}))
    monkeypatch.setattr(module, "log_dict", lambda values, **_: logged.update({k: float(v) for k, v in values.items()}))
    for folder in (0, 1):
        module.test_step(batch_of(wanted, folder), 0)
    module.on_test_epoch_end()
    assert logged["test/lung/precision"] == pytest.approx(6 / 8)
    assert logged["test/lung/recall"] == pytest.approx(6 / 8)
    assert logged["test/lung/f1"] == pytest.approx(6 / 8)
    assert logged["test/lung/jaccard"] == pytest.approx(6 / 10)
    assert logged["test/background/f1"] == pytest.approx(54 / 56)
    assert logged["test/background/jaccard"] == pytest.approx(54 / 58)
    assert logged["test/accuracy"] == pytest.approx(60 / 64)
    assert logged["test/f1/lung/f1"] == pytest.approx(6 / 8)  # of the folder f1


def test_a_checkpoint_brings_its_experiment_and_gives_the_same_masks(checkpoint):
    plain = torch.load(checkpoint, map_location="cpu", weights_only=True)
    expected = to_dict(experiment())
    expected["model"]["normalisation"] = to_dict(Normalisation())  # the numbers themselves
    assert plain["lungs_experiment"] == expected
    module = LungUNet.load(checkpoint)
    assert not module.training
    torch.manual_seed(0)
    original = LungUNet(experiment()).eval()
    images = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    assert torch.equal(module.segment(images).lungs, original.segment(images).lungs)
    assert len(segmenter_id(checkpoint)) == 12


def test_a_checkpoint_of_before_normalisation_keeps_imagenets(checkpoint, tmp_path):
    """Also where the encoder's own would be another now, as that of the shipped segmenter."""
    content = torch.load(checkpoint, weights_only=True)
    del content["lungs_experiment"]["model"]["normalisation"]
    content["lungs_experiment"]["model"]["weights"] = "some.pth"
    torch.save(content, tmp_path / "old.ckpt")
    assert LungUNet.load(tmp_path / "old.ckpt").normalise.settings == Normalisation()
    shipped = Path(unet.__file__).with_name("lung_unet.ckpt")
    assert LungUNet.load(shipped).normalise.settings == Normalisation()


def test_the_encoders_own_normalisation_goes_with_the_exported_network(tmp_path):
    model = replace(experiment().model, normalisation=Normalisation([0.5] * 3, [0.5] * 3))
    LungUNet(replace(experiment(), model=model)).export(tmp_path / "bare.ckpt")
    assert LungUNet.load(tmp_path / "bare.ckpt").normalise.settings == model.normalisation


def test_a_wrong_file_is_named(checkpoint, tmp_path):
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(checkpoint.read_bytes()[:5000])
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {}}, other)
    text = tmp_path / "text.ckpt"
    text.write_text("not a checkpoint")
    for path, part in (
        (broken, "cut short"),
        (text, "not a checkpoint"),
        (other, "covidmt lungs train"),
        (tmp_path / "no", "no such"),
    ):
        with pytest.raises(UserError, match=part) as caught:
            LungUNet.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="no such checkpoint"):
        segmenter_id(tmp_path / "no")


def test_wrong_settings_are_named():
    odd = experiment()
    odd.data.image_size = 100
    with pytest.raises(UserError, match=r"multiple of 32"):
        LungUNet(odd)
