"""What a person meets who gets something wrong: one message, status 2, no traceback."""

import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from covidmt.cli import command_line

DEMO = "experiments/demo.yaml"

WRONG = [
    (["train", "experiments/demmo.yaml"], ["experiments/demmo.yaml", "'demo.yaml'"]),
    (["train", DEMO, "modle.backbone=x"], ["'modle'", "'model'"]),
    (["train", DEMO, "trainer.max_epoch=1"], ["trainer.max_epoch", "'max_epochs'"]),
    (["train", DEMO, "trainer.fast_dev_run=true"], ["trainer.fast_dev_run", "tracking"]),
    (["train", DEMO, "trainer.logger=false"], ["trainer.logger"]),
    (["train", DEMO, "trainer.use_distributed_sampler=true"], ["trainer.use_distributed_sampler"]),
    (["train", DEMO, "trainer.precision=bf17"], ["trainer", "bf17"]),
    (["train", DEMO, "trainer.accelerator=gpu", "trainer.devices=9"], ["trainer"]),
    (["train", DEMO, "trainer.profiler={class_path: lightning.pytorch.profilers.NoProfiler}"], ["NoProfiler"]),
    (
        ["train", DEMO, "trainer.callbacks=[{class_path: lightning.pytorch.callbacks.Timer, init_args: {x: 1}}]"],
        ["Timer"],
    ),
    (["train", DEMO, "data.root=nowhere"], ["nowhere"]),
    (["train", DEMO, "data.masks.folders=[nowhere]", "data.root={root}"], ["data.masks.folders", "nowhere"]),
    (["train", DEMO, "data.pairs.channel=whatsap", "data.root={root}"], ["whatsap", "whatsapp"]),
    (
        ["train", DEMO, "tasks.covidx.labels=[normal,COVID-19,flu]", "tasks.covidx.upsample={}", "data.root={root}"],
        ["flu"],
    ),
    (["train", DEMO, "model.backbone=resnet19", "data.root={root}"], ["resnet19", "resnet18"]),
    (["train", DEMO, "model.weights=nowhere.pth", "data.root={root}"], ["nowhere.pth"]),
    (["train", DEMO, "optimizer.name=Adamm", "data.root={root}"], ["Adamm", "Adam"]),
    (["train", DEMO, "scheduler.options={milestone: [1]}", "data.root={root}"], ["milestone"]),
    (["train", DEMO, "trainer.strategy=fsdp", "data.root={root}"], ["trainer"]),
    (["train", DEMO, "tracking.uri=http://127.0.0.1:9", "data.root={root}"], ["http://127.0.0.1:9"]),
    (["train", DEMO, "tracking.uri=file:mlruns", "data.root={root}"], ["tracking.uri", "file"]),
    (
        ["train", DEMO, "data.masks.segmenter=nowhere.ckpt", "data.masks.folders=[]", "data.root={root}"],
        ["nowhere.ckpt"],
    ),
    (["data", "check", DEMO, "data.root=nowhere"], ["nowhere"]),
    (["data", "cache", DEMO, "data.root={root}"], ["data.cache is null"]),
    (["data", "cache", DEMO, "data.root={root}", "data.cache=/proc/none"], ["/proc/none", "cannot be used"]),
    (["lungs", "train", "experiments/lungs_dmo.yaml"], ["lungs_dmo.yaml", "lungs_demo.yaml"]),
    (["lungs", "masks", "nowhere", "out", "--segmenter", "nowhere.ckpt"], ["nowhere.ckpt"]),
    (
        ["lungs", "masks", "{root}/lungs/images", "out", "--segmenter", "{root}/covidx/train_COVIDx.txt"],
        ["train_COVIDx.txt", "checkpoint"],
    ),
    (["weights", "fetch", "resnet19", "."], ["resnet19"]),
    (["ui"], ["no runs yet"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: " ".join(value)[:60])
def test_a_mistake_is_one_message_and_status_2(
    arguments: list[str],
    words: list[str],
    covidmt: Callable[..., int],
    demo_data: Path,
    capsys: pytest.CaptureFixture[str],
):
    small = ["data.num_workers=0", "data.image_size=64"] if arguments[0] == "train" else []
    status = covidmt(*(argument.replace("{root}", str(demo_data)) for argument in [*arguments, *small]))
    message = capsys.readouterr().err
    assert status == 2, message
    assert "Traceback" not in message
    assert message.rstrip().rpartition("covidmt: ")[2].count("\n") <= 1
    for word in words:
        assert word in message


def test_debug_shows_the_traceback(covidmt: Callable[..., int]):
    with pytest.raises(Exception, match="no such experiment"):
        covidmt("train", "nowhere.yaml", "--debug")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_options_of_all_commands_are_in_the_help(
    covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str], option: str
):
    assert covidmt(option) == 0
    out = capsys.readouterr().out
    for name in ("--version", "--debug", "--quiet", "-q", "--verbose", "-v", "--install-completion"):
        assert name in out
    assert "bool" not in out  # a switch has no value


def test_version(covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert covidmt("--version") == 0
    assert capsys.readouterr().out == f"covidmt {version('covidmt')}\n"


def test_every_value_has_a_name_in_capitals():
    """One style: ``--seed N``, ``--out DIR``; nothing behind a switch; choices as they are."""

    def walk(command):
        yield from ((command.name, parameter) for parameter in command.params)
        for member in getattr(command, "commands", {}).values():
            yield from walk(member)

    named = 0
    for command, parameter in walk(command_line()):
        choices = getattr(parameter, "type_descriptor", None)
        if parameter.metavar and not (choices and choices.is_choice):
            named += 1
            letters = parameter.metavar.replace("models:/", "").replace("none", "").replace("auto|never", "")
            letters = letters.replace("local|slurm", "")
            assert letters == letters.upper(), f"{command} {parameter.name}: {parameter.metavar}"
            assert parameter.metavar not in {"TEXT", "INTEGER", "FLOAT", "BOOLEAN"}, f"{command} {parameter.name}"
    assert named > 50


def test_options_of_all_commands_stand_anywhere(covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    for arguments in (["-q", "train", DEMO, "--print-config"], ["train", DEMO, "--print-config", "-v"]):
        assert covidmt(*arguments) == 0
        assert yaml.safe_load(capsys.readouterr().out)["name"] == "demo"


def test_a_store_of_an_option_is_that_of_the_command_alone(
    covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    assert covidmt("evaluate", "last", "--uri", f"sqlite:///{tmp_path}/mine.db") == 2
    assert "mine.db" in capsys.readouterr().err
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_message_without_colours(
    covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert covidmt("train", "nowhere.yaml") == 2
    assert "\x1b" not in capsys.readouterr().err


def test_data_check_as_json(covidmt: Callable[..., int], demo_data: Path, capsys: pytest.CaptureFixture[str]):
    covidmt("data", "check", DEMO, f"data.root={demo_data}", "--limit", 1, "--json")
    report = json.loads(capsys.readouterr().out)
    assert {row["source"] for row in report["sources"]} >= {"covidx", "nih", "rsna"}
    assert isinstance(report["risks"], list)


def test_print_config_is_the_resolved_experiment(covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert covidmt("train", DEMO, "optimizer.lr=0.5", "data.root=/a", "--print-config") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["optimizer"]["lr"] == 0.5
    assert printed["data"]["sources"]["nih"]["root"] == "/a/nih"


def test_print_config_refuses_what_the_trainer_lacks(covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert covidmt("train", DEMO, "trainer.gradient_clip=1", "--print-config") == 2
    assert "gradient_clip_val" in capsys.readouterr().err


def test_help(covidmt: Callable[..., int], capsys: pytest.CaptureFixture[str]):
    assert covidmt("--help") == 0
    out = capsys.readouterr().out
    for command in ("train", "data", "lungs", "weights", "ui", "sync"):
        assert command in out


def test_data_cache(
    covidmt: Callable[..., int], demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["data", "cache", DEMO, f"data.root={demo_data}", "data.image_size=32", "data.cache=cache"]
    assert covidmt(*command, "--processes", 1) == 0
    assert covidmt(*command, "--verify") == 0
    assert capsys.readouterr().out.count("complete") == 6
    assert len(list((tmp_path / "cache").glob("*.pixels"))) == 3
