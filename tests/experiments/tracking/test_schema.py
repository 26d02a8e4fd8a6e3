import pytest

from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment
from experiments.trials import load_sweep
from tests.conftest import REPO


def test_a_registered_model_needs_mlflow():
    with pytest.raises(UserError, match=r"tracking\.register: needs MLflow"):
        load_experiment(SHIPPED / "demo.yaml", ["tracking.enabled=false", "tracking.register=mine"])


def test_a_sweep_needs_mlflow():
    with pytest.raises(UserError, match=r"tracking\.enabled: a sweep's trials are runs of MLflow"):
        load_sweep(REPO / "experiments/sweeps/mini_cxr.yaml", ["tracking.enabled=false"])
