"""The examples of own classes run as they are written: training, checkpoint, a sweep's jobs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments.errors import UserError
from lightning_modules.load import load_module
from tests.conftest import REPO
from tests.helpers.quick import QUICK, run

pytestmark = pytest.mark.slow


def test_every_example_is_short():
    files = [path for path in (REPO / "examples").rglob("*") if path.suffix in (".py", ".yaml", ".toml")]
    assert len(files) > 5
    assert {path.name: len(path.read_text().splitlines()) for path in files if path.read_text().count("\n") > 60} == {}


@pytest.fixture
def folder(demo_data: Path, tmp_path: Path) -> Path:
    """A working folder with the made-up data and no project in it."""
    (tmp_path / "demo-data").symlink_to(demo_data)
    return tmp_path


def test_an_own_network(folder: Path):
    said = run(folder, "train", str(REPO / "examples/own_backbone/own_backbone.yaml"), *QUICK)
    assert re.search(r"^network +mynets\.Net.*; maps of stride \d+ \(\d+ channels\)", said, re.MULTILINE)
    assert re.search(r"covidmt serve \w+ --trust$", said, re.MULTILINE)
    (best,) = folder.glob("mlruns/checkpoints/*/best.ckpt")
    with pytest.raises(UserError, match=r"mynets\.Net.*--trust"):
        load_module(best)
    image = str(next(folder.glob("demo-data/covidx/train/*")))
    said = run(folder, "predict", str(best), image, "--segmenter", "none", "--trust")
    assert "gives COVID-19 a probability" in said


def test_an_own_task_and_loss(folder: Path):
    from covidmt.tracking.store import Store

    run(folder, "train", str(REPO / "examples/own_task/own_task.yaml"), *QUICK)
    runs = Store(f"sqlite:///{folder}/mlruns/mlflow.db").client.search_runs(["1"])
    assert {"val/severity/mean_error", "val/severity/loss", "val/covidx/loss"} <= runs[0].data.metrics.keys()

    # what it says of each image, and the mean of its errors
    (best,) = folder.glob("mlruns/checkpoints/*/best.ckpt")
    image = str(next(folder.glob("demo-data/covidx/train/*")))
    said = run(folder, "predict", str(best), image, "--segmenter", "none", "--trust")
    assert re.search(r"severity, findings: \S+; after whatsapp \S+\.", said)
    run(folder, "evaluate", str(best), "--split", "val", "--resamples", "100", "--trust", "--out", "out")
    scores = json.loads((folder / "out/evaluation.json").read_text())["runs"][0]["scores"]
    assert scores["task/severity/absolute_error"]["value"] > 0
    assert "absolute error" in (folder / "out/report.html").read_text()


def test_an_outside_package_brings_a_data_set(folder: Path):
    shutil.copytree(REPO / "examples/own_data", folder / "package")
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--offline", "--python", sys.executable]
    subprocess.run([uv, "pip", "install", *options, "--target", folder / "site", folder / "package"], check=True)
    said = run(folder, "train", str(REPO / "examples/own_data/own_data.yaml"), *QUICK, path=str(folder / "site"))
    assert "findings" in said


def test_a_sweeps_jobs_import_what_was_submitted(folder: Path):
    shutil.copy(REPO / "examples/own_backbone/mynets.py", folder)
    sweep = {
        "name": "own",
        "experiment": str(REPO / "experiments/demo.yaml"),
        "overrides": dict(each.split("=") for each in QUICK) | {"active_tasks": ["covidx"]},
        "list": [{"model.backbone": {"class_path": "mynets.Net", "init_args": {"width": 4}}}],
    }
    sweep["overrides"] = {key: yaml.safe_load(str(value)) for key, value in sweep["overrides"].items()}
    (folder / "own.yaml").write_text(yaml.safe_dump(sweep))
    run(folder, "sweep", "run", "own.yaml")
    home = folder / "mlruns/sweeps/own"
    (copy,) = home.glob("code/*/mynets.py")
    assert copy.read_text() == (folder / "mynets.py").read_text()
    (state,) = (json.loads(path.read_text())["state"] for path in home.glob("*.state.json"))
    assert state == "finished"
