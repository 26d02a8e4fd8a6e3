from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from covidmt.lungs.segment import write_masks
from covidmt.lungs.train import train_lungs
from datamodules.images.decode import decode
from experiments.errors import UserError
from experiments.load import load_lungs_experiment
from lightning_modules.lungs.unet import LungUNet


@pytest.fixture(scope="module")
def trained(tmp_path_factory, demo_data):
    """The demo experiment, one short epoch."""
    folder = tmp_path_factory.mktemp("trained")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        overrides = [
            f"data.root={demo_data}", "data.image_size=64", "data.num_workers=0", "tracking.system_metrics=false",
            "trainer.max_epochs=1", "trainer.limit_train_batches=6", "trainer.enable_progress_bar=false",
            "trainer.accelerator=cpu",
        ]  # fmt: skip
        yield train_lungs(load_lungs_experiment("experiments/lungs_demo.yaml", overrides))


def test_the_run_has_table_2_and_a_checkpoint_that_segments(trained, demo_data, capsys, monkeypatch):
    import mlflow

    monkeypatch.chdir(trained.parents[3])
    client = mlflow.MlflowClient(f"sqlite:///{trained.parents[2]}/mlflow.db")
    (run,) = client.search_runs(
        [e.experiment_id for e in client.search_experiments(filter_string="name = 'covidmt-lungs'")]
    )
    assert run.info.status == "FINISHED"
    for stage in ("val", "test"):
        for label in ("lung", "background"):
            for score in ("f1", "jaccard", "precision", "recall"):
                assert 0 <= run.data.metrics[f"{stage}/{label}/{score}"] <= 1
        assert 0.5 < run.data.metrics[f"{stage}/accuracy"] <= 1
    assert [a.path for a in client.list_artifacts(run.info.run_id, "checkpoints")] == ["checkpoints/lungs.ckpt"]
    assert LungUNet.load(trained).experiment.name == "lungs_demo"


def test_masks_are_written_at_the_images_own_sizes(trained, demo_data, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a b.jpg"), np.full((50, 70), 90, np.uint8))
    dicom = next((demo_data / "rsna/stage_2_train_images").iterdir())
    (images / "c.dcm").write_bytes(dicom.read_bytes())
    write_masks(trained, images, tmp_path / "masks")
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == ["a b.png", "c.png"]
    assert decode(tmp_path / "masks/a b.png").shape == (50, 70)
    mask = decode(tmp_path / "masks/c.png")
    assert mask.shape == decode(dicom).shape
    assert set(np.unique(mask)) <= {0, 255}
    assert "2 masks" in capsys.readouterr().out


def test_mistakes_are_named(trained, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    with pytest.raises(UserError, match="no images"):
        write_masks(trained, images, tmp_path / "masks")
    for name in ("a.png", "a.jpg"):
        cv2.imwrite(str(images / name), np.zeros((8, 8), np.uint8))
    with pytest.raises(UserError, match="both"):
        write_masks(trained, images, tmp_path / "masks")
    with pytest.raises(UserError, match="among the images"):
        write_masks(trained, images / "a.png", images)
    with pytest.raises(UserError, match="no such image"):
        write_masks(trained, Path("absent.png"), tmp_path / "masks")
    with pytest.raises(UserError, match="no such checkpoint"):
        write_masks(Path("absent.ckpt"), images, tmp_path / "masks")
