"""Labels as tables write them: several in a cell, with blanks, in any case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from experiments.errors import UserError

NOT_LABELS = {"file", "image", "patient", "split", "source", "origin", "boxes", "frame", "received", "published"}
NOT_LABELS |= {"file_format", "projection"}


def check_labels(labels: Iterable[str], where: object) -> None:
    """Refuse labels that have the name of another column of the sample table.

    Raises:
        UserError: Naming the first one.
    """
    taken = sorted(NOT_LABELS.intersection(labels))
    if taken:
        raise UserError(f"{where}: no label can be called {taken[0]!r}, a column of every table; give it another name")


def split_labels(cells: pd.Series, separator: str = "|") -> pd.DataFrame:
    """Return a 1 / 0 column for every label that stands in the cells; NaN in all of them where a cell names none.

    Args:
        cells: Labels joined by the separator, with blanks around them or not; NaN where there are none.
        separator: Between two labels.

    Example:
        >>> split_labels(pd.Series(["mass | nodule", "nodule|", None, "|"])).fillna(-1).values.tolist()
        [[1.0, 1.0], [0.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]]
    """
    kinds = pd.Series(cells.dropna().unique(), dtype=object)
    names = kinds.str.split(separator, regex=False).explode().str.strip()
    names = names[names != ""]

    # the labels of each kind of cell, then of each row
    table = pd.get_dummies(names, dtype=float).groupby(level=0).max()
    by_kind = table.reindex(range(len(kinds))).set_axis(kinds)
    return by_kind.reindex(cells.to_numpy(dtype=object)).set_axis(cells.index)


def spell_as(labels: pd.Series, known: Sequence[str]) -> pd.Series:
    """Return labels in the spelling of the known ones, from which they may differ in case and blanks.

    Example:
        >>> spell_as(pd.Series([" normal", "Mass"]), ["Normal"]).tolist()
        ['Normal', 'Mass']
    """
    spelling = {label_key(label): label for label in known}
    return labels.map(lambda label: spelling.get(label_key(label), label), na_action="ignore")


def label_key(label: str) -> str:
    """Return what spellings of one label have in common.

    Example:
        >>> label_key("Pleural_Thickening") == label_key("pleural thickening ")
        True
    """
    return "".join(letter for letter in label.casefold() if letter.isalnum())
