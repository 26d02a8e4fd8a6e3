"""``covidmt pairs compare``: what did this route do to the images, and which simulated channel is nearest to it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median

import numpy as np
from rich.markup import escape

from covidmt.pairs.jpeg_traces import Traces, read_traces
from covidmt.pairs.movement import Movement, measure_movement
from datamodules.channels.fitted import SentFile
from datamodules.channels.registry import get_channel
from datamodules.images.decode import decode, resize
from datamodules.images.processes import in_processes
from datamodules.sources.received_folders import find_files, match_names
from experiments.errors import UserError
from experiments.names import Terminal, printable
from experiments.printing.tables import WholeTable

CHANNELS = ("whatsapp", "whatsapp_web")
_LISTED = 10  # files that are named one by one
_SENT = 5  # files that are sent again to find a WebP's quality


@dataclass(frozen=True)
class _Job:
    name: str
    original: str
    received: str
    channels: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class FileComparison:
    """What one pair tells.

    Attributes:
        name: Of the pair.
        original: The original's file.
        size: Of the received file, in bytes.
        sides: Longest side of original and received image, in pixels.
        traces: How the received file was compressed.
        movement: How it lies on its original.
        difference: Mean |received - original| at the input size, in grey levels.
        channels: Channel -> mean |simulated - original| and mean |simulated - received|.
    """

    name: str
    original: str
    size: int
    sides: tuple[int, int]
    traces: Traces
    movement: Movement
    difference: float
    channels: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class RouteComparison:
    """What a route did to all images.

    Attributes:
        files: Each pair.
        proposal: The channel that does most nearly the same, as ``data.pairs.channel`` takes it.
        distances: Channel, the proposal among them -> mean |simulated - original| and mean |simulated - received|.
        problems: Pairs that cannot be read, and why.
    """

    files: list[FileComparison]
    proposal: str
    distances: dict[str, tuple[float, float]]
    problems: list[str]


def compare_route(
    originals: Path,
    received: Path,
    *,
    channels: Sequence[str] = CHANNELS,
    size: int = 512,
    processes: int | None = None,
) -> RouteComparison:
    """Compare originals with what was received of them, paired by name.

    Args:
        originals: A folder, with subfolders or not.
        received: Likewise; two files are a pair by the same path within, but for the ending, else by a unique stem.
        channels: Simulated channels to compare with, each as in :func:`.get_channel`.
        size: Side of the input at which grey levels are compared, in pixels.
        processes: As many at a time; None: as many as there are cores.

    Raises:
        UserError: A folder is missing, there is no pair, a channel is none, or no pair can be read.
    """
    for channel in channels:
        get_channel(channel, "--channel")
    sent, got = find_files(originals, "ORIGINALS"), find_files(received, "RECEIVED")
    twins = match_names(sent.images, got.images)
    if not twins:
        raise UserError(f"{received}: no file has the name of an original in {originals}")

    # each pair
    jobs = [_Job(name, sent.images[name], got.images[twin], tuple(channels), size) for name, twin in twins.items()]
    results = list(in_processes(_compare_file, jobs, processes, f"Comparing {len(jobs)} pairs"))
    files = sorted((each for each in results if isinstance(each, FileComparison)), key=lambda file: file.name)
    problems = [each for each in results if isinstance(each, str)]
    if not files:
        raise UserError(f"none of {len(jobs)} pairs can be read: {problems[0]}")

    # the channel that does the same, measured as the others are
    proposal = propose_channel(files)
    distances = {channel: _mean_distances([file.channels[channel] for file in files]) for channel in channels}
    if proposal != "unchanged" and proposal not in distances:
        measured = partial(_measure_channel, channel=proposal)
        again = list(in_processes(measured, jobs, processes, f"Sending {len(jobs)} images through {proposal}"))
        distances[proposal] = _mean_distances([each for each in again if each is not None])
    return RouteComparison(files, proposal, distances, problems)


def propose_channel(files: Sequence[FileComparison]) -> str:
    """Return the steps that do most nearly what a route did, such as ``resize:1600+jpeg:92``; or ``unchanged``.

    The side is the most frequent one of the images that were made smaller, the quality the median.
    """
    steps = []
    shrunk = [file.sides[1] for file in files if file.sides[1] < file.sides[0] - 1]
    if len(shrunk) * 2 >= len(files):
        (side, _), *_ = Counter(shrunk).most_common(1)
        steps.append(f"resize:{side}")

    # the file
    kinds = Counter(file.traces.format for file in files)
    qualities = [file.traces.quality for file in files if file.traces.quality is not None]
    if kinds.most_common(1)[0][0] == "WEBP":
        steps.append(f"webp:{_webp_quality([file for file in files if file.traces.format == 'WEBP'], steps)}")
    elif len(qualities) * 2 >= len(files):
        (subsampling, _), *_ = Counter(file.traces.subsampling for file in files).most_common(1)
        other = f":{subsampling}" if subsampling in ("4:4:4", "4:2:2") else ""
        steps.append(f"jpeg:{round(median(qualities))}{other}")
    return "+".join(steps) or "unchanged"


def describe_route(comparison: RouteComparison) -> list[SentFile]:
    """Return what became of each file, as ``fitted:FILE`` does it again; other films, and turned ones, too."""
    return [_describe_file(file, comparison.proposal) for file in comparison.files]


def _describe_file(file: FileComparison, proposal: str) -> SentFile:
    side = file.sides[1] if file.sides[1] < file.sides[0] - 1 else None
    if file.traces.format == "WEBP":
        quality = proposal.rpartition("webp:")[2]
        return SentFile("webp", side, int(quality) if quality.isdecimal() else 80)
    if file.traces.quality is None:
        return SentFile("png", side, None)
    return SentFile("jpeg", side, file.traces.quality, file.traces.subsampling or "4:2:0")


def _webp_quality(files: Sequence[FileComparison], before: Sequence[str]) -> int:
    """Return the quality that gives files of this size, in steps of 5: a WebP does not tell its own."""
    some = files[:_SENT]
    wanted = sum(file.size for file in some)
    originals = [decode(file.original) for file in some]

    def size(quality: int) -> int:
        send = get_channel("+".join([*before, f"webp:{quality}"]))
        return sum(len(send(original)) for original in originals)

    return min(range(5, 101, 5), key=lambda quality: abs(size(quality) - wanted))


def print_comparison(comparison: RouteComparison, console: Terminal) -> None:
    """Print what the route did in sum, the files in which more happened, and how near the channels are."""
    files = comparison.files
    n = len(files)

    # in sum
    table = WholeTable(title=f"What this route did to {n} image" + ("s" if n > 1 else ""), title_justify="left")
    table.add_column("")
    table.add_column("received")
    qualities = Counter(_name_quality(file.traces) for file in files)
    for name, text in {
        "mean size of a file": f"{fmean(file.size for file in files) / 1000:,.0f} KB",
        "format": _tally(Counter(file.traces.format for file in files)),
        "JPEG quality": _tally(qualities),
        "chroma": _tally(Counter(file.traces.subsampling or "unknown" for file in files)),
        "longest side": _tally(Counter(f"{file.sides[1]} px" for file in files)),
        "made smaller": f"{sum(file.sides[1] < file.sides[0] for file in files)} of {n}",
        "grey level": f"{fmean(file.movement.shift for file in files):+.2f} on the average",
        "received - original": f"{fmean(file.difference for file in files):.2f} grey levels",
    }.items():
        table.add_row(name, escape(text))
    console.print(table)

    # the channels
    table = WholeTable(title="Mean difference in grey levels at the input's size", title_justify="left")
    for column in ("channel", "simulated - original", "simulated - received"):
        table.add_column(column, justify="left" if column == "channel" else "right")
    for channel, (to_original, to_received) in sorted(comparison.distances.items(), key=lambda item: item[1][1]):
        table.add_row(escape(channel), f"{to_original:.2f}", f"{to_received:.2f}")
    console.print(table)

    # what is not compression
    moved = {file.name: file.movement.describe() for file in files if file.movement.describe()}
    for name, text in list(moved.items())[:_LISTED]:
        console.print(f"{printable(name)}: {text}", markup=False, soft_wrap=True, highlight=False)
    if len(moved) > _LISTED:
        console.print(f"and {len(moved) - _LISTED} more images were moved")
    for problem in comparison.problems[:_LISTED]:
        console.print(f"not compared: {problem}", markup=False, soft_wrap=True, highlight=False)
    console.print(f"nearest channel: {comparison.proposal}", markup=False, soft_wrap=True, highlight=False)


def _compare_file(job: _Job) -> FileComparison | str:
    try:
        content = Path(job.received).read_bytes()
        original, received = decode(job.original), decode(content, job.received)
    except (UserError, OSError) as error:
        return str(error)
    before, after = resize(original, job.size).astype(np.float32), resize(received, job.size).astype(np.float32)
    return FileComparison(
        name=job.name,
        original=job.original,
        size=len(content),
        sides=(max(original.shape), max(received.shape)),
        traces=read_traces(content, received),
        movement=measure_movement(original, received),
        difference=float(np.abs(after - before).mean()),
        channels={channel: _distances(original, before, after, channel, job.size) for channel in job.channels},
    )


def _measure_channel(job: _Job, channel: str) -> tuple[float, float] | None:
    try:
        original, received = decode(job.original), decode(job.received)
    except UserError:
        return None
    before, after = resize(original, job.size).astype(np.float32), resize(received, job.size).astype(np.float32)
    return _distances(original, before, after, channel, job.size)


def _distances(
    original: np.ndarray, before: np.ndarray, after: np.ndarray, channel: str, size: int
) -> tuple[float, float]:
    """Return mean |simulated - original| and mean |simulated - received|; the last two come at input size."""
    simulated = resize(decode(get_channel(channel)(original)), size).astype(np.float32)
    return float(np.abs(simulated - before).mean()), float(np.abs(simulated - after).mean())


def _mean_distances(distances: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return fmean(first for first, _ in distances), fmean(second for _, second in distances)


def _name_quality(traces: Traces) -> str:
    if traces.quality is None:
        return "unknown"
    return f"{traces.quality}{'' if traces.exact else ' (about)' if traces.source == 'file' else ' (by its pixels)'}"


def _tally(counts: Counter[str]) -> str:
    shown = [f"{name} in {count}" for name, count in counts.most_common(5)]
    return ", ".join([*shown, *([f"{len(counts) - 5} others"] if len(counts) > 5 else [])])
