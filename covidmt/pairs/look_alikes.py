"""Which received file is which original: a perceptual hash, and the order of sending among look-alikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

SIDE = 16  # of the hash: 16 x 16 = 256 bits
# On 209 X-rays WhatsApp changed at most 9 bits (median 1), and two different images differed in at least 25.
LIMIT = 16  # bits that a sent image may differ from its original
MARGIN = 8  # bits that the second-best candidate must be farther away


class Match(NamedTuple):
    """A pair of indices, the bits in which the hashes differ, and what decided: ``hash`` or ``order``."""

    original: int
    received: int
    bits: int
    by: str


class Pairing(NamedTuple):
    """The pairs by original, and why an original or a received file (by its index) has no partner."""

    matches: list[Match]
    lonely_originals: dict[int, str]
    lonely_files: dict[int, str]


def dhash(image: np.ndarray) -> np.ndarray:
    """Return the difference hash of a grey image: is each cell of a 16 x 16 grid darker than the one beside it?

    Args:
        image: (H, W).

    Returns:
        (256,) bool.

    Example:
        >>> ramp = np.tile(np.arange(255, dtype=np.uint8), (60, 1))  # brighter from left to right
        >>> int(dhash(ramp).sum()), int(dhash(255 - ramp).sum())
        (256, 0)
    """
    small = cv2.resize(image.astype(np.float32), (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return (small[:, 1:] > small[:, :-1]).ravel()


def hamming(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """Count the differing bits of each of n hashes with each of m.

    Returns:
        (n, m) int16.

    Example:
        >>> hamming([np.array([True, False, True])], [np.array([True, True, False]), np.array([True, False, True])])
        array([[2, 0]], dtype=int16)
    """
    if not a or not b:
        return np.zeros((len(a), len(b)), np.int16)
    x, y = (np.stack(hashes).astype(np.float32) * 2 - 1 for hashes in (a, b))
    return ((x.shape[1] - x @ y.T) / 2).round().astype(np.int16)


def pair_up(distances: np.ndarray) -> Pairing:
    """Pair originals, in the order of sending, with files, in the order of arrival.

    Candidates are pairs of at most ``LIMIT`` bits that are less than ``MARGIN`` worse than the best of either side. An
    original and a file that are each other's only candidate are a pair, by hash. A group of look-alikes (copies of one
    image, or films of a patient) is paired by order if it has as many originals as files; otherwise by nobody.

    Args:
        distances: (n, m) bits in which n originals and m files differ.

    Example:
        >>> pair_up(np.array([[1, 90], [90, 2], [90, 90]]))  # doctest: +NORMALIZE_WHITESPACE
        Pairing(matches=[Match(original=0, received=0, bits=1, by='hash'),
                         Match(original=1, received=1, bits=2, by='hash')],
                lonely_originals={2: 'the nearest differs in 90 of 256 bits'},
                lonely_files={})
    """
    best_of_original, best_of_file = (distances.min(axis, initial=SIDE * SIDE) for axis in (1, 0))
    near = (distances <= LIMIT) & (distances < np.minimum(best_of_original[:, None], best_of_file) + MARGIN)
    pairing = Pairing([], {}, {})

    # candidates
    for originals, files in _groups(near):
        if len(originals) == len(files):
            by = "hash" if len(files) == 1 else "order"
            for i, j in zip(originals, files, strict=True):
                pairing.matches.append(Match(i, j, int(distances[i, j]), by))
        else:
            reason = f"{len(originals)} originals and {len(files)} files look alike"
            pairing.lonely_originals.update(dict.fromkeys(originals, reason))
            pairing.lonely_files.update(dict.fromkeys(files, reason))
    pairing.matches.sort()

    # whose nearest is too far
    for reasons, best, axis in (
        (pairing.lonely_originals, best_of_original, 1),
        (pairing.lonely_files, best_of_file, 0),
    ):
        for index in np.flatnonzero(~near.any(axis)).tolist():
            reasons[index] = f"the nearest differs in {best[index]} of {SIDE * SIDE} bits"
    return pairing


def out_of_order(matches: list[Match]) -> set[Match]:
    """Return the pairs that pairing by order alone (k-th with k-th of those that have a partner) would have missed.

    Example:
        >>> swapped = [Match(0, 1, 0, "hash"), Match(1, 0, 0, "hash"), Match(2, 2, 0, "hash")]
        >>> sorted(match.original for match in out_of_order(swapped))
        [0, 1]
    """
    arrival = sorted(match.received for match in matches)
    return {match for match, expected in zip(sorted(matches), arrival, strict=True) if match.received != expected}


def _groups(near: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """Return originals and files that hang together by candidates, in order."""
    grouped: set[int] = set()
    groups = []
    for start in np.flatnonzero(near.any(1)).tolist():
        if start in grouped:
            continue
        originals, files = {start}, set()
        while True:
            reached = set(np.flatnonzero(near[sorted(originals)].any(0)).tolist())
            back = set(np.flatnonzero(near[:, sorted(reached)].any(1)).tolist())
            if (back, reached) == (originals, files):
                break
            originals, files = back, reached
        grouped |= originals
        groups.append((sorted(originals), sorted(files)))
    return groups
