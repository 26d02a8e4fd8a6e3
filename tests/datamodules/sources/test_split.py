from __future__ import annotations

from collections import Counter

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.sources.split import as_published, close_or_open, patient_disjoint, ranked, shared_patients

PUBLISHED = ["train", "val", "test", "train_val", None]


def table(*rows: tuple[str, str | None], source: str = "s") -> pd.DataFrame:
    patients, splits = [row[0] for row in rows], pd.Series([row[1] for row in rows], dtype="str")
    images = [f"/{source}/{i}.png" for i in range(len(rows))]
    return pd.DataFrame({"image": images, "patient": patients, "split": splits, "source": source})


def with_splits(tables: dict[str, pd.DataFrame], splits: dict[str, pd.Series]) -> dict[str, pd.DataFrame]:
    return {name: tables[name].assign(split=split) for name, split in splits.items()}


rows = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(PUBLISHED)), min_size=1, max_size=15)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from("xyz"), rows, min_size=1), st.floats(0, 0.9), st.integers(0, 3), st.randoms())
def test_patients_are_disjoint_and_lists_respected(tables_rows, fraction, seed, random) -> None:
    tables = {name: table(*r, source=name) for name, r in tables_rows.items()}
    splits = patient_disjoint(tables, fraction, seed)
    assert shared_patients(with_splits(tables, splits)).empty
    for name, split in splits.items():
        published = tables[name]["split"]
        assert (split[published == "test"].dropna() == "test").all()
        assert (split[published == "train"].dropna() == "train").all()
        assert split[published == "train_val"].dropna().isin(["train", "val"]).all()
        assert split[published.isna()].notna().all()  # open rows are never lost
    shuffled = {}
    for name, t in tables.items():
        order = list(t.index)
        random.shuffle(order)
        shuffled[name] = t.loc[order]
    again = patient_disjoint(shuffled, fraction, seed)
    for name, split in splits.items():
        pd.testing.assert_series_equal(again[name].sort_index(), split, check_names=False)


def test_patients_who_were_drawn_for_a_smaller_table_count_in_a_larger_one() -> None:
    """One of a and b and one of c and d are drawn for their own tables: as many as a third has to give, or more."""
    first, second, three = [table(*[(name, "train_val") for name in names]) for names in ("ab", "cd", "abe")]
    both = table(*[(name, "train_val") for name in "abcd"])
    for seed in range(8):
        splits = patient_disjoint({"first": first, "three": three}, 0.3, seed)
        assert splits["three"].tolist().count("val") == splits["first"].tolist().count("val") == 1
        splits = patient_disjoint({"first": first, "second": second, "both": both}, 0.3, seed)
        assert splits["both"].tolist().count("val") == 2


def test_first_claim_wins_and_losses_follow() -> None:
    tables = {
        "wacxr": table(("w", "test"), source="wacxr"),
        "covidx": table(("c", "test"), ("v", "val"), ("w", "val"), ("n", "train"), ("v", "train"), source="covidx"),
        "nih": table(("n", "test"), ("v", "test"), ("c", "train_val"), ("v", "train_val"), source="nih"),
        "rsna": table(("w", None), ("v", None), ("n", None), source="rsna"),
    }
    splits = patient_disjoint(tables, 0.0, 0)
    assert splits["wacxr"].tolist() == ["test"]
    assert splits["covidx"].fillna("-").tolist() == ["test", "val", "-", "-", "-"]
    assert splits["nih"].fillna("-").tolist() == ["test", "-", "-", "val"]
    assert splits["rsna"].tolist() == ["test", "val", "test"]


def test_the_order_of_a_draw_is_the_same_in_every_process_and_version() -> None:
    """Who is tested on must not depend on the machine: this order may change with a reason alone."""
    assert ranked("abcdef", 0) == ["e", "c", "f", "b", "a", "d"]
    assert ranked("abcdefabc", 1) == ["d", "f", "a", "c", "b", "e"]


