from dataclasses import replace

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.errors import UserError
from experiments.keys import flatten, merge, nest, parse_yaml, require_bounded
from experiments.load import SHIPPED, from_dict, load_experiment, override, to_dict, to_yaml
from experiments.schema import Experiment, Tracking

LAUGHS = "\n".join(["a0: &a0 [lol, lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))])
TRICKY = st.text(st.sampled_from("${}\\:.ab?") | st.characters(exclude_categories=["Cs"]), max_size=30)


@given(TRICKY.filter(lambda text: text != "???"))
def test_texts_come_back_as_they_were_saved(text: str):
    tracking = Tracking(tags={"note": text})
    assert from_dict(Tracking, to_dict(tracking)) == tracking


def test_nothing_saved_is_resolved(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "hunter2")
    demo = load_experiment(SHIPPED / "demo.yaml")
    saved = to_dict(replace(demo, name="${oc.env:SECRET}", trainer={"max_epochs": "${seed}"}))
    for loaded in (from_dict(Experiment, saved), override(from_dict(Experiment, saved), ["seed=1"], "best.ckpt")):
        assert loaded.name == "${oc.env:SECRET}"
        assert loaded.trainer == {"max_epochs": "${seed}"}
        assert "hunter2" not in to_yaml(loaded)
    # a person's own file and command line are resolved
    assert load_experiment(SHIPPED / "demo.yaml", ["name=${oc.env:SECRET}"]).name == "hunter2"


def test_aliases_that_repeat_each_other_are_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text(f"extends: {SHIPPED}/demo.yaml\ntrainer:\n  " + LAUGHS.replace("\n", "\n  "))
    with pytest.raises(UserError, match=r"mine\.yaml: holds more than 100000 values"):
        load_experiment(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match="holds more than"):
        parse_yaml(LAUGHS, "sweep.yaml")
    with pytest.raises(UserError, match="holds more than"):  # one that holds itself
        parse_yaml("a: &a [*a]", "sweep.yaml")
    with pytest.raises(UserError, match="holds more than"):
        parse_yaml(
            "a: &a {x: 1}\n"
            + "\n".join(f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]}}" for n in range(8)),
            "merged.yaml",
        )
    with pytest.raises(UserError, match=r"command line: the value of tracking\.tags: holds more than"):
        load_experiment(SHIPPED / "demo.yaml", ["tracking.tags={x: &a [*a]}"])


def test_what_a_checkpoint_shares_is_counted_too(tmp_path):
    parts = ["lol"] * 9
    for _ in range(9):
        parts = [parts] * 9
    torch.save({"trainer": parts}, tmp_path / "x.ckpt")
    loaded = torch.load(tmp_path / "x.ckpt", weights_only=True)
    with pytest.raises(UserError, match="saved experiment: holds more than"):
        from_dict(Experiment, loaded)


def test_ordinary_aliases_stay_allowed():
    text = "augment: &own {jpeg: 0.5}\ndata: {augment: *own, other: {<<: *own, blur: 1}}"
    assert parse_yaml(text, "mine.yaml")["data"]["other"] == {"jpeg": 0.5, "blur": 1}
    require_bounded(yaml.safe_load(text), "mine.yaml")


def test_large_and_broken_texts_are_said():
    with pytest.raises(UserError, match=r"mine\.yaml: has \d+ characters"):
        parse_yaml("x" * (4 * 2**20 + 1), "mine.yaml")
    with pytest.raises(UserError, match=r"mine\.yaml: cannot be read as YAML"):
        parse_yaml("a: [", "mine.yaml")


@given(st.dictionaries(st.text("ab", min_size=1, max_size=2), st.integers() | st.just([1]), max_size=4))
@settings(max_examples=20, deadline=None)
def test_dotted_and_nested_are_the_same(values: dict):
    nested = {"x": values, "y": 1} if values else {"y": 1}
    assert nest(flatten(nested)) == nested


def test_a_mapping_takes_the_place_of_a_plain_value_and_the_other_way_round():
    values = {"a": 1, "b": {"c": 2}}
    merge(values, {"a": {"d": 3}, "b": 4})
    assert values == {"a": {"d": 3}, "b": 4}


def test_what_is_merged_is_not_changed_later():
    given_values = {"data": {"root": "a"}}
    nest({"data": given_values["data"], "data.root": "b"})
    assert given_values == {"data": {"root": "a"}}
