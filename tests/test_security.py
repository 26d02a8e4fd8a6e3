"""What comes from others runs no code, reads no file but its own, and tells nobody who a patient is."""

import ast
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
import torch

from covidmt.comparison.panel import predictor_of
from covidmt.rooms import ROOMS
from datamodules.demo.write import write_demo
from experiments.errors import UserError
from experiments.load import to_dict
from lightning_modules.multitask import MultiTaskModule
from tests.conftest import REPO
from tests.helpers.tiny_experiment import experiment

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
