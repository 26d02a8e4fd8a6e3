"""``covidmt pairs make``: sends a folder of X-rays through a simulated channel, into WaCXR's layout."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image
from rich.console import Console

from datamodules.channels.messaging import get_channel
from datamodules.images.decode import decode
from datamodules.images.processes import in_processes
from datamodules.sources.files import list_images, sample
from experiments.errors import UserError
from experiments.schema import WacxrSource
from metrics.paired import SIDES

ORIGINALS = WacxrSource.originals  # covid_binary_test; the received images lie in covid_binary_test_<channel>
UNLABELLED = "0_unlabelled"
SUFFIXES = {b"\xff\xd8": ".jpeg", b"\x89P": ".png", b"RI": ".webp"}  # by a file's first two bytes


@dataclass(frozen=True)
class Original:
    """An image to send, and the class folder that it goes to."""

    path: Path
    folder: str


@dataclass(frozen=True)
class Pair:
    """A line of the manifest. Files are below OUT; ``compression`` is original bytes over received bytes."""

    original: str
    received: str
    original_bytes: int
    received_bytes: int
    compression: float
    original_width: int
    original_height: int
    received_width: int
    received_height: int
    original_sha256: str
    received_sha256: str


COLUMNS = [column.name for column in fields(Pair)]


@dataclass(frozen=True)
class _Job:
    source: Path
    out: Path
    original: str
    received: str  # without suffix: the channel decides
    channel: str
    link: bool


def received_folder(channel: str) -> str:
    """The folder of a channel's images: ``covid_binary_test_whatsapp``, ``covid_binary_test_resize-1600+jpeg-70``."""
    return f"{ORIGINALS}_{channel.replace(' ', '').replace(':', '-')}"


