import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidmt.tracking.logger import MlflowSpoolLogger
from covidmt.tracking.provenance import dataset_digest, dataset_input, environment, git_tags, log_code, log_datasets
from experiments.schema import Tracking


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    root = tmp_path / "here"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.png").write_bytes(bytes(number + 1))
    return pd.DataFrame(
        {
            "image": [str(root / f"{number}.png") for number in range(3)],
            "patient": ["nih:1", "nih:1", "nih:2"],
            "split": ["train", "train", "val"],
            "source": "rsna",
            "Lung Opacity": [1.0, 0.0, np.nan],
            "boxes": [np.ones((1, 4), np.float32), np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)],
        }
    )


def test_digest_is_of_the_content_not_of_the_place_or_the_order(table: pd.DataFrame, tmp_path: Path) -> None:
    digest = dataset_digest(table, tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    moved = table.assign(image=table["image"].str.replace("/here/", "/there/"), source="renamed")
    assert dataset_digest(moved, tmp_path / "there") == digest
    assert dataset_digest(table.iloc[::-1], tmp_path / "here") == digest
    assert len(digest) == 32


@pytest.mark.parametrize("change", ["label", "split", "box", "file"])
def test_digest_shows_every_change(table: pd.DataFrame, tmp_path: Path, change: str) -> None:
    digest = dataset_digest(table, tmp_path / "here")
    match change:
        case "label":
            table.loc[2, "Lung Opacity"] = 0.0
        case "split":
            table.loc[2, "split"] = "test"
        case "box":
            table["boxes"] = [boxes * 2 for boxes in table["boxes"]]
        case "file":
            (tmp_path / "here" / "0.png").write_bytes(b"another image")
    assert dataset_digest(table, tmp_path / "here") != digest


def test_dataset_input_counts_images_and_positives_by_split(table: pd.DataFrame, tmp_path: Path) -> None:
    event = dataset_input("rsna", table, tmp_path / "here")
    assert json.loads(event["dataset"]["profile"]) == {
        "num_rows": 3,
        "train": {"images": 2, "Lung Opacity": 1},
        "val": {"images": 1, "Lung Opacity": 0},
    }
    assert event["tags"] == {"mlflow.data.context": "train, val"}


def test_git_tags_know_commit_and_changes(tmp_path: Path) -> None:
    assert git_tags(tmp_path) == {}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "empty"], check=True)
    clean = git_tags(tmp_path)
    assert (len(clean["mlflow.source.git.commit"]), clean["git.dirty"]) == (40, "false")
    (tmp_path / "new.py").touch()
    assert git_tags(tmp_path) == clean | {"git.dirty": "true"}


def test_environment_is_a_requirements_file() -> None:
    lines = environment().splitlines()
    assert lines[0].startswith("# python: 3.")
    packages = [line for line in lines if not line.startswith("#")]
    assert all("==" in line for line in packages)
    assert any(line.startswith("torch==") for line in packages)


def test_run_tells_what_it_was_made_of(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logger = MlflowSpoolLogger(Tracking(system_metrics=False))
    log_code(logger, "name: demo\n")
    log_datasets(logger, {"rsna": table}, {"rsna": tmp_path / "here"})
    logger.close()
    client = logger.store.client
    run = client.get_run(str(logger.run_id))
    assert {file.path for file in client.list_artifacts(str(logger.run_id))} == {"environment.txt", "experiment.yaml"}
    assert run.inputs is not None
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, len(dataset.dataset.digest)) == ("rsna", 32)
