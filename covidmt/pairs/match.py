"""``covidmt pairs match``: pairs originals with the files that really went through a phone.

The paper sorted the received images by their time and paired them with the originals in the order of sending. One lost
message shifts all pairs after it, so a perceptual hash checks here, and decides wherever it is unambiguous.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from rich.console import Console

from covidmt.pairs.make import ORIGINALS, find_originals, place, received_folder
from datamodules.images.decode import decode
from datamodules.images.processes import in_processes
from datamodules.sources.files import list_images
from experiments.errors import UserError

SIDE = 16  # of the hash: 16 x 16 = 256 bits
# On 209 X-rays WhatsApp changed at most 9 bits (median 1), and two different images differed in at least 25.
LIMIT = 16  # bits that a sent image may differ from its original
MARGIN = 8  # bits that the second-best candidate must be farther away
# WhatsApp on Android (IMG-20210203-WA0001), on a computer (WhatsApp Image 2021-02-03 at 10.11.12 (1)), cameras
_NAMED_TIMES = (
    re.compile(r"(?P<date>\d{8})-WA(?P<number>\d+)"),
    re.compile(
        r"(?P<date>\d{4}-\d{2}-\d{2}) at (?P<time>\d{1,2}\.\d{2}\.\d{2})(?: (?P<half>[AP]M))?(?: \((?P<number>\d+)\))?"
    ),
    re.compile(r"(?P<date>\d{8})[_-](?P<time>\d{6})(?:\D+(?P<number>\d+))?"),
)


class Match(NamedTuple):
    """A pair of indices, the bits in which the hashes differ, and what decided: ``hash`` or ``order``."""

    original: int
    received: int
    bits: int
    by: str


def match(
    originals: Path,
    received: Path,
    out: Path,
    *,
    channel: str = "whatsapp",
    positive: str = "COVID-19",
    by_time: bool = False,
    link: bool = False,
    processes: int | None = None,
) -> None:
    """Pair two folders and write the pairs in WaCXR's layout.

    Writes the two folders, ``OUT/matched.csv`` and ``OUT/unmatched.csv`` (also shown).

    Args:
        originals: A folder of images or of class folders, see :func:`covidmt.pairs.make.find_originals`.
        received: A folder with the received files, as the phone wrote them.
        out: New or empty.
        channel: Names the received folder, ``covid_binary_test_<channel>``.
        positive: As in :func:`covidmt.pairs.make.find_originals`.
        by_time: The originals were sent in the order of their modification times, not of their names.
        link: Hard-link instead of copying.
        processes: As many at a time; None: as many as there are cores.

    Raises:
        UserError: Missing or empty folders, an original that cannot be read, or no pair at all.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not an empty folder; name a new one")
    sent = find_originals(originals, positive)
    if by_time:
        sent.sort(key=lambda item: item.path.stat().st_mtime_ns)
    if not received.is_dir():
        raise UserError(f"{received}: no such folder")
    arrived = sort_by_time([Path(path) for path in list_images(received).values()])
    if not arrived:
        raise UserError(f"{received}: no images directly in this folder")
    hashes, broken = _hash_all([*(item.path for item in sent), *arrived], processes)
    if unread := [item.path for item in sent if item.path in broken]:
        raise UserError(f"{len(unread)} originals cannot be read: {broken[unread[0]]}")
    readable = [path for path in arrived if path in hashes]
    distances = hamming([hashes[item.path] for item in sent], [hashes[path] for path in readable])
    matches, reasons = pair_up(distances)
    if not matches:
        raise UserError(
            f"{received}: no file looks like any of the {len(sent)} images of {originals}; nothing was written"
        )
    rows = []
    disagree = out_of_order(matches)
    for found in matches:
        original, file = sent[found.original], readable[found.received]
        target = out / ORIGINALS / original.folder / original.path.name
        twin = out / received_folder(channel) / original.folder / f"{original.path.stem}{file.suffix.lower()}"
        place(original.path, target, link)
        place(file, twin, link)
        rows.append((original.path, file, twin, found.bits, found.by, "no" if found in disagree else "yes"))
    lost = [(item.path, f"original: {reasons[0][i]}") for i, item in enumerate(sent) if i in reasons[0]]
    lost += [(path, f"received: {reasons[1][j]}") for j, path in enumerate(readable) if j in reasons[1]]
    lost += [(path, broken[path]) for path in arrived if path in broken]
    _write(out / "matched.csv", ("original", "received", "twin", "bits", "by", "order_agrees"), rows)
    _write(out / "unmatched.csv", ("file", "reason"), lost)
    _report(out, matches, len(disagree), lost)


def sort_by_time(paths: Sequence[Path]) -> list[Path]:
    """Sorted by the time that their names tell, or by modification time where not all names tell one."""
    times = {path: named_time(path.name) for path in paths}
    if all(times.values()):
        return sorted(paths, key=lambda path: (times[path], path.name))
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))


