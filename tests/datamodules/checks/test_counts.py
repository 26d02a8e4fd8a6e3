import pandas as pd

from datamodules.checks.counts import NO_LABEL, class_masks, compare_with_paper


def test_rows_without_a_label_are_a_class_where_there_are_any() -> None:
    table = pd.DataFrame({"a": [1.0, 0.0], "b": [0.0, None]})
    assert class_masks(table, ["a", "b"])[NO_LABEL].tolist() == [False, True]
    assert list(class_masks(table[:1], ["a", "b"])) == ["a", "b"]


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
    assert rows.loc["w test COVID-19"].tolist() == [4812, 2, 1]
    assert rows.loc["w test (none of these)"].tolist() == [1750, 1, 1]