def test_training_rows_are_open_where_there_is_no_published_validation() -> None:
    assert close_or_open(pd.Series(["train", "test", "train"])).tolist() == ["train_val", "test", "train_val"]
    assert close_or_open(pd.Series(["train", "val"])).tolist() == ["train", "val"]


def test_test_rows_claim_a_patient_before_validation_rows_do() -> None:
    splits = patient_disjoint({"s": table(("a", "val"), ("a", "test"), ("b", "val"))}, 0.5, 0)["s"]
    assert splits.fillna("-").tolist() == ["-", "test", "val"]


def test_a_fraction_of_0_draws_nobody() -> None:
    open_rows = {"s": table(*((f"p{i}", None) for i in range(10)))}
    assert Counter(patient_disjoint(open_rows, 0.0, 0)["s"]) == {"test": 2, "train": 8}
    assert Counter(patient_disjoint(open_rows, 0.5, 0, test_fraction=0.0)["s"]) == {"val": 5, "train": 5}


def test_of_two_patients_one_is_drawn_and_a_single_one_is_not() -> None:
    two = {"s": table(("a", "train_val"), ("b", "train_val"), ("t", "test"))}
    assert Counter(patient_disjoint(two, 0.01, 0)["s"]) == {"train": 1, "val": 1, "test": 1}
    one = {"s": table(("a", "train_val"), ("t", "test"))}
    assert patient_disjoint(one, 0.9, 0)["s"].tolist() == ["train", "test"]


def test_the_smallest_data_set_chooses_first() -> None:
    """Two of 20 patients are the small set's too, the last that the large one would draw: it takes one more alone."""
    people = ranked([f"p{i}" for i in range(20)], 0)
    large = table(*((person, "train_val") for person in people), ("t", "test"), source="large")
    small = table(*((person, "train_val") for person in people[-2:]), ("t", "test"), source="small")
    for tables in ({"large": large, "small": small}, {"small": small, "large": large}):
        splits = patient_disjoint(tables, 0.1, 0)
        drawn = sorted(large["patient"][splits["large"] == "val"])
        assert drawn == sorted([people[0], people[-2]])
        assert Counter(splits["small"]) == {"train": 1, "val": 1, "test": 1}


def test_a_data_set_that_shares_a_test_patient_draws_no_others() -> None:
    """Nor does one with a published split of any kind."""
    listed = table(("a", "test"), ("b", "train"), source="listed")
    free = table(*((p, None) for p in "abcdefghij"), source="free")
    splits = patient_disjoint({"listed": listed, "free": free}, 0.0, 0)
    assert Counter(splits["free"]) == {"test": 1, "train": 9}
    partly = table(("z", "train"), *((p, None) for p in "cdefghij"), source="partly")
    assert "test" not in set(patient_disjoint({"partly": partly}, 0.0, 0)["partly"])


def test_joint_validation_draw() -> None:
    """NIH and RSNA draw the same people; every data set gets its share."""
    nih = table(*[(f"p{i}", "train_val") for i in range(1000)], ("t", "test"), source="nih")
    rsna = table(*[(f"p{i}", None) for i in range(0, 1000, 2)], ("t", None), source="rsna")
    splits = patient_disjoint({"nih": nih, "rsna": rsna}, 0.1, 0)
    assert Counter(splits["nih"]) == {"train": 900, "val": 100, "test": 1}
    assert Counter(splits["rsna"]) == {"train": 450, "val": 50, "test": 1}
    other = patient_disjoint({"nih": nih, "rsna": rsna}, 0.1, 1)
    assert (other["nih"] != splits["nih"]).any()


def test_a_small_data_set_gets_validation_beside_a_large_one() -> None:
    large = table(*[(f"p{i}", "train_val") for i in range(2000)], ("t", "test"), source="large")
    small = table(*[(f"q{i}", "train_val") for i in range(5)], ("u", "test"), source="small")
    assert "val" in set(patient_disjoint({"large": large, "small": small}, 0.1, 0)["small"])


