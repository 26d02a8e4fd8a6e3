"""Images decoded and resized once, for all epochs, runs and processes (``data.cache``).

A source at one size is one file of pixels, ``<source>-<size>px-<decoder>.pixels``, that only grows, and beside it
``.index``, which is replaced whole after the pixels that it names are on disk: whatever ends a process, the next one
resumes there, and readers are never disturbed. What removed and replaced images took becomes holes in the file
(`datamodules.images.compaction`), while nobody reads it. What counts is a file's content: a data set that has moved is
read again, but not decoded again.

numpy does this in a page of code. zarr and litdata are made for chunks that several arrays or machines share: they add
a decompression or a copy to each read, have no notion of a changed source, and are a dependency more.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
from filelock import FileLock, Timeout
from rich.filesize import decimal

from datamodules.formats.files import read_regular
from datamodules.formats.limits import most_bytes
from datamodules.images.cache_index import CacheIndex, Entry, absolute_paths, read_stamp
from datamodules.images.cached import CachedImages, stride
from datamodules.images.compaction import Hold, drop_removed, give_back, is_in_use
from datamodules.images.decode import DECODER, crop_top, decode, resize
from datamodules.images.processes import in_processes
from datamodules.sources.files import abbreviate
from experiments.errors import UserError
from experiments.schema import MAX_MEGAPIXELS

logger = logging.getLogger("covidmt")

_NAME = re.compile(r"(?P<source>.+)-(?P<size>\d+)px(-top(?P<top>[\d.]+))?-[0-9a-f]{12}")  # of a file of pixels
SAVE_SECONDS = 10.0  # between two states that an interrupted build resumes from


class ImageCache:
    """The cached images of one source at one size.

    Args:
        folder: ``data.cache``; other sources, sizes, crops and decoders have files of their own in it.
        source: The source's name.
        size: Side S of the cached images, in pixels.
        top: Share of the images that is cut off at the top, 0 to below 1.
        megapixels: At most so many million pixels a file may have.

    Attributes:
        pixels: The file of pixels.
        index: The file that says which image lies where.

    Example:
        >>> from contextlib import redirect_stdout
        >>> from tempfile import TemporaryDirectory, TemporaryFile
        >>> from PIL import Image
        >>> with TemporaryDirectory() as folder, redirect_stdout(TemporaryFile("w")):
        ...     film = Path(folder, "film.png")
        ...     Image.new("L", (30, 20), 77).save(film)
        ...     cache = ImageCache(Path(folder, "cache"), "chests", size=4)
        ...     decoded = cache.fill([str(film)]), cache.fill([str(film)])
        ...     pixels = cache.view([str(film)])[0]
        >>> decoded, pixels.tolist()[0]
        ((1, 0), [77, 77, 77, 77])
    """

    def __init__(
        self, folder: str | Path, source: str, size: int, top: float = 0.0, megapixels: float = MAX_MEGAPIXELS
    ) -> None:
        decoder = sha256(DECODER.encode()).hexdigest()[:12]
        self.size, self.top, self.megapixels = size, top, megapixels
        cropped = f"-top{top}" if top else ""
        self.pixels = Path(folder).absolute() / f"{source}-{size}px{cropped}-{decoder}.pixels"
        self.index = self.pixels.with_suffix(".index")

    def fill(self, images: Iterable[str | bytes], *, processes: int | None = None, verify: bool = False) -> int:
        """Add the images that are not there yet or have changed; several processes and jobs may call it at once.

        Args:
            images: Paths.
            processes: How many decode at a time; None: as many as there are cores.
            verify: Compare all checksums first, and decode anew what is damaged.

        Returns:
            How many images were missing, changed or damaged.

        Raises:
            UserError: Images cannot be read (all others are added first), one changes meanwhile, the disk is full or
                the folder cannot be written.
        """
        paths = np.unique(absolute_paths(images))
        with self._explained():
            # without the lock: a cache that others may only read
            if not verify and not len(self._read_index().missing(paths)):
                return 0

            self.pixels.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                index = self._read_index()
                if verify:
                    index = self._without_damaged(index)
                missing = index.missing(paths)
                self._add(index, paths[missing], processes)
        return len(missing)

    def compact(self) -> int:
        """Give the room of removed and replaced images back to the disk, unless another process reads the cache.

        Returns:
            Bytes.

        Raises:
            UserError: The folder cannot be written.
        """
        if not self.pixels.exists():
            return 0
        with self._explained(), self._locked():
            index = drop_removed(self._read_index())
            index.write(self.index)
            return give_back(self.pixels, stride(self.size), index.entries["row"])

    @classmethod
    def all_in(cls, folder: Path) -> list[ImageCache]:
        """Return the caches in a folder that this version of the decoder has filled."""
        caches = []
        for path in sorted(folder.glob("*.pixels")):
            name = _NAME.fullmatch(path.stem)
            if name:
                cache = cls(folder, name["source"], int(name["size"]), float(name["top"] or 0))
                caches += [cache] if cache.pixels == path.absolute() else []
        return caches

    def spare(self) -> int:
        """Return the bytes that :meth:`compact` would give back now; 0 where another process reads the cache.

        Raises:
            UserError: The cache cannot be read.
        """
        if not self.pixels.exists() or is_in_use(self.pixels):
            return 0
        with self._explained():
            rows = len(drop_removed(self._read_index()).entries)
            return max(0, 512 * self.pixels.stat().st_blocks - rows * stride(self.size))

    def view(self, images: Iterable[str | bytes]) -> CachedImages:
        """Return the images, in this order.

        Args:
            images: Paths.

        Raises:
            UserError: One is not in the cache.
        """
        paths = absolute_paths(images)
        held = Hold(self.pixels)  # first: the rows that the index names are not given back from here on
        index = self._read_index()
        places, known = index.find(paths)
        if not known.all():
            names = abbreviate([os.fsdecode(path) for path in paths[~known]])
            raise UserError(f"{self.pixels}: not in this cache: {names}; run `covidmt data cache`")
        return self._images(index.entries[places], held)

    def _images(self, entries: np.ndarray, held: Hold | None = None) -> CachedImages:
        shapes = np.stack([entries["height"], entries["width"]], axis=1)
        return CachedImages(self.pixels, self.size, entries["row"].copy(), entries["check"].copy(), shapes, held)

    def _add(self, index: CacheIndex, paths: np.ndarray, processes: int | None) -> None:
        if not len(paths):
            return
        self._require_room(_count_new(index, paths))

        problems: list[str] = []
        with self.pixels.open("ab") as file:  # open all the time: an error of any process's writing comes to its fsync
            self._save(file.fileno(), index)
            jobs = self._jobs(paths)
            done: list[Entry] = []
            saved = time.monotonic()
            try:
                for result in in_processes(_decode_into, jobs, processes, f"Decoding {len(jobs)} images"):
                    if isinstance(result, str):
                        problems.append(result)
                        continue
                    done.append(result)

                    # a state that another build could resume from
                    if time.monotonic() - saved > SAVE_SECONDS:
                        index, done = index.updated(done), []
                        self._save(file.fileno(), index)
                        saved = time.monotonic()
            finally:
                self._save(file.fileno(), index.updated(done))
        _refuse(problems)

    def _jobs(self, paths: np.ndarray) -> list[_Job]:
        # Never a row that was in use: a training may still read it by an older index.
        first = -(-self.pixels.stat().st_size // stride(self.size))
        begun = self.index.stat().st_mtime_ns
        return [
            _Job(os.fsdecode(path), first + i, self.pixels, self.size, self.top, self.megapixels, begun)
            for i, path in enumerate(paths)
        ]

    def _save(self, pixels: int, index: CacheIndex) -> None:
        os.fsync(pixels)
        index.write(self.index)

    def _read_index(self) -> CacheIndex:
        if not self.pixels.exists():
            return CacheIndex()
        index = CacheIndex.read(self.index)
        if self.pixels.stat().st_size < index.rows * stride(self.size):
            raise UserError(f"{self.pixels}: is cut short; delete it and its .index, then run `covidmt data cache`")
        return index

    def _without_damaged(self, index: CacheIndex) -> CacheIndex:
        images = self._images(index.entries)
        sound = np.array([images.is_sound(i) for i in range(len(images))], bool)
        return CacheIndex(index.entries[sound])

    def _require_room(self, images: int) -> None:
        state = os.statvfs(self.pixels.parent)
        needed, free = images * stride(self.size), state.f_bavail * state.f_frsize
        if needed > free:
            raise UserError(
                f"data.cache: {images} images of {self.size} px take {decimal(needed)}, but {self.pixels.parent} "
                f"has {decimal(free)} left; make room, name another folder, or set data.cache=null"
            )

    @contextmanager
    def _locked(self) -> Generator[None]:
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
                "the folder's rights, and give the same command again; it resumes from there"
            ) from error


class _Job(NamedTuple):
    """An image to decode: its file, its row in the file of pixels, limits, and the state of the index when it began."""

    image: str
    row: int
    pixels: Path
    size: int
    top: float
    megapixels: float
    begun: int


def _decode_into(job: _Job) -> Entry | str:
    """Write an image's pixels into its row; return its entry of the index, or why the image cannot be read."""
    stamp = read_stamp(job.image)
    try:
        data = read_regular(job.image, most_bytes(job.megapixels))
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{job.image}: cannot be read ({error.strerror})"

    digest = sha256(data).hexdigest().encode()
    pixels = _pixels_by_content(job.pixels.with_suffix(".index"), job.begun).get(digest)
    if pixels is None:
        try:
            image = decode(data, job.image, job.megapixels)
        except UserError as error:
            return str(error)
        pixels = _write_pixels(job, image)

    if stamp is None or read_stamp(job.image) != stamp:
        raise UserError(f"{job.image}: changed while it was read; wait until the data set is whole, then start again")
    return Entry(os.fsencode(job.image), *stamp, digest, *pixels)


