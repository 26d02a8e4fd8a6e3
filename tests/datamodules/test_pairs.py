import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datamodules.channels.phone_apps import whatsapp
from datamodules.images.decode import decode, resize
from datamodules.images.mask_files import write_mask
from datamodules.images.masks import LungMasks
from datamodules.pairs import PairDataset, balanced_draw, collate_pairs
from experiments.schema import Masks

SIZE = 24


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        for name in ("a.png", "b.png") if place == "one" else ("a.png",):
            smooth = rng.integers(0, 256, (6, 8), np.uint8)
            path = tmp_path / place / name
            Image.fromarray(smooth).resize((80, 60)).save(path)
            received = path.with_suffix(".jpeg")
            received.write_bytes(whatsapp(decode(path)))
            rows.append({"image": str(path), "patient": f"p:{len(rows)}", "received": str(received)})
            rows[-1]["COVID-19"] = float(place == "two")
    return pd.DataFrame(rows)


def pairs(table, **options):
    return PairDataset(table, "COVID-19", SIZE, LungMasks(Masks()), **options)


def test_simulated_and_received_pairs_are_the_same(table):
    made, stored = pairs(table, channel=whatsapp), pairs(table)
    for index in range(3):
        for one, other in zip(made[index], stored[index], strict=True):
            assert one == other if isinstance(one, str) else torch.equal(one, other)
    assert (made[0].original != made[0].received).any()


def test_both_images_go_through_one_decoder_and_resize(table):
    pair = pairs(table)[1]
    row = table.iloc[1]
    assert (pair.original[0].numpy() == resize(decode(row["image"]), SIZE)).all()
    assert (pair.received[0].numpy() == resize(decode(row["received"]), SIZE)).all()


def test_a_batch_of_pairs(table, tmp_path):
    write_mask(tmp_path / "masks" / "b.png", np.arange(8) < np.full((6, 1), 4))
    masks = LungMasks(Masks(folders=[str(tmp_path / "masks")]))
    dataset = PairDataset(table, "COVID-19", SIZE, masks)
    batch = collate_pairs([dataset[i] for i in range(len(dataset))])
    assert batch.original.shape == batch.received.shape == (3, 1, SIZE, SIZE)
    assert batch.original.dtype == batch.received.dtype == torch.uint8
    assert batch.label.dtype == torch.float32
    assert batch.label.tolist() == dataset.labels.tolist() == [0, 0, 1]
    assert batch.lung.dtype == torch.bool
    assert batch.lung.flatten(1).float().mean(1).tolist() == [0, 0.5, 0]
    assert batch.id == dataset.ids == ["one/a.png", "one/b.png", "two/a.png"]
    assert dataset.patients == ["p:0", "p:1", "p:2"]


def test_ids_are_short_where_they_can_be(table):
    assert pairs(table.iloc[:2]).ids == ["a.png", "b.png"]
    assert pairs(pd.concat([table, table])).ids == pairs(table).ids  # an image listed twice is one pair


def test_without_the_label_column_it_is_unknown(table):
    assert np.isnan(pairs(table.drop(columns="COVID-19")).labels).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, float("nan")]), min_size=1, max_size=40), st.integers(1, 50), st.integers(0))
def test_limit_draws_evenly(values, limit, seed):
    labels = np.array(values, np.float32)
    chosen = balanced_draw(labels, limit, seed)
    assert len(set(chosen)) == len(chosen) == min(limit, len(labels))
    assert chosen.tolist() == sorted(chosen) == balanced_draw(labels, limit, seed).tolist()

    def counts(some):
        return [int(np.isnan(some).sum()), int((some == 0).sum()), int((some == 1).sum())]

    drawn, there = counts(labels[chosen]), counts(labels)
    left_over = [n for n, total in zip(drawn, there, strict=True) if n < total]
    assert all(n <= least + 1 for n in drawn for least in left_over)


def test_limit_by_seed(table):
    assert sorted(pairs(table, limit=2).labels) == [0, 1]
    drawn = {tuple(pairs(table, limit=2, seed=seed).ids) for seed in range(20)}
    assert len(drawn) == 2
