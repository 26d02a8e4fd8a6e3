"""Images of a cache, read: the file of pixels is mapped, and every image has a checksum."""

from __future__ import annotations

import mmap
from pathlib import Path
from zlib import crc32

import numpy as np

from datamodules.images.compaction import Hold
from experiments.errors import UserError


class CachedImages:
    """Images of a source in the order that was asked for, few bytes in every worker: the pixels are mapped.

    Args:
        path: The file of pixels.
        size: Side S.
        rows: (n,) int64, the images' places in it.
        checks: (n,) uint32, their checksums.
        shapes: (n, 2) int32, height and width of the images as they were before the resize.
        held: Keeps the images' places from being given back; a copy in a process that did not inherit it has none.

    Example:
        >>> import tempfile
        >>> film = np.arange(4, dtype=np.uint8).reshape(2, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "films.pixels")
        ...     _ = path.write_bytes(film.tobytes().ljust(stride(2)))
        ...     images = CachedImages(path, 2, np.array([0]), np.array([crc32(film.data)]), np.array([[2, 2]]))
        ...     images[0].tolist()
        [[0, 1], [2, 3]]
    """

    def __init__(
        self,
        path: Path,
        size: int,
        rows: np.ndarray,
        checks: np.ndarray,
        shapes: np.ndarray,
        held: Hold | None = None,
    ) -> None:
        self.path, self.size, self._held = path, size, held
        self.rows, self.checks, self.shapes = rows, checks, shapes
        self._map: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return an image, (S, S) uint8: the same bits as decoded and resized from the file.

        Raises:
            UserError: The pixels are not those that were written.
        """
        pixels = self._read(index)
        if crc32(pixels.data) != self.checks[index]:
            raise UserError(f"{self.path}: image {index} is damaged; repair it with `covidmt data cache --verify`")
        return pixels

    def is_sound(self, index: int) -> bool:
        """Return whether an image's pixels are those that were written."""
        return crc32(self._read(index).data) == self.checks[index]

    def _read(self, index: int) -> np.ndarray:
        if self._map is None:
            with self.path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

        length = stride(self.size)
        start = int(self.rows[index]) * length
        pixels = np.frombuffer(self._map, np.uint8, self.size**2, start).reshape(self.size, self.size).copy()
        # The pages stay in the system's cache, but a worker does not come to count the whole file as its memory.
        self._map.madvise(mmap.MADV_DONTNEED, start, length)
        return pixels

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_map": None, "_held": None}


def stride(size: int) -> int:
    """Return the bytes from one image of side ``size`` to the next: whole pages."""
    return -(-(size**2) // mmap.PAGESIZE) * mmap.PAGESIZE
