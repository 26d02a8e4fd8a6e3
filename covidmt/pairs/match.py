"""``covidmt pairs match``: pairs originals with the files that really went through a phone.

The paper sorted the received images by their time and paired them with the originals in the order of sending. One lost
message shifts all pairs after it, so a perceptual hash checks here, and decides wherever it is unambiguous.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from covidmt.pairs.file_times import sort_by_time
from covidmt.pairs.look_alikes import Match, dhash, hamming, out_of_order, pair_up
from covidmt.pairs.originals import ORIGINALS, copy_or_link, find_originals, received_folder
from datamodules.images.decode import decode
from datamodules.images.processes import in_processes
from datamodules.reading.listing import count_others, scan_folders
from experiments.errors import UserError
from experiments.names import Terminal, harmless_cell, printable


def match_pairs(
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
        originals: A folder of images or of class folders, see :func:`~covidmt.pairs.originals.find_originals`.
        received: A folder with the received files, as the phone wrote them.
        out: New or empty.
        channel: Names the received folder, ``covid_binary_test_<channel>``.
        positive: As in :func:`~covidmt.pairs.originals.find_originals`.
        by_time: The originals were sent in the order of their modification times, not of their names.
        link: Hard-link instead of copying.
        processes: As many at a time; None: as many as there are cores.

    Raises:
        UserError: Missing or empty folders, an original that cannot be read, or no pair at all.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not an empty folder; name a new one")

    # what was sent, and what arrived, each in the order of time
    sent = find_originals(originals, positive)
    if by_time:
        sent.sort(key=lambda original: original.path.stat().st_mtime_ns)
    if not received.is_dir():
        raise UserError(f"{received}: no such folder")
    found = scan_folders(received)
    if not found.images:
        raise UserError(f"{received}: no images directly in this folder")
    arrived, note = sort_by_time([Path(path) for path in found.images.values()])
    notes = [note] if note else []
    notes += [f"of the files in {received}, {count_others(found.others)}"] if found.others else []

    # their hashes
    hashes, problems = _hash_all([*(original.path for original in sent), *arrived], processes)
    unreadable = [original.path for original in sent if original.path in problems]
    if unreadable:
        raise UserError(f"{len(unreadable)} originals cannot be read: {problems[unreadable[0]]}")
    readable = [path for path in arrived if path in hashes]

    # who belongs together
    pairing = pair_up(hamming([hashes[original.path] for original in sent], [hashes[path] for path in readable]))
    if not pairing.matches:
        raise UserError(
            f"{received}: no file looks like any of the {len(sent)} images of {originals}; nothing was written"
        )

    # the pairs
    rows = []
    disagree = out_of_order(pairing.matches)
    for match in pairing.matches:
        original, file = sent[match.original], readable[match.received]
        twin = out / received_folder(channel) / original.folder / f"{original.path.stem}{file.suffix.lower()}"
        copy_or_link(original.path, out / ORIGINALS / original.folder / original.path.name, link)
        copy_or_link(file, twin, link)
        rows.append((original.path, file, twin, match.bits, match.by, "no" if match in disagree else "yes"))
    _write_csv(out / "matched.csv", ("original", "received", "twin", "bits", "by", "order_agrees"), rows)

    # what is left over
    alone = [(sent[i].path, f"original: {reason}") for i, reason in sorted(pairing.lonely_originals.items())]
    alone += [(readable[j], f"received: {reason}") for j, reason in sorted(pairing.lonely_files.items())]
    alone += [(path, problems[path]) for path in arrived if path in problems]
    _write_csv(out / "unmatched.csv", ("file", "reason"), alone)
    _report(out, pairing.matches, len(disagree), alone, notes)


def _hash_all(paths: list[Path], processes: int | None) -> tuple[dict[Path, np.ndarray], dict[Path, str]]:
    """Return the hash of each readable image, and what is wrong with the others."""
    hashes, problems = {}, {}
    for path, code, problem in in_processes(_hash, paths, processes, f"Looking at {len(paths)} images"):
        if code is None:
            problems[path] = problem
        else:
            hashes[path] = code
    return hashes, problems


def _hash(path: Path) -> tuple[Path, np.ndarray | None, str]:
    try:
        return path, dhash(decode(path)), ""
    except UserError as error:
        return path, None, str(error)


def _write_csv(path: Path, header: tuple[str, ...], rows: Sequence[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        cells = [[harmless_cell(str(value)) for value in row] for row in rows]
        csv.writer(file).writerows([header, *cells])


def _report(
    out: Path, matches: list[Match], disagree: int, alone: list[tuple[Path, str]], notes: Sequence[str]
) -> None:
    console = Terminal(markup=False)
    by_order = sum(match.by == "order" for match in matches)
    console.print(
        f"{len(matches)} pairs in {out}: {len(matches) - by_order} by hash, {by_order} by order among look-alikes; the "
        f"order alone would have paired {disagree} of them otherwise",
        soft_wrap=True,
        highlight=False,
    )
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)
    if alone:
        console.print(f"{len(alone)} files without a partner, all in {out / 'unmatched.csv'}:", soft_wrap=True)
        for path, reason in alone[:10]:
            console.print(f"  {printable(path.name)}: {reason}", soft_wrap=True, highlight=False, markup=False)