def make(
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
    manifest ``OUT/covid_binary_test_<channel>.csv`` (:class:`Pair`). Files are written whole or not at all, and a pair
    that is there is not made again unless its source has changed; an interrupted run is gone on with by the same
    command. Several channels can share OUT.

    Args:
        source: A folder of images or of class folders, see :func:`find_originals`.
        out: Made where it does not exist. May hold ``source`` as its ``covid_binary_test``.
        channel: As in :func:`datamodules.channels.messaging.get_channel`.
        positive: The class folder that is COVID-19, where the folders' names do not begin with ``0_`` and ``1_``.
        link: Hard-link the originals instead of copying them.
        processes: As many at a time; None: as many as there are cores.

    Returns:
        The manifest.

    Raises:
        UserError: Wrong names or folders; an image that cannot be read (after all others were made); a second run into
            the same folder at the same time.
    """
    get_channel(channel, "--channel")
    originals = find_originals(source, positive)
    folder = received_folder(channel)
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / f"{folder}.csv"
    jobs = [
        _Job(
            item.path,
            out,
            f"{ORIGINALS}/{item.folder}/{item.path.name}",
            f"{folder}/{item.folder}/{item.path.stem}",
            channel,
            link,
        )
        for item in originals
    ]
    try:
        with FileLock(out / f".{folder}.lock", timeout=0):
            pairs, made, problems = _run(jobs, manifest, processes)
    except Timeout as error:
        raise UserError(f"{out}: another run is making {folder}; wait until it has ended") from error
    if problems:
        raise UserError(
            f"{len(problems)} of {len(jobs)} images could not be sent, the others are in {out}; put these right and "
            f"run the same command again: {'; '.join(problems[:3])}"
        )
    _report(pairs, made, out, channel, any(item.folder == UNLABELLED for item in originals))
    return manifest


def find_originals(source: Path, positive: str) -> list[Original]:
    """Images of the class folders of ``source``, sorted; or those directly in it.

    Class folders that begin with ``0_`` or ``1_`` keep their names; others become ``1_<name>`` where the name is
    ``positive`` (in any case), else ``0_<name>``. Without class folders the class is the folder's own name if it begins
    so, else ``0_unlabelled``.

    Raises:
        UserError: No images, images beside class folders, two images of a class with one stem, or no positive class.
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such folder")
    flat = list_images(source)
    folders = {
        path.name: files
        for path in sorted(source.iterdir())
        if path.is_dir() and not path.name.startswith(".") and (files := list_images(path))
    }
    if flat and folders:
        raise UserError(
            f"{source}: holds images ({sample(list(flat), 1)}) beside class folders ({sample(list(folders))})"
        )
    if flat:
        folders = {source.resolve().name if _has_prefix(source.resolve().name) else UNLABELLED: flat}
    if not folders:
        raise UserError(f"{source}: no images; expected <class>/* or images directly in it")
    plain = any(not _has_prefix(name) for name in folders)
    if plain and not any(name.casefold() == positive.casefold() or name.startswith("1_") for name in folders):
        raise UserError(
            f"{source}: no class folder is called {positive}; name the one that is COVID-19 with --positive, or begin "
            f"the names with 0_ and 1_; found: {sample(list(folders), 5)}"
        )
    originals: dict[tuple[str, str], Original] = {}
    for name, files in folders.items():
        folder = name if _has_prefix(name) else f"{int(name.casefold() == positive.casefold())}_{name}"
        for file, path in sorted(files.items()):
            item = Original(Path(path), folder)
            if (other := originals.setdefault((folder, Path(file).stem), item)) is not item:
                raise UserError(f"{other.path} and {path} have the same stem, so a pair is not unique; rename one")
    return list(originals.values())


def _has_prefix(name: str) -> bool:
    return name.startswith(("0_", "1_"))


def place(source: Path, target: Path, link: bool) -> None:
    """Copy (with its times) or hard-link a file, whole or not at all; nothing where it is there already."""
    if is_current(source, target, link):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    if link:
        try:
            os.link(source, new)
        except OSError as error:
            raise UserError(f"{source}: cannot be hard-linked to {target} ({error}); leave out --link") from error
    else:
        stat = source.stat()
        try:
            new.write_bytes(source.read_bytes())
        except OSError:
            new.unlink(missing_ok=True)  # half of it is there
            raise
        os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    new.replace(target)


def is_current(source: Path, target: Path, link: bool) -> bool:
    """Whether the target is the source, or (if not to be linked) a copy of its size and time."""
    if not target.is_file():
        return False
    if link or target.samefile(source):
        return target.samefile(source)
    old, new = source.stat(), target.stat()
    return (old.st_size, int(old.st_mtime)) == (new.st_size, int(new.st_mtime))


def _run(jobs: list[_Job], manifest: Path, processes: int | None) -> tuple[list[Pair], int, list[str]]:
    """All pairs, how many of them were made now, and what went wrong."""
    known = _read_manifest(manifest)
    pairs = {job.original: known[job.original] for job in jobs if _is_done(job, known.get(job.original))}
    left = [job for job in jobs if job.original not in pairs]
    problems = []
    made = 0
    _write_manifest(manifest, list(pairs.values()))
    with manifest.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for result in in_processes(_send, left, processes, f"Sending {len(left)} images") if left else ():
            if isinstance(result, str):
                problems.append(result)
                continue
            pair, new = result
            pairs[pair.original] = pair
            made += new
            writer.writerow(astuple(pair))
            file.flush()  # what is finished stays known, whatever ends this run
    ordered = [pairs[job.original] for job in jobs if job.original in pairs]
    _write_manifest(manifest, ordered)
    return ordered, made, problems


def _send(job: _Job) -> tuple[Pair, bool] | str:
    """Make one pair (or find it made): its line, and whether it is new; or what is wrong with it."""
    try:
        original = job.out / job.original
        received = _found(job)
        if received is not None and is_current(job.source, original, job.link) and _is_whole(received):
            return describe(job.out, original, received), False  # a line of the manifest was lost
        grey = decode(job.source)
        try:
            content = get_channel(job.channel)(grey)
        except Exception as error:  # as of an image that is too large for the format: others are not lost
            return f"{job.source}: cannot be sent through {job.channel} ({error}); make it smaller, or take it out"
        stem = job.out / job.received
        received = stem.with_name(stem.name + SUFFIXES[content[:2]])
        place(job.source, original, job.link)
        received.parent.mkdir(parents=True, exist_ok=True)
        part = received.with_name(f".{received.name}.{os.getpid()}")
        part.write_bytes(content)
        part.replace(received)
        return describe(job.out, original, received), True
    except (UserError, OSError) as error:
        return str(error)


def describe(out: Path, original: Path, received: Path) -> Pair:
    """The manifest's line of two files."""
    sent, got = original.read_bytes(), received.read_bytes()
    sent_size, got_size = _image_size(original), _image_size(received)
    return Pair(
        original=original.relative_to(out).as_posix(),
        received=received.relative_to(out).as_posix(),
        original_bytes=len(sent),
        received_bytes=len(got),
        compression=round(len(sent) / len(got), 3),
        original_width=sent_size[0],
        original_height=sent_size[1],
        received_width=got_size[0],
        received_height=got_size[1],
        original_sha256=sha256(sent).hexdigest(),
        received_sha256=sha256(got).hexdigest(),
    )


def _is_whole(path: Path) -> bool:
    try:
        decode(path)
    except UserError:
        return False
    return True


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:  # the header alone
            return picture.size
    except OSError:  # DICOM
        height, width = decode(path).shape
        return width, height


def _found(job: _Job) -> Path | None:
    """The received image, unless it is older than its source."""
    stem = job.out / job.received
    for suffix in SUFFIXES.values():
        path = stem.with_name(stem.name + suffix)
        if path.is_file() and path.stat().st_mtime >= job.source.stat().st_mtime:
            return path
    return None


def _is_done(job: _Job, pair: Pair | None) -> bool:
    original, received = job.out / job.original, _found(job)
    return (
        pair is not None
        and received is not None
        and pair.received == received.relative_to(job.out).as_posix()
        and received.stat().st_size == pair.received_bytes
        and is_current(job.source, original, job.link)
        and original.stat().st_size == pair.original_bytes
    )


def _read_manifest(path: Path) -> dict[str, Pair]:
    """The lines that are whole, by original."""
    if not path.is_file():
        return {}
    pairs = {}
    readers: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float}
    kinds = [readers[str(column.type)] for column in fields(Pair)]
    for line in path.read_bytes().decode("utf-8", "replace").replace("\0", "").splitlines()[1:]:
        try:
            cells = next(csv.reader([line], strict=True))
            pair = Pair(*(kind(cell) for kind, cell in zip(kinds, cells, strict=True)))
        except (ValueError, StopIteration, csv.Error):
            continue
        if len(pair.original_sha256) == len(pair.received_sha256) == 64:
            pairs[pair.original] = pair
    return pairs


def _write_manifest(path: Path, pairs: Sequence[Pair]) -> None:
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *map(astuple, pairs)])
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({error.strerror}); make room, then start again") from error


def _report(pairs: list[Pair], made: int, out: Path, channel: str, unlabelled: bool) -> None:
    before, after = (sum(getattr(pair, f"{side}_bytes") for pair in pairs) for side in SIDES)
    there = f", {len(pairs) - made} were there" if made < len(pairs) else ""
    console = Console(markup=False)
    console.print(
        f"{len(pairs)} pairs in {out} ({channel}; {made} made{there}): mean {before / len(pairs) / 1e3:,.1f} KB -> "
        f"{after / len(pairs) / 1e3:,.1f} KB, {before / after:.1f} times smaller in all",
        soft_wrap=True,
        highlight=False,
    )
    if unlabelled:
        console.print(
            f"without class folders all images count as not COVID-19 ({UNLABELLED}): good for PI and OLS, not for "
            "accuracy or flips by class",
            soft_wrap=True,
        )
