"""Images decoded and resized once, for all epochs, runs and processes (``data.cache``).

A source at one size is one file of pixels, ``<source>-<size>px-<decoder>.pixels``, that only grows, and beside it
``.index``, which is replaced whole after the pixels that it names are on disk: whatever ends a process, the next one
goes on there, and readers are never disturbed. What counts is a file's content: a data set that has moved is read
again, but not decoded again.

numpy does this in a page of code. zarr and litdata are made for chunks that several arrays or machines share: they add
a decompression or a copy to each read, have no notion of a changed source, and are a dependency more.
"""

from __future__ import annotations

import functools
import logging
import mmap
import os
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from filelock import FileLock, Timeout
from rich.filesize import decimal

from datamodules.images.decode import DECODER, crop_top, decode, resize
from datamodules.images.processes import in_processes
from datamodules.sources.files import abbreviate
from experiments.errors import UserError
from experiments.files import replace_file

logger = logging.getLogger("covidmt")

SAVE_SECONDS = 10.0  # between two states that an interrupted build goes on from
_FIELDS = [
    ("bytes", "i8"),  # the file's size and time of change, by which another file in its place is noticed
    ("changed", "i8"),
    ("digest", "S64"),  # sha256 of the file
    ("row", "i8"),  # its place among the pixels, and their checksum
    ("check", "u4"),
    ("height", "i4"),  # of the image in the file
    ("width", "i4"),
]


