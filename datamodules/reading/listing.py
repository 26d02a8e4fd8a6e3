"""The images in a data set's folders: found by ending or content, looked up by name however it is spelt."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from experiments.errors import UserError
from experiments.names import name_key, printable

# Files with these endings are images; of all others the first bytes decide.
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2",
    ".heic", ".heif", ".avif",
)  # fmt: skip
_STARTS = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")  # of ISO media files (HEIC, AVIF)
_HEADER = 132  # bytes: up to the mark of a DICOM file


@dataclass
class FolderImages:
    """What lies directly in some folders.

    Attributes:
        images: File name -> path; of two folders with the same name the first wins.
        others: Names of what is no image: other files, hidden ones, and folders that are called like images.
    """

    images: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def find(self, name: str) -> str | None:
        """Return the path of an image by its name: as it is written, else whatever its case, blanks and composition.

        Raises:
            UserError: No file has this very name, and several have it in another spelling.
        """
        if name in self.images:
            return self.images[name]
        paths = self._by_key.get(loose_key(name), [])
        if len(paths) > 1:
            names = ", ".join(Path(path).name for path in paths)
            raise UserError(
                f"{Path(paths[0]).parent}: {printable(name)!r} could be each of {names}, which differ from it in case "
                "or blanks only; write the name as it is"
            )
        return paths[0] if paths else None

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        """Loose key -> the files of the first folder that has one."""
        by_key: dict[str, list[str]] = {}
        for name, path in self.images.items():
            paths = by_key.setdefault(loose_key(name), [])
            if not paths or Path(paths[0]).parent == Path(path).parent:
                paths.append(path)
        return by_key

    @property
    def by_stem(self) -> dict[str, str]:
        """Stem -> path.

        Raises:
            UserError: Two images have one stem.
        """
        stems: dict[str, str] = {}
        for name, path in self.images.items():
            other = stems.setdefault(Path(name).stem, path)
            if other != path:
                names = f"{printable(other)} and {printable(path)}"
                raise UserError(f"{names} have the same stem, so neither is sure to be meant; remove one")
        return stems


def scan_folders(*folders: Path) -> FolderImages:
    """Look for images directly in the folders; absent ones are skipped.

    Raises:
        UserError: An image whose name is not UTF-8: no table can hold it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("a.png", "b.DCM", "notes.txt", "._a.png"):
        ...         Path(folder, name).touch()
        ...     _ = Path(folder, "IM0001").write_bytes(bytes(128) + b"DICM")
        ...     found = scan_folders(Path(folder), Path(folder, "absent"))
        >>> sorted(found.images), sorted(found.others), found.find("A.PNG") == found.find("a.png")
        (['IM0001', 'a.png', 'b.DCM'], ['._a.png', 'notes.txt'], True)
    """
    found = FolderImages()
    for folder in folders:
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir() and not _has_image_ending(entry.name):
                    continue
                if not _is_image(entry):
                    found.others.append(entry.name)
                elif not _is_utf8(entry.name):
                    raise UserError(f"{folder}: the file name {entry.name!a} is not UTF-8; rename the file")
                else:
                    found.images.setdefault(entry.name, entry.path)
    return found


def _is_utf8(name: str) -> bool:
    """Return whether a name has none of the stand-ins that Python gives bytes which are not UTF-8."""
    return name.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in name)


def find_folder(root: Path, folder: Path) -> Path:
    """Return a folder below the root as it is spelt on the disk; as it is written where there is none.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     Path(root, "Films", "2021").mkdir(parents=True)
        ...     find_folder(Path(root), Path(root, "films", "2021")).relative_to(root).as_posix()
        'Films/2021'
    """
    if folder.is_dir():
        return folder
    place = root
    for part in folder.relative_to(root).parts:
        alike = [path for path in subfolders(place) if name_key(path.name) == name_key(part)]
        if len(alike) != 1:
            return folder
        place = alike[0]
    return place


def subfolders(folder: Path) -> list[Path]:
    """Return the folders directly in a folder, sorted, without hidden ones and what macOS leaves in archives."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith((".", "__MACOSX"))]
    return [folder / name for name in sorted(names)]


def count_others(others: Iterable[str], shown: int = 3) -> str:
    """Return how many files are no images and the names of the first few; "" for none.

    Example:
        >>> count_others(["notes.txt", "Thumbs.db"])
        '2 are no images: Thumbs.db, notes.txt'
        >>> count_others([])
        ''
    """
    names = sorted(map(printable, others))
    if not names:
        return ""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} {'is no image' if len(names) == 1 else 'are no images'}: {', '.join(names[:shown])}{more}"


def _has_image_ending(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a regular file, not hidden, with an image's ending or content."""
    if entry.name.startswith(".") or not entry.is_file():
        return False
    return _has_image_ending(entry.name) or _has_image_content(entry.path)


def _has_image_content(path: str) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:
            start = file.read(_HEADER)
    except OSError:
        return False
    return (
        start.startswith(_STARTS)
        or start[128:132] == b"DICM"
        or (start[4:8] == b"ftyp" and start[8:12] in _BRANDS)
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or (start[:2] == b"BM" and start[15:18] == b"\0\0\0")
        or _is_bare_dicom(start)
    )


def _is_bare_dicom(start: bytes) -> bool:
    """Return whether a file begins as a DICOM one without preamble: with an element of group 2 or 8."""
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return start[:2] in (b"\2\0", b"\x08\0") and start[3:4] == b"\0" and (explicit or start[6:8] == b"\0\0")


def loose_key(name: str) -> str:
    """Return what two spellings of one name have in common: case, blanks and composition aside.

    Example:
        >>> loose_key("Film 1.PNG") == loose_key("film1.png")
        True
    """
    return name_key(name.replace(" ", ""))
