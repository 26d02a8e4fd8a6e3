import pytest

from experiments.errors import UserError
from experiments.load import from_dict, load_experiment, override, to_dict, to_yaml
from experiments.plugins.choices import Choice, write_choices
from experiments.schema import Experiment

DEMO = "experiments/demo.yaml"


@pytest.mark.parametrize(
    "arguments", [{}, {"width": 8}, {"name": "it's, (so)", "widths": [1, 2.5], "deep": {"a": None, "b": True}}]
)
def test_a_choice_is_one_line(arguments):
    choice = Choice("mynets.Net", arguments)
    assert Choice.parse(str(choice)) == choice


@pytest.mark.parametrize("text", ["timm:resnet50", "gradcam++", "lungs/best.ckpt", "best.ckpt", "covidmt"])
def test_names_and_files_are_no_classes(text):
    assert Choice.parse(text) == Choice(text, {})
    assert not Choice.parse(text).is_class


@pytest.mark.parametrize("text", ["a.B(1)", "a.B(x=open)", "a.B(x=1", "a.B(**x)", "a.B(x=__import__('os'))"])
def test_arguments_are_plain_values(text):
    if text.endswith(")"):
        with pytest.raises(UserError, match="cannot be read"):
            Choice.parse(text)
    else:
        assert not Choice.parse(text).is_class


def test_the_forms_of_a_yaml_mean_the_same(tmp_path):
    network = "collections.OrderedDict"
    wanted = f"{network}(a=1)"
    for form in (
        [f"model.backbone={wanted}"],
        [f"model.backbone={{class_path: {network}, init_args: {{a: 1}}}}"],
        [f"model.backbone.class_path={network}", "model.backbone.init_args.a=1"],
    ):
        experiment = load_experiment(DEMO, form)
        assert experiment.model.backbone == wanted
        assert from_dict(Experiment, to_dict(experiment)) == experiment
    (tmp_path / "again.yaml").write_text(to_yaml(experiment))
    assert load_experiment(tmp_path / "again.yaml").model == experiment.model
    assert override(experiment, ["model.backbone=resnet50"], "x.ckpt").model.backbone == "resnet50"


def test_a_section_of_a_name_may_be_the_choice():
    settings = {"class_path": "torch.optim.AdamW", "init_args": {"weight_decay": 0.1}}
    assert write_choices(Experiment, {"optimizer": settings}, {}) == {
        "optimizer": {"name": "torch.optim.AdamW(weight_decay=0.1)"}
    }


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"class_path": "a.B", "args": {}}, "not 'args'"),
        ({"init_args": {}}, "init_args and no class_path"),
        ({"class_path": 3}, "dotted path"),
        ({"class_path": "a.B", "init_args": 3}, "mapping of names"),
    ],
)
def test_wrong_mappings(values, words):
    with pytest.raises(UserError, match=words):
        Choice.read(values, "model.backbone")
