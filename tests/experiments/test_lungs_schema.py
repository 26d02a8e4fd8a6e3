from pathlib import Path

import pytest

from experiments.load import SHIPPED, load_lungs_experiment
from experiments.lungs_schema import LungFolder


def test_defaults_are_paper_001s_settings():
    experiment = load_lungs_experiment(SHIPPED / "lungs_unet.yaml")
    assert (experiment.data.batch_size, experiment.optimizer.lr, experiment.trainer["max_epochs"]) == (1, 1e-4, 50)
    assert (experiment.scheduler.name, experiment.tracking.experiment) == (None, "covidmt-lungs")


def test_a_folder_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert LungFolder(root="lungs").folder == tmp_path / "lungs"
