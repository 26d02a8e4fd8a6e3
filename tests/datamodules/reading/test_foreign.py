import numpy as np
import pandas as pd
import pytest

from datamodules.reading.foreign import complete_table
from experiments.errors import UserError

ROWS = {"image": ["/d/a.png", "/d/b.png"], "sick": [1, None]}


def test_what_a_table_lacks_is_filled_in():
    rows = ROWS | {"patient": [7, "lyon:3"], "split": ["train", None], "boxes": [None, np.array([[1, 2, 3, 4]])]}
    table = complete_table(pd.DataFrame(rows), "mine")
    assert table["patient"].tolist() == ["mine:7", "lyon:3"]
    assert table["sick"].isna().tolist() == [False, True]
    assert [boxes.shape for boxes in table["boxes"]] == [(0, 4), (1, 4)]
    assert table["split"].isna().tolist() == [False, True]
    assert set(table["source"]) == set(table["origin"]) == {"mine"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("text", "gives a str"),
        (pd.DataFrame({"images": ["/a"]}), "no column 'image'.*did you mean 'images'"),
        (pd.DataFrame({"image": []}), "no row"),
        (pd.DataFrame({"image": ["/a", None]}), "row 1 .* no image"),
        (pd.DataFrame({"image": ["a.png"]}), "no full path"),
        (pd.DataFrame({"image": ["/a", "/a"]}), "several rows"),
        (pd.DataFrame(ROWS | {"split": ["train", "dev"]}), "'dev'"),
        (pd.DataFrame(ROWS | {"sick": [1, np.inf]}), "'sick' is infinite in row 1"),
        (pd.DataFrame(ROWS | {"boxes": [None, [[3, 2, 1, 4]]]}), "row 1: x1 < x2"),
        (pd.DataFrame(ROWS | {"boxes": [None, [[3, 2, 1]]]}), "row 1 are no list"),
    ],
)
def test_a_wrong_table_is_one_message(rows, words):
    with pytest.raises(UserError, match=rf"data\.sources\.mine: .*{words}"):
        complete_table(rows, "mine")
