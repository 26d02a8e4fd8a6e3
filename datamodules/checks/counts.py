"""How many images and patients each source has, a class and split, and how many the paper had."""

from __future__ import annotations

import pandas as pd

from datamodules.sources.split import SPLITS
from datamodules.sources.table import label_columns

NO_LABEL = "(none of these)"
LEFT_OUT = "left out"

_PAPER = {  # main paper, Materials and methods
    "covidx": {
        ("train", "normal"): 7966,
        ("train", "pneumonia"): 5451,
        ("train", "COVID-19"): 110,
        ("val", "normal"): 100,
        ("val", "pneumonia"): 100,
        ("val", "COVID-19"): 25,
    },
    "wacxr": {("test", NO_LABEL): 1750, ("test", "COVID-19"): 4812},
    "rsna": {
        ("all", "images"): 26_684,
        ("all", "label rows"): 30_227,
        ("train", "label rows"): 22_638,
        ("val", "label rows"): 7_589,
    },
    "nih": {("all", "images"): 112_120, ("all", "categories above 5 %"): 5},
}


def class_masks(table: pd.DataFrame, labels: list[str]) -> dict[str, pd.Series]:
    """Return label -> its positive rows, and ``(none of these)`` -> rows without a positive label, if there are any.

    Example:
        >>> masks = class_masks(pd.DataFrame({"sick": [1, 0], "well": [0, 0]}), ["sick", "well"])
        >>> {label: mask.tolist() for label, mask in masks.items()}
        {'sick': [True, False], 'well': [False, False], '(none of these)': [False, True]}
    """
    masks = {label: table[label] == 1 for label in labels}
    none = ~pd.DataFrame(masks, index=table.index).any(axis=1)
    return {**masks, NO_LABEL: none} if none.any() else masks


def count_images(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Count images in train, val and test, and those left out: a row for each source and class.

    A last row a source counts its patients. Images without a split are left out: their patient is in another one.

    Args:
        tables: Source -> sample table.

    Example:
        >>> table = pd.DataFrame({"patient": ["a", "a", "b"], "split": ["train", "train", None], "sick": [1, 0, 0]})
        >>> print(count_images({"mine": table}).to_string(index=False))
        source           class  train  val  test  left out
          mine      all images      2    0     0         1
          mine            sick      1    0     0         0
          mine (none of these)      1    0     0         1
          mine        patients      1    0     0         1
    """
    rows = []
    for name, table in tables.items():
        split = table["split"].fillna(LEFT_OUT)
        everyone = pd.Series(True, table.index)
        masks = {"all images": everyone, **class_masks(table, label_columns(table))}
        for label, mask in masks.items():
            images = {s: int((mask & (split == s)).sum()) for s in (*SPLITS, LEFT_OUT)}
            rows.append({"source": name, "class": label, **images})
        patients = {s: table["patient"][split == s].nunique() for s in (*SPLITS, LEFT_OUT)}
        rows.append({"source": name, "class": "patients", **patients})
    return pd.DataFrame(rows)


def compare_with_paper(tables: dict[str, pd.DataFrame], kinds: dict[str, str]) -> pd.DataFrame:
    """Set each of the paper's figures beside ours.

    Args:
        tables: Source -> sample table with the columns ``split`` and ``published``.
        kinds: Source -> the kind of data set that it is.

    Returns:
        Columns quantity, paper, listed (by the data set; NA: it publishes no splits), used (by this experiment).
    """
    rows = []
    for name, table in tables.items():
        published = table["published"].replace({"train_val": "train"})
        for (split, quantity), figure in _PAPER.get(kinds[name], {}).items():
            everywhere = split == "all"
            listed = _count(table[(published == split) | everywhere], quantity)
            used = _count(table[table["split"].notna() if everywhere else table["split"] == split], quantity)
            unlisted = not everywhere and published.isna().all()
            rows.append((f"{name} {split} {quantity}", figure, None if unlisted else listed, used))
    return pd.DataFrame(rows, columns=["quantity", "paper", "listed", "used"]).astype({"listed": "Int64"})


def _count(table: pd.DataFrame, quantity: str) -> int:
    if quantity == "images":
        return len(table)
    if quantity == "label rows":
        return sum(max(1, len(boxes)) for boxes in table["boxes"])
    if quantity.startswith("categories"):
        return int((table[label_columns(table)].mean() > 0.05).sum())
    masks = class_masks(table, label_columns(table))
    return int(masks[quantity].sum()) if quantity in masks else 0
