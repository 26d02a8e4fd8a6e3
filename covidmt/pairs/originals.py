"""The images to send: found in class folders, and copied or hard-linked into WaCXR's layout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from datamodules.sources.files import abbreviate, list_images
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.names import printable
from experiments.source_schema import WacxrSource

ORIGINALS = WacxrSource.originals  # covid_binary_test; the received images lie in covid_binary_test_<channel>
UNLABELLED = "0_unlabelled"


@dataclass(frozen=True)
class Original:
    """An image to send, and the class folder that it goes to."""

    path: Path
    folder: str


def received_folder(channel: str) -> str:
    """Return the name of the folder with a channel's images.

    Example:
        >>> received_folder("resize:1600 + jpeg:70")
        'covid_binary_test_resize-1600+jpeg-70'
    """
    return f"{ORIGINALS}_{channel.replace(' ', '').replace(':', '-').replace('/', '-')}"


def find_originals(source: Path, positive: str) -> list[Original]:
    """Find the images in the class folders of ``source``, sorted; or those directly in it.

    Class folders that begin with ``0_`` or ``1_`` keep their names; others become ``1_<name>`` where the name is
    ``positive`` (in any case), else ``0_<name>``. Without class folders the class is the folder's own name if it begins
    so, else ``0_unlabelled``.

    Args:
        source: A folder of class folders with images, or of images.
        positive: The class folder that has the disease, where the names lack ``0_`` and ``1_``.

    Raises:
        UserError: No images, images beside class folders, two images of a class with one stem, or no positive class.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("normal/film 1.png", "covid-19/film 2.png"):
        ...         path = Path(folder, name)
        ...         path.parent.mkdir()
        ...         path.touch()
        ...     [original.folder for original in find_originals(Path(folder), "COVID-19")]
        ['1_covid-19', '0_normal']
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such folder")

    originals: dict[tuple[str, str], Original] = {}
    for folder, files in _class_folders(source, positive):
        for file, path in sorted(files.items()):
            original = Original(Path(path), folder)
            other = originals.setdefault((folder, Path(file).stem), original)
            if other is not original:
                names = " and ".join(printable(str(name)) for name in (other.path, path))
                raise UserError(f"{names} have the same stem, so a pair is not unique; rename one")
    return list(originals.values())


def _class_folders(source: Path, positive: str) -> list[tuple[str, dict[str, str]]]:
    """Return each class folder as in WaCXR's layout, and file name -> path; `normal` and `0_normal` are one class."""
    images = list_images(source)
    subfolders = [path for path in sorted(source.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    classes = {path.name: list_images(path) for path in subfolders}
    classes = {name: files for name, files in classes.items() if files}

    # images directly in the folder: one class
    if images and classes:
        raise UserError(
            f"{source}: holds images ({abbreviate(list(images), 1)}) beside class folders ({abbreviate(list(classes))})"
        )
    if images:
        name = source.resolve().name
        return [(name if _has_prefix(name) else UNLABELLED, images)]
    if not classes:
        raise UserError(f"{source}: no images; expected <class>/* or images directly in it")

    # class folders: those without 0_ or 1_ get it, and one must have the disease
    is_positive = {name: name.casefold() == positive.casefold() for name in classes}
    if not all(map(_has_prefix, classes)) and not any(is_positive[name] or name.startswith("1_") for name in classes):
        raise UserError(
            f"{source}: no class folder is called {positive}; name the one that has the disease with --positive, or "
            f"begin the names with 0_ and 1_; found: {abbreviate(list(classes), 5)}"
        )
    return [
        (name if _has_prefix(name) else f"{int(is_positive[name])}_{name}", files) for name, files in classes.items()
    ]


def _has_prefix(name: str) -> bool:
    return name.startswith(("0_", "1_"))


def copy_or_link(source: Path, target: Path, link: bool) -> None:
    """Copy (with its times) or hard-link a file, whole or not at all; nothing where it is there already.

    Raises:
        UserError: The file cannot be hard-linked, as between two file systems.
    """
    if is_current(source, target, link):
        return

    with replace_file(target, shared=True) as new:
        if link:
            try:
                os.link(source, new)
            except OSError as error:
                raise UserError(f"{source}: cannot be hard-linked to {target} ({error}); leave out --link") from error
        else:
            stat = source.stat()
            new.write_bytes(source.read_bytes())
            os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def is_current(source: Path, target: Path, link: bool) -> bool:
    """Return whether the target is the source, or (if not to be linked) a copy of its size and time."""
    if not target.is_file():
        return False
    if link or target.samefile(source):
        return target.samefile(source)
    old, new = source.stat(), target.stat()
    return (old.st_size, int(old.st_mtime)) == (new.st_size, int(new.st_mtime))
