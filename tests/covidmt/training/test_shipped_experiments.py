"""Every shipped experiment, through the command line: one tiny epoch on made-up data with the real tracking store."""

from collections.abc import Callable
from pathlib import Path
from shutil import copyfile

import mlflow
import pytest
import yaml
from mlflow.entities import Run

from experiments.load import SHIPPED, load_experiment, to_dict
from experiments.trials import load_sweep

pytestmark = pytest.mark.slow

EXPERIMENTS = sorted(p.name for p in SHIPPED.glob("*.yaml") if not p.name.startswith(("lungs_", "pretrain")))
SWEEPS = sorted(p.name for p in (SHIPPED / "sweeps").glob("*.yaml") if not p.name.startswith("mini_"))
LUNGS = sorted(p.name for p in SHIPPED.glob("lungs_*.yaml"))
TINY = [
    "data.image_size=64",
    "data.num_workers=0",
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
]
# The made-up masks of RSNA's and NIH's names are those of COVIDx's files, some of which are cropped.
NO_MASKS = ["data.masks={folders: [], segmenter: null}"]


def tiny(data: Path) -> list[str]:
    return [
        *TINY,
        f"data.root={data}",
        "model.pretrained=false",
        "model.weights=null",
        "data.pairs.limit=2",
        f"data.masks={{folders: [{data}/lungs/masks], segmenter: null}}",
        "trainer.limit_test_batches=1",
        "robustness.overlays=1",
    ]


def finished(folder: Path) -> Run:
    (run,) = mlflow.MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db").search_runs(["1"])
    assert run.info.status == "FINISHED"
    return run


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_for_one_tiny_epoch(
    name: str, covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    # the made-up chests have some of NIH's findings
    fewer = ["tasks.findings.labels=[Effusion,Nodule]"] if name == "chexwhatsapp_nih.yaml" else []
    fewer += NO_MASKS if name.startswith("chexwhatsapp") else []
    assert covidmt("train", f"experiments/{name}", *tiny(demo_data), *fewer) == 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    run = finished(tmp_path)
    experiment = load_experiment(SHIPPED / name)
    metrics = run.data.metrics
    for task in experiment.active:
        assert f"train/{task.name}/loss" in metrics
        assert f"val/{task.name}/loss" in metrics
    for split in ("val", "test"):
        assert 0 <= metrics[f"{split}/pi_score"] <= 100
        assert f"{split}/pairs" in metrics
    assert run.data.params["n_tasks"] == str(len(experiment.active))
    pictures = {artifact.path for artifact in client.list_artifacts(run.info.run_id, "images")}
    assert any("gradcam" in path for path in pictures)
    out = capsys.readouterr().out
    assert "PI score" in out
    assert run.info.run_id in out


@pytest.mark.parametrize("name", SWEEPS)
def test_a_trial_of_a_sweep_runs_for_one_tiny_epoch(
    name: str, covidmt: Callable[..., int], demo_data: Path, tmp_path: Path
):
    """The last one, which is farthest from the base experiment; of representations the one that needs no masks."""
    _, trials = load_sweep(SHIPPED / "sweeps" / name, [f"data.root={demo_data}"])
    experiment = trials[0 if name == "hide_and_seek.yaml" else -1].experiment
    (tmp_path / "trial.yaml").write_text(yaml.safe_dump(to_dict(experiment)))
    fewer = ["tasks.covid.batch_size=8"] if experiment.privacy is not None else []  # than there are images
    fewer += NO_MASKS if name == "chexwhatsapp.yaml" else []
    if name == "source_identification.yaml":
        fewer = ["tasks.origin.labels=[cohen,rsna]", "data.view=original"]  # sources of the made-up set
    assert covidmt("train", "trial.yaml", *tiny(demo_data), *fewer) == 0
    run = finished(tmp_path)
    assert 0 <= run.data.metrics["test/pi_score"] <= 100
    assert run.data.params["backbone"] == experiment.model.backbone
    if experiment.privacy is not None:
        assert 0 < run.data.metrics["test/epsilon"] <= 50
    for name in ("consistency", "attention"):
        assert (f"train/{name}" in run.data.metrics) == (getattr(experiment.losses, name) > 0)


@pytest.mark.parametrize("name", sorted(path.name for path in (SHIPPED / "sweeps").glob("mini_*.yaml")))
def test_the_small_sweeps_are_sound(name: str):
    _, trials = load_sweep(SHIPPED / "sweeps" / name)
    assert len(trials) > 1


@pytest.mark.parametrize("name", LUNGS)
def test_a_lungs_experiment_runs_for_one_tiny_epoch(
    name: str, covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    overrides = [*TINY, f"data.root={demo_data}", "model.encoder_weights=null", "model.weights=null"]
    if name == "lungs_covidmt.yaml":
        made = f"{{root: {demo_data}/lungs, table: pairs.csv, images: images}}"
        overrides += [f"data.folders.{folder}={made}" for folder in ("kermany", "gb", "exact", "cropfit")]
        overrides += ["data.folders.gb.hearts=masks"]  # the demo has no hearts: any area does
    if name == "lungs_hide_and_seek.yaml":
        overrides[len(TINY)] = f"data.root={_as_in_the_paper(demo_data / 'lungs', tmp_path)}"
    assert covidmt("lungs", "train", f"experiments/{name}", *overrides) == 0
    if name == "lungs_hide_and_seek.yaml":
        out = capsys.readouterr().out
        assert "test cohen" in out
        assert "0.918" in out  # the paper's F1 of the lung there


def _as_in_the_paper(lungs: Path, root: Path) -> Path:
    """Made-up chests in the layouts of Tang et al. (six images a mask) and of the Cohen set."""
    augmentation, nih = root / "XLSor_data/data/Augmentation", root / "XLSor_data/data/NIH"
    cohen = root / "covid-chestxray-dataset"
    annotations = cohen / "annotations/lungVAE-masks"
    for folder in (augmentation, nih / "images", nih / "masks", cohen / "images", annotations):
        folder.mkdir(parents=True)
    images = sorted((lungs / "images").glob("*.png"))
    for image in images[:6]:
        mask = lungs / "masks" / image.name
        copyfile(mask, augmentation / f"{image.stem}_mask.png")
        for number in range(6):
            copyfile(image, augmentation / f"{image.stem}_{number}.png")
    for image, (pictures, masks) in zip(
        images[6:], [(nih / "images", nih / "masks"), (cohen / "images", annotations)], strict=False
    ):
        copyfile(image, pictures / image.name)
        copyfile(lungs / "masks" / image.name, masks / f"{image.stem}_mask.png")
    return root