def test_own_data_without_splits_is_drawn_70_10_20() -> None:
    own = {"own": table(*[(f"p{i // 2}", None) for i in range(200)])}
    counts = Counter(patient_disjoint(own, 0.125, 0)["own"])
    assert counts == {"train": 140, "val": 20, "test": 40}


def test_paper_policy_keeps_the_lists_and_splits_rsna_by_image() -> None:
    tables = {
        "covidx": table(("a", "train"), ("a", "test"), ("b", "val"), source="covidx"),
        "nih": table(*[(f"a{i}", "train_val") for i in range(20)], ("a", "test"), ("a", "train_val"), source="nih"),
        "rsna": table(*[("a", None)] * 100, source="rsna"),
    }
    splits = as_published(tables, ["rsna"], 0.1, 0)
    assert splits["covidx"].tolist() == ["train", "test", "val"]
    assert Counter(splits["nih"]) == {"train": 19, "val": 2, "test": 1}
    assert Counter(splits["rsna"]) == {"train": 75, "val": 25}
    shared = shared_patients(with_splits(tables, splits))
    assert shared.to_dict("records") == [{"patient": "a", "splits": "test, train, val", "sources": "covidx, nih, rsna"}]


def test_the_papers_split_by_image_is_a_draw_of_file_names() -> None:
    """Wherever the files lie, and another one of another seed; half of a row is rounded to the even number."""
    names = [f"{i}.png" for i in range(10)]
    rows = table(*[("a", None)] * 10).assign(image=[f"/somewhere/{name}" for name in names])
    split = as_published({"rsna": rows}, ["rsna"], 0.1, 0)["rsna"]
    chosen = ranked(names, 0)[:2]  # 2.5
    assert split.tolist() == ["val" if name in chosen else "train" for name in names]
    moved = rows.assign(image=[f"/elsewhere/{name}" for name in names])
    assert as_published({"rsna": moved}, ["rsna"], 0.1, 0)["rsna"].tolist() == split.tolist()
    assert as_published({"rsna": rows}, ["rsna"], 0.1, 2)["rsna"].tolist() != split.tolist()


def test_rows_without_a_patient_or_a_split_are_shared_by_nobody() -> None:
    one = table(("a", "train"), ("b", "test"), ("c", None), ("c", "val"), source="one")
    two = table(("a", "train"), ("b", "train"), source="two")
    shared = shared_patients({"one": one, "two": two})
    assert shared.to_dict("records") == [{"patient": "b", "splits": "test, train", "sources": "one, two"}]
    assert shared.columns.tolist() == ["patient", "splits", "sources"]


def test_a_stratified_draw_takes_its_share_of_every_class_by_patient() -> None:
    """Paper 002's 373 images: 80 / 10 / 10 of 234 and of 139; then with two images a patient."""
    for each in (1, 2):
        people = [f"n{i // each}" for i in range(234)] + [f"c{i // each}" for i in range(139)]
        one = {"small": table(*((person, None) for person in people), source="small")}
        classes = {"small": one["small"]["patient"].str[0]}
        split = patient_disjoint(one, 0.1111, 0, test_fraction=0.1, classes=classes)["small"]
        counts = Counter(zip(classes["small"], split, strict=True))
        if each == 1:
            assert counts["n", "test"] == counts["n", "val"] == 23
            assert counts["c", "test"] == counts["c", "val"] == 14
            assert (counts["n", "train"], counts["c", "train"]) == (188, 111)
        assert shared_patients(with_splits(one, {"small": split})).empty
        for letter, whole in (("n", 234), ("c", 139)):
            assert abs(counts[letter, "test"] - whole / 10) <= each
            assert abs(counts[letter, "val"] - whole / 10) <= each
    plain = patient_disjoint(one, 0.1111, 1, test_fraction=0.1)["small"]
    assert (plain == "test").sum() in (37, 38)
