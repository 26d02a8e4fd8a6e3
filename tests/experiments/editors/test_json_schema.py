"""The JSON Schemas of the YAML files, as editors use them."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from experiments.editors.json_schema import FOLDER, KINDS, json_schema, schema_text
from experiments.load import SHIPPED
from tests.conftest import REPO

YAMLS = sorted([*SHIPPED.glob("*.yaml"), *SHIPPED.glob("sweeps/*.yaml"), *(REPO / "examples").rglob("*.yaml")])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shipped_is_what_the_classes_say(kind: str):
    text = (FOLDER / f"{kind}.schema.json").read_text()
    assert text == schema_text(kind), f"covidmt schema {kind} > experiments/editors/{kind}.schema.json"
    Draft7Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_shipped_yaml_names_its_schema_and_obeys_it(path: Path):
    text = path.read_text()
    name = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    schema = json.loads((path.parent / name).read_text())
    assert [error.message for error in Draft7Validator(schema).iter_errors(yaml.safe_load(text))] == []


WRONG = [
    "modle: {}",
    "seed: -1",
    "seed: many",
    "data: {image_size: 8}",
    "data: {sources: {a: {kind: nih, root: x, train_lst: y}}}",
    "data: {augment: {hflip: 2}}",
    "tasks: {a: {batch_size: 0}}",
    "tasks: {a: {balance: some}}",
    "model: {backbone: {class_path: a.B, args: {}}}",
    "model: {boxes: {pyramid: fpn}}",
    "trainer: {max_epoch: 3}",
    "trainer: {detect_nonfinite: maybe}",
    "robustness: {threshold: 0}",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_refused_at_loading_is_marked_in_the_editor(text: str):
    assert not Draft7Validator(json_schema("experiment")).is_valid(yaml.safe_load(text))


def test_editors_show_what_a_key_is():
    schema = json_schema("experiment")["properties"]
    model = schema["model"]["anyOf"][0]["properties"]
    assert model["backbone"]["description"].startswith("A torchvision name")
    assert schema["seed"]["default"] == 0


def test_the_command_prints_it(covidmt, capsys: pytest.CaptureFixture):
    assert covidmt("schema", "sweep") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "covidmt: sweep"