def named_time(name: str) -> tuple[str, str, int] | None:
    """(Date, time of day, running number) in a file's name, such as ``IMG-20210203-WA0001.jpg``; sorts by time."""
    for pattern in _NAMED_TIMES:
        if found := pattern.search(name):
            parts = found.groupdict()
            clock = [int(part) for part in re.findall(r"\d\d?", parts.get("time") or "")]
            if parts.get("half"):
                clock[0] = clock[0] % 12 + 12 * (parts["half"] == "PM")
            time = "".join(f"{part:02d}" for part in clock)
            return parts["date"].replace("-", ""), time, int(parts.get("number") or 0)
    return None


def dhash(image: np.ndarray) -> np.ndarray:
    """Difference hash of a grey image, (256,) bool: is each cell of a 16 x 16 grid darker than the one beside it?"""
    small = cv2.resize(image.astype(np.float32), (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return (small[:, 1:] > small[:, :-1]).ravel()


def hamming(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """Differing bits of each of n hashes with each of m, (n, m) int16."""
    if not a or not b:
        return np.zeros((len(a), len(b)), np.int16)
    x, y = (np.stack(some).astype(np.float32) * 2 - 1 for some in (a, b))
    return ((x.shape[1] - x @ y.T) / 2).round().astype(np.int16)


def pair_up(distances: np.ndarray) -> tuple[list[Match], tuple[dict[int, str], dict[int, str]]]:
    """Pairs, originals in the order of sending against files in the order of arrival.

    Candidates are pairs of at most ``LIMIT`` bits that are less than ``MARGIN`` worse than the best of either side. An
    original and a file that are each other's only candidate are a pair, by hash. A group of look-alikes (copies of one
    image, or films of a patient) is paired by order if it has as many originals as files; otherwise by nobody.

    Args:
        distances: (n, m) bits in which n originals and m files differ.

    Returns:
        The pairs by original, and why others have none: by original, by file.
    """
    best = [distances.min(axis, initial=SIDE * SIDE) for axis in (1, 0)]  # of each original, of each file
    near = (distances <= LIMIT) & (distances < np.minimum(best[0][:, None], best[1]) + MARGIN)
    matches = []
    reasons: tuple[dict[int, str], dict[int, str]] = ({}, {})
    for originals, files in _groups(near):
        if len(originals) == len(files):
            by = "hash" if len(files) == 1 else "order"
            matches += [Match(i, j, int(distances[i, j]), by) for i, j in zip(originals, files, strict=True)]
            continue
        text = f"{len(originals)} originals and {len(files)} files look alike"
        reasons[0].update(dict.fromkeys(originals, text))
        reasons[1].update(dict.fromkeys(files, text))
    for side in (0, 1):
        for index in np.flatnonzero(~near.any(1 - side)).tolist():
            reasons[side][index] = f"the nearest differs in {best[side][index]} of {SIDE * SIDE} bits"
    return sorted(matches), reasons


def out_of_order(matches: list[Match]) -> set[Match]:
    """The pairs that pairing by order alone (k-th with k-th of those that have a partner) would have missed."""
    arrival = sorted(found.received for found in matches)
    return {found for found, expected in zip(sorted(matches), arrival, strict=True) if found.received != expected}


def _groups(near: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """Originals and files that hang together by candidates, in order."""
    seen: set[int] = set()
    groups = []
    for start in np.flatnonzero(near.any(1)).tolist():
        if start in seen:
            continue
        originals, files = {start}, set()
        while True:
            reached = set(np.flatnonzero(near[sorted(originals)].any(0)).tolist())
            back = set(np.flatnonzero(near[:, sorted(reached)].any(1)).tolist())
            if (back, reached) == (originals, files):
                break
            originals, files = back, reached
        seen |= originals
        groups.append((sorted(originals), sorted(files)))
    return groups


def _hash_all(paths: list[Path], processes: int | None) -> tuple[dict[Path, np.ndarray], dict[Path, str]]:
    """The hash of each readable image, and what is wrong with the others."""
    hashes, broken = {}, {}
    for path, code, problem in in_processes(_hash, paths, processes, f"Looking at {len(paths)} images"):
        if code is None:
            broken[path] = problem
        else:
            hashes[path] = code
    return hashes, broken


def _hash(path: Path) -> tuple[Path, np.ndarray | None, str]:
    try:
        return path, dhash(decode(path)), ""
    except UserError as error:
        return path, None, str(error)


def _write(path: Path, header: tuple[str, ...], rows: Sequence[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _report(out: Path, matches: list[Match], disagree: int, lost: list[tuple[Path, str]]) -> None:
    console = Console(markup=False)
    by_order = sum(found.by == "order" for found in matches)
    console.print(
        f"{len(matches)} pairs in {out}: {len(matches) - by_order} by hash, {by_order} by order among look-alikes; the "
        f"order alone would have paired {disagree} of them otherwise",
        soft_wrap=True,
        highlight=False,
    )
    if lost:
        console.print(f"{len(lost)} files without a partner, all in {out / 'unmatched.csv'}:", soft_wrap=True)
        for path, reason in lost[:10]:
            console.print(f"  {path.name}: {reason}", soft_wrap=True, highlight=False, markup=False)
