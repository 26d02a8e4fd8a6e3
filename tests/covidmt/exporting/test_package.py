from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from covidmt.exporting.package import CARD, example_film, pinned_requirements, write_model
from covidmt.exporting.pyfunc import PyfuncPredictor
from covidmt.tracking.environment import set_mlflow_defaults
from datamodules.images.decode import decode
from tests.helpers.mlflow_server import save_checkpoint


def test_a_folder_has_what_mlflow_needs_and_no_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    work = tmp_path / "work"  # a project of the user's own, which MLflow would copy
    work.mkdir()
    (work / "uv.lock").touch()
    (work / "pyproject.toml").write_text("[project]\nname = 'mine'")
    monkeypatch.chdir(work)
    set_mlflow_defaults()
    save_checkpoint(tmp_path / "other name.ckpt")
    write_model(tmp_path / "model", tmp_path / "other name.ckpt", "the card", channels=["mms"])
    files = {path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("*")}
    assert {"MLmodel", "requirements.txt", "input_example.json", "data/best.ckpt", CARD} <= files
    assert not [file for file in files if file.endswith((".pkl", "uv.lock"))]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other name.ckpt", "work"]

    model = mlflow.models.Model.load(str(tmp_path / "model"))
    assert [column.name for column in model.signature.inputs] == ["image"]
    assert {"answer", "probability", "channels", "iol", "warnings"} <= {
        column.name for column in model.signature.outputs
    }
    (film,) = model.load_input_example(str(tmp_path / "model"))["image"]
    assert PyfuncPredictor.content(film) == example_film()
    assert decode(example_film()).shape == (96, 96)
    assert model.flavors["python_function"]["config"] == {"segmenter": "covidmt", "channels": ["mms"]}


def test_every_requirement_is_pinned_and_installed():
    requirements = pinned_requirements()
    assert all(line.count("==") == 1 for line in requirements)
    names = [line.partition("==")[0] for line in requirements]
    assert {"covidmt", "torch", "mlflow", "pydicom"} <= set(names)
    assert not {"pytest", "opacus", "onnxruntime"} & set(names)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_example_is_the_same_at_every_call(rows: int):
    assert len({example_film() for _ in range(rows)}) == 1
