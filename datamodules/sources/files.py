"""Finding a data set's files: one list by its pattern, thousands of images by one pass over their folders."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from experiments.errors import UserError
from experiments.source_schema import Source

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".webp")

NOT_LABELS = {"file", "image", "patient", "split", "source", "origin", "boxes", "received", "published"}


def check_labels(labels: Iterable[str], where: object) -> None:
    """Refuse labels that have the name of another column of the sample table.

    Raises:
        UserError: Naming the first one.
    """
    taken = sorted(NOT_LABELS.intersection(labels))
    if taken:
        raise UserError(f"{where}: no label can be called {taken[0]!r}, a column of every table; give it another name")


def source_root(source: Source, name: str) -> Path:
    """Return the source's folder.

    Raises:
        UserError: It does not exist.
    """
    if not source.folder.is_dir():
        raise UserError(
            f"data.sources.{name}.root: no folder {source.root}; set it, or data.root, to where the data set lies"
        )
    return source.folder


def find_file(root: Path, pattern: str, key: str) -> Path:
    """Return the one file below ``root`` that the pattern matches.

    Args:
        root: The data set's folder.
        pattern: A glob below the root, or an absolute path.
        key: The setting that named it, for the message.

    Raises:
        UserError: None or several match.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, "train_COVIDx5.txt").touch()
        ...     find_file(Path(folder), "train*.txt", "data.sources.covidx.train_list").name
        'train_COVIDx5.txt'
    """
    candidates = [Path(pattern)] if Path(pattern).is_absolute() else root.glob(pattern)
    matches = sorted(path for path in candidates if path.is_file())
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(path.name for path in matches)
        raise UserError(f"{key}: {pattern!r} matches several files in {root} ({names}); name one of them")
    raise UserError(f"{key}: no file {pattern!r} in {root}")


def list_images(*folders: Path) -> dict[str, str]:
    """List the images directly in the folders; the first folder wins, absent ones are skipped.

    Returns:
        File name -> path.

    Raises:
        UserError: An image whose name is not UTF-8: no table can hold it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("a.png", "b.DCM", "notes.txt", ".hidden.png"):
        ...         Path(folder, name).touch()
        ...     sorted(list_images(Path(folder), Path(folder, "absent")))
        ['a.png', 'b.DCM']
    """
    images: dict[str, str] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.name.lower().endswith(IMAGE_SUFFIXES):
                    continue
                if not entry.name.isprintable() and "\\udc" in ascii(entry.name):
                    raise UserError(f"{folder}: the file name {entry.name!a} is not UTF-8; rename the file")
                images.setdefault(entry.name, entry.path)
    return images


def read_text(path: Path) -> str:
    """Read a list, with or without byte order mark.

    Raises:
        UserError: Not UTF-8, or not readable.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}); save it again as UTF-8") from error


def read_csv(path: Path, columns: list[str], separator: str = ",", optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV's named columns as text, blank as NaN; of the optional ones those that it has.

    Raises:
        UserError: Not a CSV, a line with more fields than the header, or a column is missing.
    """
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            warnings.filterwarnings("ignore", "Falling back", pd.errors.ParserWarning)  # for separators of two letters
            # All columns: only then pandas notices a line that is too long. Where all lines are it would take the
            # first column as an index, and shift the others.
            table = pd.read_csv(path, dtype=str, sep=separator, index_col=False)
    except pd.errors.ParserWarning as error:
        raise UserError(
            f"{path}: its lines have more fields than its header; give every column a name, and quote values that hold "
            f"the separator {separator!r}"
        ) from error
    except (ValueError, OSError, re.error) as error:
        raise UserError(f"{path}: cannot be read as CSV: {' '.join(str(error).split())}") from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{path}: no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, table))}")
    return table[[*columns, *(column for column in optional if column in table)]]


def path_below(root: Path, name: str, where: str) -> Path:
    """Return the path of a file that a data set's table names; nothing in a table leads out of the data set's folder.

    What a link below the root points to is its owner's choice, and followed.

    Args:
        root: The data set's folder.
        name: Relative to it, or absolute.
        where: File and line, for the message.

    Raises:
        UserError: It lies outside.

    Example:
        >>> path_below(Path("/data"), "a/../b.png", "mine.csv, line 2").as_posix()
        '/data/b.png'
        >>> path_below(Path("/data"), "../b.png", "mine.csv, line 2")
        Traceback (most recent call last):
        experiments.errors.UserError: mine.csv, line 2: '../b.png' does not lie below /data; files of a data set ...
    """
    folder = os.path.abspath(root)
    path = os.path.normpath(os.path.join(folder, name))
    if "\0" in path or not Path(path).is_relative_to(folder):
        raise UserError(f"{where}: {name!r} does not lie below {root}; files of a data set are named relative to it")
    return root / os.path.relpath(path, folder)


def drop_missing(table: pd.DataFrame, name: str, where: Path, notes: list[str]) -> pd.DataFrame:
    """Drop the rows whose ``image`` was not found, and note it; ``file`` has the name that was looked for.

    Raises:
        UserError: No image was found at all.
    """
    missing = table.loc[table["image"].isna(), "file"]
    if len(missing) == len(table):
        example = f" (looked for {missing.iloc[0]} and {len(missing) - 1} others)" if len(missing) else ""
        raise UserError(f"data.sources.{name}: no listed image lies in {where}{example}; check the root and the lists")
    if len(missing):
        notes.append(f"{name}: {len(missing)} of {len(table)} listed images are not in {where}: {abbreviate(missing)}")
    return table[table["image"].notna()].drop(columns="file").reset_index(drop=True)


def abbreviate(names: pd.Series | list[str], n: int = 3) -> str:
    """Return the first few names, sorted, and how many more there are.

    Example:
        >>> abbreviate(["d", "a", "c", "b"])
        'a, b, c and 1 more'
    """
    ordered = sorted(map(str, names))
    more = f" and {len(ordered) - n} more" if len(ordered) > n else ""
    return ", ".join(ordered[:n]) + more
