import shutil

import pytest

from covidmt.pairs.make import make_pairs
from covidmt.pairs.originals import find_originals
from experiments.errors import UserError
from tests.helpers.pairs import draw


def test_folders_of_any_kind(source, tmp_path):
    assert {item.folder for item in find_originals(source, "covid-19")} == {"0_normal", "1_COVID-19"}
    assert {item.folder for item in find_originals(source / "normal", "COVID-19")} == {"0_unlabelled"}
    (source / "normal").rename(tmp_path / "0_healthy")
    assert {item.folder for item in find_originals(tmp_path / "0_healthy", "COVID-19")} == {"0_healthy"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: shutil.rmtree(root), "no such folder"),
        (lambda root: [shutil.rmtree(path) for path in root.iterdir()], "no images"),
        (lambda root: draw(0).save(root / "loose.png"), "beside class folders"),
        (lambda root: draw(0).save(root / "normal" / "film 1.bmp"), "same stem"),
        (lambda root: (root / "COVID-19").rename(root / "positive"), "--positive"),
    ],
)
def test_folders_that_cannot_be_sent(source, tmp_path, spoil, message):
    spoil(source)
    with pytest.raises(UserError, match=message):
        make_pairs(source, tmp_path / "out", processes=1)


def test_two_folders_of_one_class_are_joined(tmp_path):
    for name in ("0_normal/a.png", "normal/b.png", "COVID-19/c.png", "1_COVID-19/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    originals = find_originals(tmp_path, "COVID-19")
    assert sorted((original.folder, original.path.name) for original in originals) == [
        ("0_normal", "a.png"), ("0_normal", "b.png"), ("1_COVID-19", "c.png"), ("1_COVID-19", "d.png"),
    ]  # fmt: skip
    (tmp_path / "normal" / "a.jpg").touch()
    with pytest.raises(UserError, match="have the same stem"):
        find_originals(tmp_path, "COVID-19")
