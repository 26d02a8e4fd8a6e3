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