class _Pixels(NamedTuple):
    row: int
    check: int
    height: int
    width: int


def _write_pixels(job: _Job, image: np.ndarray) -> _Pixels:
    pixels = resize(crop_top(image, job.top), job.size)
    with job.pixels.open("r+b") as file:
        file.seek(job.row * stride(job.size))
        file.write(pixels.tobytes().ljust(stride(job.size), b"\0"))
    return _Pixels(job.row, crc32(pixels.data), *image.shape)


@functools.lru_cache(maxsize=1)
def _pixels_by_content(index: Path, begun: int) -> dict[bytes, _Pixels]:
    """What each content gave when the build began (now, if that is later)."""
    entries = np.load(index, allow_pickle=False)
    pixels = map(_Pixels._make, entries[list(_Pixels._fields)].tolist())
    return dict(zip(entries["digest"].tolist(), pixels, strict=True))


def _count_new(index: CacheIndex, paths: np.ndarray) -> int:
    """How many of the paths hold other content than any that is cached, by their sizes: others may have moved."""
    stamps = [read_stamp(os.fsdecode(path)) for path in paths]
    return int(np.isin([stamp.bytes for stamp in stamps if stamp], index.entries["bytes"], invert=True).sum())


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        more = f"\n... and {len(problems) - 10} more; `covidmt data check` lists them" if len(problems) > 10 else ""
        raise UserError("\n".join(sorted(problems)[:10]) + more)
