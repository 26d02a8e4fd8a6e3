import pandas as pd

from datamodules.checks.counts import NO_LABEL, class_masks, compare_with_paper, count_images


def test_rows_without_a_label_are_a_class_where_there_are_any() -> None:
    table = pd.DataFrame({"a": [1.0, 0.0], "b": [0.0, None]})
    assert class_masks(table, ["a", "b"])[NO_LABEL].tolist() == [False, True]
    assert list(class_masks(table[:1], ["a", "b"])) == ["a", "b"]


def test_what_is_unknown_is_no_negative() -> None:
    columns = {"patient": list("abcd"), "split": "train", "sick": [1.0, 0.0, None, None], "old": [None, 0.0, 1.0, None]}
    counts = count_images({"mine": pd.DataFrame(columns)}).set_index("class")["train"]
    assert counts.to_dict() == {
        "all images": 4, "sick": 1, "old": 1, "(none of these)": 1, "(unknown)": 1, "patients": 4,
    }  # fmt: skip


def test_the_paper_beside_what_is_listed_and_used() -> None:
    table = pd.DataFrame(
        {
            "patient": ["a", "b", "c"],
            "split": ["test", None, "test"],
            "published": ["test", "test", "test"],
            "COVID-19": [1.0, 1.0, 0.0],
        }
    )
    rows = compare_with_paper({"w": table}, {"w": "wacxr"}).set_index("quantity")
    assert rows.loc["w test COVID-19"].tolist() == ["COVIDMT (000)", 4812, 2, 1]
    assert rows.loc["w test (none of these)"].tolist() == ["COVIDMT (000)", 1750, 1, 1]


def test_each_paper_has_a_covidx_of_its_own() -> None:
    columns = {"patient": ["a"], "split": ["train"], "published": ["train"], "COVID-19": [1.0], "normal": [0.0]}
    rows = compare_with_paper({"c": pd.DataFrame(columns | {"pneumonia": [0.0]})}, {"c": "covidx"})
    figures = rows.set_index(["of", "quantity"])["paper"]
    assert figures["COVIDMT (000)", "c train COVID-19"] == 110
    assert figures["Hide-and-Seek (001)", "c train COVID-19"] == 517
    hide_and_seek = figures["Hide-and-Seek (001)"]
    assert hide_and_seek[hide_and_seek.index.str.contains("train")].sum() == 13_958
    assert hide_and_seek[hide_and_seek.index.str.contains("test")].sum() == 300
