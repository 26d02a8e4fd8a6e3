"""How many images and patients each source has, a class and split, and how many the papers had."""

from __future__ import annotations

import itertools

import pandas as pd

from datamodules.sources.split import SPLITS
from datamodules.sources.table import label_columns

NO_LABEL = "(none of these)"
UNKNOWN = "(unknown)"
LEFT_OUT = "left out"

_COVIDMT_FIGURES = {  # Materials and methods
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
_HIDE_AND_SEEK_FIGURES = {  # Table 1: COVIDx version 5, the images of COVID-Net's own table of that release
    "covidx": {
        ("train", "normal"): 7966,
        ("train", "pneumonia"): 5475,
        ("train", "COVID-19"): 517,
        ("test", "normal"): 100,
        ("test", "pneumonia"): 100,
        ("test", "COVID-19"): 100,
    },
}
_PAPERS = {"COVIDMT (000)": _COVIDMT_FIGURES, "Hide-and-Seek (001)": _HIDE_AND_SEEK_FIGURES}


def class_masks(table: pd.DataFrame, labels: list[str]) -> dict[str, pd.Series]:
    """Return label -> its positive rows, and ``(none of these)`` -> rows without a positive label, if there are any.

    Rows of which no label is known (`unknown_rows`) are in none of them.

    Example:
        >>> masks = class_masks(pd.DataFrame({"sick": [1, 0], "well": [0, 0]}), ["sick", "well"])
        >>> {label: mask.tolist() for label, mask in masks.items()}
        {'sick': [True, False], 'well': [False, False], '(none of these)': [False, True]}
    """
    masks = {label: table[label] == 1 for label in labels}
    none = ~pd.DataFrame(masks, index=table.index).any(axis=1) & ~unknown_rows(table, labels)
    return {**masks, NO_LABEL: none} if none.any() else masks


def unknown_rows(table: pd.DataFrame, labels: list[str]) -> pd.Series:
    """Return the rows of which none of the labels is known; where there are no labels, no row.

    Example:
        >>> unknown_rows(pd.DataFrame({"sick": [1, None, None], "well": [0, 0, None]}), ["sick", "well"]).tolist()
        [False, False, True]
    """
    return table[labels].isna().all(axis=1) if labels else pd.Series(False, table.index)


def count_sources(
    tables: dict[str, pd.DataFrame], kinds: dict[str, str], read: dict[str, dict[str, int]]
) -> pd.DataFrame:
    """Count what each source brings, and what it lacks.

    Args:
        tables: Source -> sample table.
        kinds: Source -> kind of data set.
        read: Source -> what its reader counted, see :class:`~datamodules.sources.notes.SourceNotes`.

    Returns:
        A row a source: its kind; images; listed images and those of them that are missing (NA: it has no list);
        files that are no images; patients; images whose patient nobody knows; images with boxes, boxes; received files.

    Example:
        >>> table = pd.DataFrame({"patient": ["a", "a", "b"], "boxes": [[], [0], [0, 0]]})
        >>> counts = count_sources({"mine": table}, {"mine": "csv"}, {"mine": {"listed": 4, "missing": 1}})
        >>> counts.T[0].dropna().to_dict()  # doctest: +NORMALIZE_WHITESPACE
        {'source': 'mine', 'kind': 'csv', 'images': 3, 'listed': 4, 'missing': 1, 'patients': 2, 'with boxes': 2,
         'boxes': 3}
    """
    rows = []
    for name, table in tables.items():
        counts = read.get(name, {})
        boxes = [len(each) for each in table["boxes"]] if "boxes" in table else []
        rows.append(
            {
                "source": name,
                "kind": kinds[name],
                "images": len(table),
                **{what: counts.get(what) for what in ("listed", "missing", "no image")},
                "patients": table["patient"].nunique(),
                "no patient": counts.get("no patient"),
                "with boxes": sum(count > 0 for count in boxes) if "boxes" in table else None,
                "boxes": sum(boxes) if "boxes" in table else None,
                "received": len(table) if "received" in table else None,
            }
        )
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(frame.columns.difference(["source", "kind"]), "Int64"))


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
        labels = label_columns(table)
        unknown = unknown_rows(table, labels)
        masks = {"all images": everyone, **class_masks(table, labels), **({UNKNOWN: unknown} if unknown.any() else {})}
        for label, mask in masks.items():
            images = {s: int((mask & (split == s)).sum()) for s in (*SPLITS, LEFT_OUT)}
            rows.append({"source": name, "class": label, **images})
        patients = {s: table["patient"][split == s].nunique() for s in (*SPLITS, LEFT_OUT)}
        rows.append({"source": name, "class": "patients", **patients})
    return pd.DataFrame(rows)


def compare_with_paper(tables: dict[str, pd.DataFrame], kinds: dict[str, str]) -> pd.DataFrame:
    """Set each of the papers' figures beside ours; each paper has a COVIDx release of its own.

    Args:
        tables: Source -> sample table with the columns ``split`` and ``published``.
        kinds: Source -> the kind of data set that it is.

    Returns:
        Columns of (the paper), quantity, paper (its figure), listed (by the data set; NA: it publishes no splits), used
        (by this experiment).
    """
    rows = []
    for of, name in itertools.product(_PAPERS, tables):
        table = tables[name]
        published = table["published"].replace({"train_val": "train"})
        for (split, quantity), figure in _PAPERS[of].get(kinds[name], {}).items():
            everywhere = split == "all"
            listed = _count(table[(published == split) | everywhere], quantity)
            used = _count(table[table["split"].notna() if everywhere else table["split"] == split], quantity)
            unlisted = not everywhere and published.isna().all()
            rows.append((of, f"{name} {split} {quantity}", figure, None if unlisted else listed, used))
    return pd.DataFrame(rows, columns=["of", "quantity", "paper", "listed", "used"]).astype({"listed": "Int64"})


def _count(table: pd.DataFrame, quantity: str) -> int:
    if quantity == "images":
        return len(table)
    if quantity == "label rows":
        return sum(max(1, len(boxes)) for boxes in table["boxes"])
    if quantity.startswith("categories"):
        return int((table[label_columns(table)].mean() > 0.05).sum())
    masks = class_masks(table, label_columns(table))
    return int(masks[quantity].sum()) if quantity in masks else 0
