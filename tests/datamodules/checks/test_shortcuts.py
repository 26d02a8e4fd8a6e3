import pandas as pd

from datamodules.checks.shortcuts import giveaways, sole_formats, source_shortcuts
from experiments.schema import Data, Experiment, Task
from experiments.source_schema import FolderSource


def test_a_balanced_attribute_gives_nothing_away() -> None:
    table = pd.DataFrame({"PNG": {"sick": 6, "well": 50}, "JPEG": {"sick": 4, "well": 50}})
    assert giveaways("file format", table) == []


def test_a_remedy_that_is_on_is_not_asked_for() -> None:
    table = pd.DataFrame({"PNG": {"sick": 0, "well": 10}, "JPEG": {"sick": 10, "well": 0}})
    assert "data.augment.jpeg: 0.5" in giveaways("file format", table)[0]
    assert giveaways("file format", table, recompressed=True)[0].endswith("data.augment.jpeg is on against it.")
    assert "data.augment" not in giveaways("size", table, recompressed=True)[0]


def test_a_class_that_alone_has_a_file_format() -> None:
    table = pd.DataFrame(
        {"PNG": {"sick": 90, "well": 99}, "BMP": {"sick": 9, "well": 0}, "GIF": {"sick": 1, "well": 1}}
    )
    (sentence,) = sole_formats(table)
    assert sentence.startswith("sick alone has BMP files: 9 of its 100 images.")
    assert "data.augment.jpeg" in sentence
    given = "sick is given away by file format: 90% of its images are BMP, but 0% of the others."
    assert sole_formats(table, [given]) == []
    assert sole_formats(table.loc[["sick"]]) == []  # there is no other class
    none = table.rename(index={"sick": "(none of these)"})
    assert sole_formats(none)[0].startswith("images that show none of the classes alone have BMP files: 9 of their 100")


def test_the_origin_is_the_patients_where_the_table_has_the_data_sets_name() -> None:
    experiment = Experiment(
        data=Data(sources={"own": FolderSource(root="unused")}),
        tasks={"sick": Task(name="sick", source="own", labels=["well", "sick"])},
    )
    patients = [f"nih:{i}" for i in range(5)] + [f"cohen:{i}" for i in range(5)]
    table = pd.DataFrame({"split": "train", "origin": "own", "patient": patients, "well": [1] * 5 + [0] * 5})
    table["sick"] = 1 - table["well"]
    found = source_shortcuts(experiment, {"own": table})
    assert any(each.startswith("sick is given away by source: 5 of its 5 images (100%) are cohen") for each in found)
    assert source_shortcuts(experiment, {"own": table.assign(patient="own:" + table["patient"].str[-1])}) == []
