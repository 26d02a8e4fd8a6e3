"""MLflow's environment is set before MLflow is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from covidmt.tracking.environment import MLFLOW_DEFAULTS, set_mlflow_defaults

WATCH = """
import os, sys
from importlib.abc import MetaPathFinder

class Watch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "mlflow":
            print("telemetry off:", os.environ.get("MLFLOW_DISABLE_TELEMETRY"), flush=True)

sys.meta_path.insert(0, Watch())
"""


def test_what_a_person_has_set_stays(monkeypatch: pytest.MonkeyPatch):
    for name in MLFLOW_DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    set_mlflow_defaults()
    values = {name: os.environ[name] for name in MLFLOW_DEFAULTS}
    assert values == MLFLOW_DEFAULTS | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "from covidmt.cli import main; sys.argv = ['covidmt', 'train', 'nowhere.yaml']; main()",
        "from covidmt.training import resume; from experiments.schema import Experiment, Tracking\n"
        "from types import SimpleNamespace as S\n"
        "resume._is_in_store(S(tracking=Tracking()), 'a' * 32)",
    ],
    ids=["command line", "resume"],
)
def test_mlflow_is_imported_after_it(code: str, tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    script = f"{WATCH}{code}\n" + "import mlflow"
    if "main()" in code:
        script = f"{WATCH}try:\n    {code}\nexcept SystemExit:\n    import mlflow"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "telemetry off: true" in run.stdout
    assert "telemetry off: None" not in run.stdout
