import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from experiments.errors import UserError
from experiments.load import to_dict
from experiments.lungs_schema import LungData, LungFolder, LungModel, LungsExperiment
from lightning_modules.lungs.segmenters import segmenter_id
from lightning_modules.lungs.unet import LungUNet, two_largest_areas


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


def test_two_largest_areas_stay():
    mask = np.zeros((12, 12), bool)
    mask[1:5, 1:5] = mask[6:10, 1:4] = mask[1:3, 8:10] = mask[11, 11] = True
    kept = two_largest_areas(mask)
    wanted = np.zeros((12, 12), bool)
    wanted[1:5, 1:5] = wanted[6:10, 1:4] = True
    assert np.array_equal(kept, wanted)
    assert not two_largest_areas(np.zeros((4, 4), bool)).any()


def test_segment_gives_bool_masks_of_the_images_size():
    module = LungUNet(experiment()).eval()
    images = torch.randint(0, 256, (2, 1, 64, 96), dtype=torch.uint8)
    masks = module.segment(images)
    assert masks.shape == (2, 64, 96)
    assert masks.dtype == torch.bool


def test_scores_are_table_2s(monkeypatch):
    """8 lung pixels, 6 of them found, and 2 found beside: by hand from TP=6, FP=2, FN=2, TN=54."""
    module = LungUNet(experiment(folders=2))
    wanted = torch.zeros(1, 8, 8, dtype=torch.bool)
    wanted[0, 0] = True
    found = wanted.clone()
    found[0, 0, :2] = False
    found[0, 1, :2] = True
    monkeypatch.setattr(module, "segment", lambda images: found)
    monkeypatch.setattr(module, "forward", lambda images: found.float())
    logged: dict[str, float] = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: float(value)}))
    monkeypatch.setattr(module, "log_dict", lambda values, **_: logged.update({k: float(v) for k, v in values.items()}))
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    for folder in (0, 1):
        module.test_step((images, wanted, torch.tensor([folder])), 0)
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
    assert plain["lungs_experiment"] == to_dict(experiment())
    module = LungUNet.load(checkpoint)
    assert not module.training
    torch.manual_seed(0)
    original = LungUNet(experiment()).eval()
    images = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    assert torch.equal(module.segment(images), original.segment(images))
    assert len(segmenter_id(checkpoint)) == 12


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
