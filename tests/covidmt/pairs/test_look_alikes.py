import numpy as np

from covidmt.pairs.look_alikes import Match, dhash, out_of_order, pair_up
from datamodules.channels.registry import get_channel
from datamodules.images.decode import decode


def test_pairs_by_hash_then_by_order():
    far = 90
    distances = np.full((5, 4), far)
    distances[0, 1] = 3  # clear
    distances[1:3, 2:4] = [[2, 2], [2, 2]]  # two copies, both received: by order
    distances[3:5, 0] = [1, 1]  # two copies, one received: nobody knows which
    matches, lost, foreign = pair_up(distances)
    assert matches == [Match(0, 1, 3, "hash"), Match(1, 2, 2, "order"), Match(2, 3, 2, "order")]
    assert lost == dict.fromkeys((3, 4), "2 originals and 1 files look alike")
    assert list(foreign) == [0]
    assert out_of_order(matches) == set()
    assert len(out_of_order([Match(0, 2, 0, "hash"), Match(1, 1, 0, "hash"), Match(2, 3, 0, "hash")])) == 2


def test_the_hash_decides_against_the_order_where_it_is_clear():
    distances = np.array([[60, 2], [1, 70]])
    matches, _, _ = pair_up(distances)
    assert [(found.original, found.received, found.by) for found in matches] == [(0, 1, "hash"), (1, 0, "hash")]
    assert pair_up(np.zeros((1, 0))).lonely_originals.keys() == {0}


def test_real_x_rays_are_paired_and_told_apart(mini_cxr):
    paths = sorted((mini_cxr / "wacxr" / "covid_binary_test").glob("*/*"))[::3]
    images = [decode(path) for path in paths]
    received = [decode(get_channel(f"whatsapp+{('telegram', 'mms')[i % 2]}")(image)) for i, image in enumerate(images)]
    bits = np.array([[(dhash(a) != dhash(b)).sum() for b in received] for a in images])
    matches, lost, foreign = pair_up(bits)
    assert [(found.original, found.received, found.by) for found in matches] == [
        (i, i, "hash") for i in range(len(paths))
    ]
    assert (lost, foreign) == ({}, {})