class ImageCache:
    """The cached images of one source at one size.

    Args:
        folder: ``data.cache``; other sources, sizes, crops and decoders have files of their own in it.
        source: The source's name.
        size: Side S.
        top: Share of the images that is cut off at the top.

    Attributes:
        pixels: The file of pixels.
    """

    def __init__(self, folder: str | Path, source: str, size: int, top: float = 0.0) -> None:
        decoder = sha256(DECODER.encode()).hexdigest()[:12]
        self.size, self.top = size, top
        cropped = f"-top{top}" if top else ""
        self.pixels = Path(folder).absolute() / f"{source}-{size}px{cropped}-{decoder}.pixels"
        self.index = self.pixels.with_suffix(".index")

    def fill(self, images: Iterable[str | bytes], *, processes: int | None = None, verify: bool = False) -> int:
        """Add the images that are not there yet or have changed; several processes and jobs may call it at once.

        Args:
            images: Paths.
            processes: As many at a time; None: as many as there are cores.
            verify: Compare all checksums first, and make anew what is damaged.

        Returns:
            How many images were missing, changed or damaged.

        Raises:
            UserError: Images cannot be read (all others are added first), one changes meanwhile, the disk is full or
                the folder cannot be written.
        """
        paths = np.unique(_absolute(images))
        with self._explained():
            if not verify and not len(self._missing(self._read_index(), paths)):
                return 0  # without the lock: a cache that others may only read
            self.pixels.parent.mkdir(parents=True, exist_ok=True)
            with self._lock():
                index = self._read_index()
                if verify:
                    index = index[self._sound(index)]
                missing = self._missing(index, paths)
                self._add(index, paths[missing], processes)
        return len(missing)

    def view(self, images: Iterable[str | bytes]) -> CachedImages:
        """The images, in this order.

        Args:
            images: Paths.

        Raises:
            UserError: One is not in the cache.
        """
        paths = _absolute(images)
        index = self._read_index()
        places, known = _find(index, paths)
        if not known.all():
            names = abbreviate([os.fsdecode(path) for path in paths[~known]])
            raise UserError(f"{self.pixels}: not in this cache: {names}; run `covidmt data cache`")
        entries = index[places]
        return CachedImages(
            self.pixels,
            self.size,
            rows=entries["row"].copy(),
            checks=entries["check"].copy(),
            shapes=np.stack([entries["height"], entries["width"]], axis=1),
        )

    def _missing(self, index: np.ndarray, paths: np.ndarray) -> np.ndarray:
        """Which of the paths the index lacks, or has another state of."""
        places, known = _find(index, paths)
        entries = index[places[known]]
        stamps = np.array([_stamp(os.fsdecode(path)) or (-1, -1) for path in paths[known]], np.int64).reshape(-1, 2)
        known[known] = (stamps == np.stack([entries["bytes"], entries["changed"]], axis=1)).all(axis=1)
        return np.flatnonzero(~known)

    def _add(self, index: np.ndarray, paths: np.ndarray, processes: int | None) -> None:
        if not len(paths):
            return
        self._require_room(self._unknown(index, paths))
        # Never a row that was in use: a training may still read it by an older index.
        first = -(-self.pixels.stat().st_size // _stride(self.size)) if self.pixels.exists() else 0
        problems: list[str] = []
        with self.pixels.open("ab") as file:  # open all the time: an error of any process's writing comes to its fsync
            self._save(file.fileno(), index, [])
            known = self.index.stat().st_mtime_ns
            jobs = [
                _Job(os.fsdecode(path), first + i, self.pixels, self.size, self.top, known)
                for i, path in enumerate(paths)
            ]
            done: list[tuple] = []
            saved = time.monotonic()
            try:
                for result in in_processes(_decode_into, jobs, processes, f"Decoding {len(jobs)} images"):
                    if isinstance(result, str):
                        problems.append(result)
                        continue
                    done.append(result)
                    if time.monotonic() - saved > SAVE_SECONDS:
                        index, done = self._save(file.fileno(), index, done), []
                        saved = time.monotonic()
            finally:
                self._save(file.fileno(), index, done)
        if problems:
            more = f"\n... and {len(problems) - 10} more; `covidmt data check` lists them" if len(problems) > 10 else ""
            raise UserError("\n".join(sorted(problems)[:10]) + more)

    def _save(self, pixels: int, index: np.ndarray, done: list[tuple]) -> np.ndarray:
        """Replace the index by one with the new entries."""
        if done:
            new = np.array(done, _dtype(max(len(entry[0]) for entry in done)))
            index = np.concatenate([new, index])
            index = index[np.unique(index["path"], return_index=True)[1]]  # of two of a path the first, which is new
        os.fsync(pixels)
        with replace_file(self.index, sync=True) as new, new.open("wb") as file:
            np.save(file, index, allow_pickle=False)
        return index

    def _read_index(self) -> np.ndarray:
        try:
            index = np.load(self.index, allow_pickle=False)
            if index.dtype.names != _dtype(1).names:
                raise ValueError("other fields")
            length = self.pixels.stat().st_size
        except FileNotFoundError:
            return np.empty(0, _dtype(1))
        except (ValueError, EOFError) as error:
            raise UserError(f"{self.index}: is not a cache's index ({error}); delete it and its .pixels") from error
        if len(index) and length < (int(index["row"].max()) + 1) * _stride(self.size):
            raise UserError(f"{self.pixels}: is cut short; delete it and its .index, then run `covidmt data cache`")
        return index

    def _sound(self, index: np.ndarray) -> np.ndarray:
        """Which entries' pixels have their checksum."""
        found = CachedImages(self.pixels, self.size, index["row"], index["check"], np.empty((len(index), 2)))
        return np.array([crc32(found.read(i).data) == index["check"][i] for i in range(len(index))], bool)

    def _unknown(self, index: np.ndarray, paths: np.ndarray) -> int:
        """How many of the paths hold other content than any that is cached, by their sizes: others may have moved."""
        stamps = [_stamp(os.fsdecode(path)) for path in paths]
        return int(np.isin([stamp[0] for stamp in stamps if stamp], index["bytes"], invert=True).sum())

    def _require_room(self, images: int) -> None:
        state = os.statvfs(self.pixels.parent)
        needed, free = images * _stride(self.size), state.f_bavail * state.f_frsize
        if needed > free:
            raise UserError(
                f"data.cache: {images} images of {self.size} px take {decimal(needed)}, but {self.pixels.parent} "
                f"has {decimal(free)} left; make room, name another folder, or set data.cache=null"
            )

    @contextmanager
    def _lock(self) -> Generator[None]:
        lock = FileLock(self.pixels.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning(f"{self.pixels} is being filled by another process: waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"data.cache: {error.filename or self.pixels}: cannot be used ({error.strerror}): make room or set "
                "the folder's rights, and give the same command again; it goes on from there"
            ) from error


class CachedImages:
    """Images of a source in the order that was asked for, few bytes in every worker: the pixels are mapped.

    Args:
        path: The file of pixels.
        size: Side S.
        rows: (n,) int64, the images' places in it.
        checks: (n,) uint32, their checksums.
        shapes: (n, 2) int32, height and width of the images as they were before the resize.
    """

    def __init__(self, path: Path, size: int, rows: np.ndarray, checks: np.ndarray, shapes: np.ndarray) -> None:
        self.path, self.size = path, size
        self.rows, self.checks, self.shapes = rows, checks, shapes
        self._map: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        """(S, S) uint8, the same bits as decoded and resized from the file.

        Raises:
            UserError: Other pixels than were written.
        """
        pixels = self.read(index)
        if crc32(pixels.data) != self.checks[index]:
            raise UserError(f"{self.path}: image {index} is damaged; repair it with `covidmt data cache --verify`")
        return pixels

    def read(self, index: int) -> np.ndarray:
        """As ``[index]``, unchecked."""
        if self._map is None:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        stride = _stride(self.size)
        start = int(self.rows[index]) * stride
        pixels = np.frombuffer(self._map, np.uint8, self.size**2, start).reshape(self.size, self.size).copy()
        # The pages stay in the system's cache, but a worker does not come to count the whole file as its memory.
        self._map.madvise(mmap.MADV_DONTNEED, start, stride)
        return pixels

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_map": None}


class _Job(NamedTuple):
    image: str
    row: int
    pixels: Path
    size: int
    top: float
    known: int  # the state of the index when the build began


def _decode_into(job: _Job) -> tuple | str:
    """An image's pixels into its row; its entry of the index, or why it cannot be read."""
    stamp = _stamp(job.image)
    try:
        data = Path(job.image).read_bytes()
    except OSError as error:
        return f"{job.image}: cannot be read ({error.strerror})"
    digest = sha256(data).hexdigest().encode()
    if digest in (known := _known(job.pixels.with_suffix(".index"), job.known)):
        row, check, height, width = known[digest]
    else:
        try:
            image = decode(data, job.image)
        except UserError as error:
            return str(error)
        row, (height, width) = job.row, image.shape
        pixels = resize(crop_top(image, job.top), job.size)
        check = crc32(pixels.data)
        with job.pixels.open("r+b") as file:
            file.seek(row * _stride(job.size))
            file.write(pixels.tobytes().ljust(_stride(job.size), b"\0"))
    if stamp is None or _stamp(job.image) != stamp:
        raise UserError(f"{job.image}: changed while it was read; wait until the data set is whole, then start again")
    return (os.fsencode(job.image), *stamp, digest, row, check, height, width)


@functools.lru_cache(maxsize=1)
def _known(index: Path, state: int) -> dict[bytes, tuple[int, int, int, int]]:
    """What each content gave when the build began (now, if that is later): row, checksum, height, width."""
    entries = np.load(index, allow_pickle=False)
    return dict(zip(entries["digest"].tolist(), entries[["row", "check", "height", "width"]].tolist(), strict=True))


def _absolute(images: Iterable[str | bytes]) -> np.ndarray:
    """(n,) bytes."""
    paths = [os.fsencode(path) for path in images]
    return np.array([path if path.startswith(b"/") else os.path.abspath(path) for path in paths], np.bytes_)


def _find(index: np.ndarray, paths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paths' places in the index, and which of them are there."""
    if not len(index):
        return np.zeros(len(paths), np.int64), np.zeros(len(paths), bool)
    places = np.minimum(np.searchsorted(index["path"], paths), len(index) - 1)
    return places, index["path"][places] == paths


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _stride(size: int) -> int:
    """Bytes from one image to the next: whole pages."""
    return -(-(size**2) // mmap.PAGESIZE) * mmap.PAGESIZE


def _dtype(length: int) -> np.dtype:
    return np.dtype([("path", f"S{length}"), *_FIELDS])
