"""``covidmt pairs make``: sends a folder of X-rays through a simulated channel, into WaCXR's layout."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from covidmt.pairs.manifest import ManifestRow, csv_cells, describe_pair, read_manifest, write_manifest
from covidmt.pairs.originals import (
    ORIGINALS,
    UNLABELLED,
    copy_or_link,
    find_originals,
    is_current,
    received_folder,
)
from datamodules.channels.registry import get_channel
from datamodules.images.decode import decode
from datamodules.images.processes import in_processes
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.names import Terminal, printable

SUFFIXES = {b"\xff\xd8": ".jpeg", b"\x89P": ".png", b"RI": ".webp"}  # by a file's first two bytes


@dataclass(frozen=True)
class _Job:
    """A pair to make: ``received`` lacks its suffix, which the channel decides."""

    source: Path
    out: Path
    original: Path
    received: Path
    channel: str
    link: bool

    @property
    def name(self) -> str:
        """The original's name in the manifest."""
        return self.original.relative_to(self.out).as_posix()

    def find_received(self) -> Path | None:
        """Return the received image, unless it is older than its source."""
        for suffix in SUFFIXES.values():
            path = self.received.with_name(self.received.name + suffix)
            if path.is_file() and path.stat().st_mtime >= self.source.stat().st_mtime:
                return path
        return None

    def is_done(self, row: ManifestRow) -> bool:
        """Return whether the files are there and as the manifest says."""
        received = self.find_received()
        return (
            received is not None
            and row.received == received.relative_to(self.out).as_posix()
            and received.stat().st_size == row.received_bytes
            and is_current(self.source, self.original, self.link)
            and self.original.stat().st_size == row.original_bytes
        )


@dataclass(frozen=True)
class _Run:
    """All pairs that there are now, how many of them this run made, and what went wrong."""

    rows: list[ManifestRow]
    made: int
    problems: list[str]


def make_pairs(
    source: Path,
    out: Path,
    channel: str = "whatsapp",
    *,
    positive: str = "COVID-19",
    link: bool = False,
    processes: int | None = None,
) -> Path:
    """Send every image of a folder through a channel.

    Writes ``OUT/covid_binary_test/<class>/<file>``, ``OUT/covid_binary_test_<channel>/<class>/<stem>.<suffix>`` and the
    manifest ``OUT/covid_binary_test_<channel>.csv`` (:class:`~covidmt.pairs.manifest.ManifestRow`). Files are written
    whole or not at all, and an existing pair is not made again unless its source has changed: the same command resumes
    an interrupted run. Several channels can share OUT.

    Args:
        source: A folder of images or of class folders, see :func:`~covidmt.pairs.originals.find_originals`.
        out: Made where it does not exist. May hold ``source`` as its ``covid_binary_test``.
        channel: As in :func:`datamodules.channels.registry.get_channel`.
        positive: The class folder that has the disease, where the folders' names do not begin with ``0_`` and ``1_``.
        link: Hard-link the originals instead of copying them.
        processes: As many at a time; None: as many as there are cores.

    Returns:
        The manifest.

    Raises:
        UserError: Wrong names or folders; an image that cannot be read (after all others were made); a second run into
            the same folder at the same time.

    Example:
        >>> from contextlib import redirect_stdout
        >>> from tempfile import TemporaryDirectory, TemporaryFile
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder, redirect_stdout(TemporaryFile("w")):
        ...     films = Path(folder, "0_normal")
        ...     films.mkdir()
        ...     Image.new("L", (80, 60), 128).save(films / "film.png")
        ...     rows = read_manifest(make_pairs(films, Path(folder, "out"), processes=1))
        >>> [row.received for row in rows.values()]
        ['covid_binary_test_whatsapp/0_normal/film.jpeg']
    """
    get_channel(channel, "--channel")
    originals = find_originals(source, positive)
    folder = received_folder(channel)

    # one job a pair
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / f"{folder}.csv"
    jobs = [
        _Job(
            source=original.path,
            out=out,
            original=out / ORIGINALS / original.folder / original.path.name,
            received=out / folder / original.folder / original.path.stem,
            channel=channel,
            link=link,
        )
        for original in originals
    ]

    # all jobs, alone in this folder
    try:
        with FileLock(out / f".{folder}.lock", timeout=0):
            run = _run_jobs(jobs, manifest, processes)
    except Timeout as error:
        raise UserError(f"{out}: another run is making {folder}; wait until it has ended") from error
    if run.problems:
        raise UserError(
            f"{len(run.problems)} of {len(jobs)} images could not be sent, the others are in {out}; correct these and "
            f"run the same command again: {'; '.join(run.problems[:3])}"
        )

    _report(run, out, channel, any(original.folder == UNLABELLED for original in originals))
    return manifest


def _run_jobs(jobs: list[_Job], manifest: Path, processes: int | None) -> _Run:
    # what an earlier run made stays
    earlier = read_manifest(manifest)
    rows = {job.name: earlier[job.name] for job in jobs if job.name in earlier and job.is_done(earlier[job.name])}
    left = [job for job in jobs if job.name not in rows]
    write_manifest(manifest, list(rows.values()))

    # the others; a row is on disk as soon as its pair is, whatever ends this run
    problems = []
    made = 0
    with manifest.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for result in in_processes(_send, left, processes, f"Sending {len(left)} images") if left else ():
            if isinstance(result, str):
                problems.append(result)
                continue
            row, is_new = result
            rows[row.original] = row
            made += is_new
            writer.writerow(csv_cells(row))
            file.flush()

    # in the order of the originals, in which the pairs do not become ready
    ordered = [rows[job.name] for job in jobs if job.name in rows]
    write_manifest(manifest, ordered)
    return _Run(ordered, made, problems)


def _send(job: _Job) -> tuple[ManifestRow, bool] | str:
    """Make one pair, or find it made: its row, and whether it is new; or what is wrong with it."""
    try:
        # the files are there, and only the manifest's row was lost
        received = job.find_received()
        if received is not None and is_current(job.source, job.original, job.link) and _is_readable(received):
            return describe_pair(job.out, job.original, received), False

        grey = decode(job.source)
        try:
            content = get_channel(job.channel)(grey)
        except Exception as error:  # as of an image that is too large for the format: others are not lost
            name = printable(str(job.source))
            return f"{name}: cannot be sent through {job.channel} ({error}); make it smaller, or take it out"

        copy_or_link(job.source, job.original, job.link)
        received = job.received.with_name(job.received.name + SUFFIXES[content[:2]])
        with replace_file(received, shared=True) as new:
            new.write_bytes(content)
        return describe_pair(job.out, job.original, received), True
    except (UserError, OSError) as error:
        return str(error)


def _is_readable(path: Path) -> bool:
    try:
        decode(path)
    except UserError:
        return False
    return True


def _report(run: _Run, out: Path, channel: str, unlabelled: bool) -> None:
    n = len(run.rows)
    before = sum(row.original_bytes for row in run.rows)
    after = sum(row.received_bytes for row in run.rows)
    there = f", {n - run.made} were there" if run.made < n else ""
    console = Terminal(markup=False)
    console.print(
        f"{n} pairs in {out} ({channel}; {run.made} made{there}): mean {before / n / 1e3:,.1f} KB -> "
        f"{after / n / 1e3:,.1f} KB, {before / after:.1f} times smaller in all",
        soft_wrap=True,
        highlight=False,
    )
    if unlabelled:
        console.print(
            f"without class folders all images count as without the disease ({UNLABELLED}): good for PI and OLS, not "
            "for accuracy or flips by class",
            soft_wrap=True,
        )
