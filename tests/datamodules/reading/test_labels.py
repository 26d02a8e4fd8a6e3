import numpy as np
import pandas as pd
import pytest

from datamodules.reading.labels import check_labels, label_key, spell_as, split_labels
from experiments.errors import UserError


@pytest.mark.parametrize("separator", ["|", ",", ";", " / "])
def test_several_labels_in_a_cell_with_blanks(separator: str) -> None:
    cells = [f" mass {separator}nodule", f"{separator}nodule{separator} ", np.nan, separator, "edema"]
    cells = pd.Series(cells, [7, 3, 1, 0, 9])
    table = split_labels(cells, separator)
    assert list(table.index) == [7, 3, 1, 0, 9]
    assert sorted(table) == ["edema", "mass", "nodule"]
    assert table[["mass", "nodule", "edema"]].fillna(-1).to_numpy().tolist() == [
        [1, 1, 0], [0, 1, 0], [-1, -1, -1], [-1, -1, -1], [0, 0, 1],
    ]  # fmt: skip


def test_no_labels_at_all() -> None:
    assert split_labels(pd.Series([None, None], dtype=object)).shape == (2, 0)


def test_spelling_of_known_labels() -> None:
    cells = pd.Series(["NORMAL", "lung opacity ", "no lung opacity/not normal", None, "Mass"])
    known = ("Lung Opacity", "Normal", "No Lung Opacity / Not Normal")
    assert spell_as(cells, known).fillna("").tolist() == ["Normal", known[0], known[2], "", "Mass"]
    assert label_key("Pleural_Thickening") == label_key(" pleural thickening")


def test_labels_that_no_table_can_have() -> None:
    check_labels(["sick"], "mine")
    with pytest.raises(UserError, match="no label can be called 'split'"):
        check_labels(["sick", "split"], "mine")
