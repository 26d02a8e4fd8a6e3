"""``import covidmt``: the public names, imported when they are asked for."""

import subprocess
import sys
from importlib.metadata import version

from torchmetrics import Metric

import covidmt


def test_every_public_name_is_there():
    for name in covidmt.__all__:
        assert getattr(covidmt, name) is not None, name
    assert covidmt.__version__ == version("covidmt")
    assert dir(covidmt) == covidmt.__all__


def test_the_scores_are_torchmetrics():
    for name in ("PredictionInstability", "LocalisationInstability", "OutOfLungSaliency", "MeanIol", "TaskInstability"):
        assert issubclass(getattr(covidmt, name), Metric), name


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(covidmt, "MultitaskModule")


def test_the_front_door_is_light():
    code = "import sys, covidmt; print(*{'torch', 'lightning', 'numpy', 'typer', 'omegaconf'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
