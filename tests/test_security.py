"""What comes from others runs no code, reads no file but its own, and tells nobody who a patient is."""

import ast
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch

from covidmt.comparison.panel import predictor_of
from covidmt.rooms import ROOMS
from covidmt.sweeps.folder import SweepFolder
from covidmt.tracking.folders import RunFolder
from covidmt.tracking.spool import Spool
from covidmt.tracking.store import Store as TrackingStore
from datamodules.demo.write import write_demo
from experiments.errors import UserError
from experiments.load import to_dict
from lightning_modules.checkpoint import read_checkpoint
from lightning_modules.multitask import MultiTaskModule
from lightning_modules.networks.weights import read_weights
from tests.conftest import REPO
from tests.helpers.tiny_experiment import experiment
from tests.helpers.trials import submitted, write_sweep

# Each can run code of whoever wrote the file that it reads.
UNSAFE = {"load_from_checkpoint", "read_pickle", "unsafe_load", "full_load", "eval", "exec", "Unpickler"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def test_nothing_that_is_read_can_run_code():
    for path in (path for room in ROOMS for path in (REPO / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(REPO)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & UNSAFE_MODULES, where
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
                assert all(alias.name.endswith("Error") for alias in node.names), where
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            plain_eval = name.endswith(".eval") and not node.args  # a network's evaluation mode
            assert name.rpartition(".")[2] not in UNSAFE or plain_eval, where
            assert given.get("allow_pickle", "False") == "False", where
            if name == "torch.load":
                assert given.get("weights_only") == "True", where
            if name.endswith(("trainer.fit", "trainer.test", "trainer.validate")) and "ckpt_path" in given:
                assert given.get("weights_only") == "True", where
            if name == "yaml.load":
                assert "Safe" in given.get("Loader", ""), where


def test_a_checkpoint_chooses_no_code(
    covidmt: Callable[..., int],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    module = MultiTaskModule(experiment("active_tasks=[covidx]"), pretrained=False)
    values = to_dict(module.experiment)
    values["trainer"]["plugins"] = [{"class_path": "os.mkdir", "init_args": {"path": str(tmp_path / "run")}}]
    torch.save({"state_dict": module.state_dict(), "experiment": values}, tmp_path / "best.ckpt")
    assert covidmt("evaluate", "best.ckpt", "data.root=nowhere") == 2
    assert "trainer.plugins: ignored, for the checkpoint's value names code to run" in caplog.text
    assert "no folder nowhere/" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_has_no_segmenter_trained(
    covidmt: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Neither the code that the lungs experiment names is run, nor a folder made where the checkpoint says."""
    write_demo(tmp_path / "data", seed=0, size=32, patients=48)
    settings = ["active_tasks=[covidx]", "data.masks.folders=[]", "data.masks.segmenter=lungs.yaml"]
    module = MultiTaskModule(experiment(*settings, f"data.masks.cache={tmp_path}/elsewhere"), pretrained=False)
    torch.save({"state_dict": module.state_dict(), "experiment": to_dict(module.experiment)}, tmp_path / "best.ckpt")
    code = f"{{class_path: os.mkdir, init_args: {{path: {tmp_path}/run}}}}"
    (tmp_path / "lungs.yaml").write_text(
        f"extends: {REPO}/experiments/lungs_demo.yaml\ntrainer: {{callbacks: [{code}]}}"
    )
    assert covidmt("evaluate", "best.ckpt", "data.root=data", "data.num_workers=0") == 2
    assert "data.masks.segmenter (lungs.yaml): the checkpoint names this lungs experiment" in capfd.readouterr().err
    with pytest.raises(UserError, match="must not choose what is run"):
        predictor_of(module, None)  # of `covidmt panel`
    assert not (tmp_path / "run").exists()
    assert covidmt("evaluate", "best.ckpt", "data.root=data", "data.masks.segmenter=lungs.yaml") == 2
    assert "trainer.callbacks" in capfd.readouterr().err
    assert (tmp_path / "run").exists()  # what is given by hand is run
    assert not (tmp_path / "elsewhere").exists()


SECRET = "hunter2-Zq9"


def test_no_secret_is_logged_saved_or_printed(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
):
    """Planted in settings, in the environment, in what fails; sought in all that is written, and on the terminal."""
    monkeypatch.setenv("ARCHIVE_TOKEN", SECRET)
    logger = (
        f"{{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {{save_dir: logs, version: pwd={SECRET}}}}}"
    )
    planted = [
        f"tracking.tags={{archive: 'https://{SECRET}@archive.org', by_name: 'api_key={SECRET}'}}",
        "tracking.run_name=from_${oc.env:ARCHIVE_TOKEN}",
        f"model.weights=package:nowhere/me:{SECRET}",  # refused, with its name
        f"trainer.callbacks=[{{class_path: tests.helpers.failing.Fails, init_args: {{text: 'db://me:p@/{SECRET}@db'}}}}]",
    ]
    small = ["active_tasks=[covidx]", "data.image_size=32", "data.num_workers=0", "data.pairs.test=null"]
    small += ["model.backbone=timm:test_resnet", "model.transition_channels=8", f"data.root={demo_data}"]
    assert covidmt("train", "experiments/demo.yaml", *small, *planted) == 2
    with pytest.raises(ValueError, match="no route to db"):
        covidmt("train", "experiments/demo.yaml", *small, *planted[:2], planted[3], "trainer.accelerator=cpu")
    assert covidmt("train", "experiments/demo.yaml", *small, f"trainer.logger={logger}", "--print-config") == 0
    assert covidmt("train", "experiments/demo.yaml", f"seed=https://me:{SECRET}@server") == 2
    said = "".join(capfd.readouterr())
    assert said.count("***") >= 3
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"experiment.yaml", "traceback.txt", "mlflow.db"} <= {path.name for path in written}
    assert SECRET not in said
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert not [path for path in tmp_path.rglob("*") if SECRET in path.name]


def test_a_checkpoint_tells_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ARCHIVE_TOKEN", SECRET)
    callback = f"{{class_path: some.Logger, init_args: {{api_key: abc, url: 'http://me:{SECRET}@server'}}}}"
    settings = ["data.root=/data/${oc.env:ARCHIVE_TOKEN}", f"trainer.callbacks=[{callback}]"]
    checkpoint: dict[str, Any] = {}
    MultiTaskModule(experiment("active_tasks=[covidx]", *settings), pretrained=False).on_save_checkpoint(checkpoint)
    assert checkpoint["experiment"]["data"]["root"] == "/data/***"
    assert checkpoint["experiment"]["trainer"]["callbacks"][0]["init_args"] == {
        "api_key": "***",
        "url": "http://me:***@server",
    }
    assert SECRET not in str(checkpoint)


def test_a_sweep_tells_no_secret_but_to_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("experiments.plugins.imports._chosen", set())  # what other tests have named of this folder
    monkeypatch.setattr("covidmt.sweeps.runs.code_diff", lambda: f"+    password = '{SECRET}'\n")
    points = [{"tracking.tags": {"archive": f"https://me:{SECRET}@archive.org"}}]
    path = write_sweep(
        tmp_path / "s.yaml", tmp_path / "data", list=points, launcher={"setup": [f"export A_TOKEN={SECRET}"]}
    )
    path.rename(tmp_path / ".s.yaml")  # a person's own file
    (tmp_path / "s.yaml").symlink_to(tmp_path / ".s.yaml")
    folder, trials = submitted(tmp_path / "s.yaml")
    assert len(trials) == 1
    for file in (tmp_path / "mlruns").rglob("*"):
        if file.is_file() and SECRET.encode() in file.read_bytes():
            assert file.parent == folder.path, file
            assert file.stat().st_mode & 0o077 == 0, file  # what its jobs need
    assert [file.name for file in (tmp_path / "mlruns" / "artifacts").rglob("code.diff")] == ["code.diff"]


LEADING_OUT = ["../../x", "/etc", "..", ".hidden", "a/b", "a\nb", "", "x" * 201, "a b", "$(x)"]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_ids_and_names_of_others_lead_nowhere_else(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for make in (RunFolder, SweepFolder.named, SweepFolder(tmp_path).trial):
        with pytest.raises(UserError, match="is no name of a folder"):
            make(name)


def test_a_spool_sends_and_removes_nothing_outside_of_itself(tmp_path: Path):
    """Its events may come from elsewhere: from a broken disk, or another person's folder."""
    store = TrackingStore(f"sqlite:///{tmp_path}/mlflow.db")
    store.prepare()
    run_id = store.client.create_run(store.open_experiment("..")).info.run_id
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text(SECRET)
    spool = Spool(tmp_path / "spool" / run_id, store)
    for file in ("../../../private/key", f"{tmp_path}/private/key"):
        spool.append("artifact", file=file, path=None)
    while spool.send(store.client):
        pass
    assert spool.rejected
    assert store.client.list_artifacts(run_id) == []
    assert (tmp_path / "private" / "key").exists()
    uri = store.client.get_run(run_id).info.artifact_uri
    assert Path(str(uri)).is_relative_to(tmp_path / "artifacts")


def test_a_checkpoint_that_unpacks_to_more_than_it_is(tmp_path: Path):
    path = tmp_path / "bomb.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(2**20)}}, path)
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "small.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in stored.namelist():
            bomb.writestr(name, stored.read(name))
    assert (tmp_path / "small.ckpt").stat().st_size < 2**16
    for read in (lambda file: read_checkpoint(file, "covidmt train"), lambda file: read_weights(str(file))):
        read(path)
        with pytest.raises(UserError, match="it is compressed, as no checkpoint is"):
            read(tmp_path / "small.ckpt")


WHO = {
    "PatientName": "Identifiable^Patricia",
    "PatientID": "PID-775533",
    "PatientBirthDate": "19010203",
    "PatientAddress": "Secretstreet 17",
    "AccessionNumber": "ACC-446688",
    "StudyDate": "19990708",
    "StudyInstanceUID": "1.2.840.99887766.1",
    "InstitutionName": "Hidden Hospital",
    "ReferringPhysicianName": "Referrer^Ruth",
    "DeviceSerialNumber": "SERIAL-224466",
    "PatientComments": "not even this remark",
    "OtherPatientIDs": ["OTHER-119922"],
}
TELLING = [
    *(str(value) for value in WHO.values() if isinstance(value, str)),
    "OTHER-119922",
    "Patricia",
    "Secretstreet",
]


def identify(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in WHO.items():
        setattr(dataset, name, value)
    private = dataset.private_block(0x0011, "covidmt test", create=True)
    private.add_new(0x01, "LO", "PRIVATE-558811")
    dataset.save_as(path)


@pytest.mark.slow
def test_who_a_patient_is_stays_in_the_dicom(
    covidmt: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
):
    write_demo(tmp_path / "data", seed=0, size=32, patients=48)
    scans = sorted((tmp_path / "data/rsna/stage_2_train_images").iterdir())
    for path in scans:
        identify(path)
    broken = tmp_path / "broken.dcm"  # its message must not tell either
    shutil.copy(scans[0], broken)
    dataset = pydicom.dcmread(broken)
    dataset.PixelData = dataset.PixelData[:100]
    dataset.save_as(broken)
    assert any("Identifiable" in path.read_bytes().decode("latin-1") for path in scans)
    small = ["active_tasks=[covidx,rsna_boxes]", "data.image_size=64", "data.num_workers=0", "data.epoch_length=1"]
    small += ["model.transition_channels=8", "model.boxes.channels=8", "data.pairs.limit=2", "robustness.overlays=1"]
    small += ["data.root=data", "data.pairs.test=null", "trainer.accelerator=cpu", "trainer.max_epochs=1"]
    assert covidmt("data", "check", "experiments/demo.yaml", *small) == 0
    assert covidmt("train", "experiments/demo.yaml", *small, "trainer.limit_val_batches=2") == 0
    (best,) = tmp_path.glob("mlruns/checkpoints/*/best.ckpt")
    assert covidmt("predict", best, *scans[:2], broken, "--segmenter", "none") == 2
    shown = ["--pairs", "rsna", "--split", "val", "--channel-limit", "2", "--resamples", "100", "--out", "evaluation"]
    assert covidmt("evaluate", best, *shown, "data.root=data", "robustness.overlays=1") == 0
    said = "".join(capfd.readouterr()) + "".join(str(warning.message) for warning in recwarn)
    assert "broken.dcm: not a readable image" in said
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != broken]
    written = [path for path in written if not path.is_relative_to(tmp_path / "data")]
    assert {".db", ".ckpt", ".png", ".jsonl", ".yaml", ".html", ".csv", ".json"} <= {path.suffix for path in written}
    for word in (*TELLING, "PRIVATE-558811"):
        forms = b"|".join(re.escape(word.encode(encoding)) for encoding in ("utf-8", "utf-16-le"))
        assert word not in said
        assert not [path for path in written if re.search(forms, path.read_bytes())], word
