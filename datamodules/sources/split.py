"""Who is trained on and who is tested on, decided for people, over all data sets at once.

The published split of a row is ``train``, ``val`` or ``test``; ``train_val`` (NIH's list, COVIDx without a
validation list) is open between two; NA is open to all three.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b

import pandas as pd

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {**{s: s for s in SPLITS}, "training": "train", "valid": "val", "validation": "val", "testing": "test"}
TEST_FRACTION = 0.2  # drawn for a data set that publishes no split and shares no test patient with another
RSNA_VAL_FRACTION = 0.25  # paper: 22,638 and 7,589 label rows


def close_or_open(split: pd.Series) -> pd.Series:
    """Leave the training rows open for the validation draw where a published split has no validation rows.

    Example:
        >>> close_or_open(pd.Series(["train", "test"])).tolist()
        ['train_val', 'test']
        >>> close_or_open(pd.Series(["train", "val", "test"])).tolist()
        ['train', 'val', 'test']
    """
    return split if (split == "val").any() else split.replace({"train": "train_val"})


def patient_disjoint(
    tables: dict[str, pd.DataFrame],
    val_fraction: float,
    seed: int,
    *,
    test_fraction: float = TEST_FRACTION,
    classes: dict[str, pd.Series] | None = None,
) -> dict[str, pd.Series]:
    """Assign people to splits, once for all tables; a row whose published split contradicts it becomes NA.

    1. Published test and validation rows claim their patients, table by table in the order given (so WaCXR and COVIDx
       come before NIH); the first claim wins.
    2. A table that publishes nothing and has no test patient by now gets a drawn test split.
    3. ``val_fraction`` of the other patients with open rows become validation, drawn in one common order of all
       patients, so that NIH and RSNA draw the same people.
    4. All others train.

    Args:
        tables: Source name -> sample table.
        val_fraction: Of the patients that are not tested on.
        seed: Of both draws.
        test_fraction: Of the patients of a table that publishes nothing.
        classes: Source name -> each row's class: the draws take their share of every class (stratified). A patient with
            images of several classes is drawn with the smallest class first.

    Returns:
        Source name -> each row's final split.

    Example:
        >>> nih = pd.DataFrame({"patient": ["nih:1", "nih:2", "nih:3"], "split": "train_val"})
        >>> covidx = pd.DataFrame({"patient": ["nih:1", "cohen:4"], "split": ["test", "train"]})
        >>> splits = patient_disjoint({"covidx": covidx, "nih": nih}, val_fraction=0.5, seed=0)
        >>> splits["nih"].isna().tolist()  # NIH would train on a patient that COVIDx tests on
        [True, False, False]
        >>> sorted(splits["nih"].dropna())
        ['train', 'val']
    """

    def strata(name: str, rows: pd.Series) -> list[pd.Series]:
        patients = tables[name]["patient"][rows]
        return [patients] if classes is None else [some for _, some in patients.groupby(classes[name][rows])]

    # 1. published claims
    people: dict[str, str] = {}
    for table in tables.values():
        for split in ("test", "val"):
            for patient in table["patient"][table["split"] == split]:
                people.setdefault(patient, split)

    # 2. and 3. draws
    unsplit = [
        name for name, t in tables.items() if t["split"].isna().all() and "test" not in set(t["patient"].map(people))
    ]
    is_open = {name: t["split"].isna() | (t["split"] == "train_val") for name, t in tables.items()}
    _draw(people, [some for name in unsplit for some in strata(name, is_open[name])], "test", test_fraction, seed)
    _draw(people, [some for name in tables for some in strata(name, is_open[name])], "val", val_fraction, seed)

    # 4. all others, and rows that contradict
    final = {}
    for name, table in tables.items():
        split = table["patient"].map(people).astype("str").fillna("train")
        kept = (table["split"] == split) | table["split"].isna() | ((table["split"] == "train_val") & (split != "test"))
        final[name] = split.where(kept)
    return final


def as_published(
    tables: dict[str, pd.DataFrame], by_image: Iterable[str], val_fraction: float, seed: int
) -> dict[str, pd.Series]:
    """Return the paper's splits, each data set's by itself.

    Those of ``by_image`` (RSNA) are split 75/25 by image; elsewhere open rows are drawn by patient.
    """
    final = {}
    for name, table in tables.items():
        if name in by_image:
            files = table["image"].map(os.path.basename)
            val = ranked(files, seed)[: round(RSNA_VAL_FRACTION * len(table))]
            final[name] = files.isin(val).map({True: "val", False: "train"}).astype("str")
        else:
            published = table["split"].replace({"train_val": "train"})
            final[name] = patient_disjoint({name: table}, val_fraction, seed)[name].fillna(published)
    return final


def shared_patients(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Find patients in more than one final split: ``patient``, ``splits`` and ``sources`` (both comma-separated).

    Example:
        >>> table = pd.DataFrame({"patient": ["a", "a", "b"], "split": ["train", "test", "test"], "source": "mine"})
        >>> shared_patients({"mine": table}).values.tolist()
        [['a', 'test, train', 'mine']]
    """
    rows = pd.concat([table[["patient", "split", "source"]] for table in tables.values()]).dropna().drop_duplicates()
    rows = rows[rows["patient"].map(rows.groupby("patient")["split"].nunique()) > 1]
    grouped = rows.sort_values(["patient", "split", "source"]).groupby("patient")
    joined = grouped[["split", "source"]].agg(lambda values: ", ".join(dict.fromkeys(values)))
    return joined.reset_index().rename(columns={"split": "splits", "source": "sources"})


def ranked(ids: Iterable[str], seed: int) -> list[str]:
    """Return distinct ids in an order that depends on nothing but the ids and the seed."""
    return sorted(set(ids), key=lambda i: blake2b(f"{seed}:{i}".encode(), digest_size=8).digest())


def _draw(people: dict[str, str], groups: list[pd.Series], split: str, fraction: float, seed: int) -> None:
    """Give ``fraction`` of each group's unassigned patients to ``split``; the smallest group chooses first.

    One draw over everybody could leave a small data set beside NIH's 30,805 patients without any.
    """
    taken: set[str] = set()
    free = [[p for p in ranked(group, seed) if p not in people] for group in groups]
    for candidates in sorted(free, key=lambda c: (len(c), c)):
        if fraction > 0 and len(candidates) > 1:
            wanted = max(1, round(fraction * len(candidates))) - sum(p in taken for p in candidates)
            taken.update([p for p in candidates if p not in taken][: max(0, wanted)])
    people.update(dict.fromkeys(taken, split))
