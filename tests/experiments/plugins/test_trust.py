import pytest

from experiments.errors import UserError
from experiments.load import from_dict, load_experiment, to_dict
from experiments.plugins.trust import foreign_classes, require_trust, trusting
from experiments.schema import Experiment

DEMO = "experiments/demo.yaml"


def test_a_checkpoints_classes_are_listed_and_none_is_imported():
    saved = to_dict(load_experiment(DEMO))
    saved["model"] |= {"backbone": "nowhere.Net(width=8)", "head": "nowhere.Head"}
    saved["tasks"]["covidx"] |= {"module": "nowhere.Task", "loss": "nowhere.loss"}
    saved["data"]["sources"]["covidx"] = {"kind": "nowhere.Data", "root": "x", "options": {"table": "t.csv"}}
    saved["data"]["pairs"]["channel"] = "whatsapp+nowhere.viber(quality=3)"
    saved["optimizer"]["name"] = "nowhere.Lion"  # a training's alone
    experiment = from_dict(Experiment, saved)
    assert to_dict(experiment) == saved
    names = {f"nowhere.{name}" for name in ("Net", "Head", "Task", "loss", "Data", "viber")}
    assert set(foreign_classes(experiment)) == names

    with pytest.raises(UserError, match=r"x\.ckpt: names classes .* --trust"):
        require_trust(experiment, "x.ckpt")
    with trusting():
        require_trust(experiment, "x.ckpt")
    with pytest.raises(UserError):
        require_trust(experiment, "x.ckpt")


def test_our_own_names_need_no_trust():
    assert foreign_classes(load_experiment(DEMO, ["data.masks.segmenter=some/best.ckpt"])) == []
