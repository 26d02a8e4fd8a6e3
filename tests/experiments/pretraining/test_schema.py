import pytest

from experiments.errors import UserError
from experiments.load import SHIPPED, load_pretrain_experiment, to_yaml


def test_what_is_written_is_read_again(tmp_path):
    experiment = load_pretrain_experiment(SHIPPED / "pretrain.yaml", ["views.crop=0.5"])
    (tmp_path / "pretrain.yaml").write_text(to_yaml(experiment))
    assert load_pretrain_experiment(tmp_path / "pretrain.yaml") == experiment


@pytest.mark.parametrize("override", ["views.crop=1.5", "batch_size=1", "temperature=0", "data.image_size=8"])
def test_a_wrong_setting_is_named(override: str):
    with pytest.raises(UserError, match=override.partition("=")[0]):
        load_pretrain_experiment(SHIPPED / "pretrain.yaml", [override])


def test_without_a_source_there_are_no_films(tmp_path):
    (tmp_path / "empty.yaml").write_text("batch_size: 4")
    with pytest.raises(UserError, match=r"data\.sources: name at least one data set"):
        load_pretrain_experiment(tmp_path / "empty.yaml")
