import pandas as pd

from datamodules.checks.shortcuts import giveaways


def test_a_balanced_attribute_gives_nothing_away() -> None:
    table = pd.DataFrame({"PNG": {"sick": 6, "well": 50}, "JPEG": {"sick": 4, "well": 50}})
    assert giveaways("file format", table) == []


def test_a_remedy_that_is_on_is_not_asked_for() -> None:
    table = pd.DataFrame({"PNG": {"sick": 0, "well": 10}, "JPEG": {"sick": 10, "well": 0}})
    assert "data.augment.jpeg: 0.5" in giveaways("file format", table)[0]
    assert giveaways("file format", table, recompressed=True)[0].endswith("data.augment.jpeg is on against it.")
    assert "data.augment" not in giveaways("size", table, recompressed=True)[0]
