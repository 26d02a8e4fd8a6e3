"""Finding a data set's files: one list by its pattern, thousands of images by one pass over their folders."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from datamodules.reading.listing import scan_folders
from experiments.errors import UserError
from experiments.names import printable
from experiments.source_schema import Source

_BLANK = ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "None", "NULL", "null"]  # cells that say nothing


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
        names = abbreviate([path.name for path in matches], 5)
        raise UserError(f"{key}: {pattern!r} matches several files in {root} ({names}); name one of them")
    raise UserError(f"{key}: no file {pattern!r} in {root}")


def list_images(*folders: Path) -> dict[str, str]:
    """List the images directly in the folders, file name -> path; the first folder wins, absent ones are skipped.

    Raises:
        UserError: As :func:`~datamodules.reading.listing.scan_folders`, which also tells what is no image.
    """
    return scan_folders(*folders).images


def read_text(path: Path) -> str:
    """Read a list, with or without byte order mark.

    Raises:
        UserError: Not UTF-8, or not readable.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}); save it again as UTF-8") from error


def read_csv(
    path: Path, columns: list[str], separator: str = ",", optional: Sequence[str] = (), words: Sequence[str] = ()
) -> pd.DataFrame:
    r"""Read a CSV's named columns as text without blanks around it, and of the optional ones those that it has.

    Blank cells, ``NA``, ``NaN``, ``None`` and the like are NaN.

    Args:
        path: The file.
        columns: What it must have; blanks around a header's names do not count.
        separator: Between cells.
        optional: What it may have.
        words: The columns in which ``None`` is a word like any other, as a class may be called.

    Raises:
        UserError: Not a CSV, a line with more fields than the header, or a column is missing.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "t.csv")
        ...     _ = path.write_text("image, finding, age\na.png, None , NA\n")
        ...     read_csv(path, ["finding", "age"], words=["finding"]).values.tolist()
        [['None', nan]]
    """
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            warnings.filterwarnings("ignore", "Falling back", pd.errors.ParserWarning)  # for separators of two letters
            # All columns: only then pandas notices a line that is too long. Where all lines are it would take the
            # first column as an index, and shift the others.
            table = pd.read_csv(path, dtype=str, sep=separator, index_col=False, keep_default_na=False)
    except pd.errors.ParserWarning as error:
        raise UserError(
            f"{path}: its lines have more fields than its header; give every column a name, and quote values that hold "
            f"the separator {separator!r}"
        ) from error
    except (ValueError, OSError, re.error) as error:
        raise UserError(f"{path}: cannot be read as CSV: {' '.join(str(error).split())}") from error
    table.columns = table.columns.str.strip()
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{path}: no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, table))}")
    table = table[[*columns, *(column for column in optional if column in table)]].apply(
        lambda cells: cells.str.strip()
    )
    return table.apply(lambda cells: cells.mask(cells.isin([""] if cells.name in words else _BLANK)))


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


def abbreviate(names: pd.Series | list[str], n: int = 3, joint: str = ", ") -> str:
    """Return the first few names, sorted, and how many more there are.

    Example:
        >>> abbreviate(["d", "a", "c", "b"])
        'a, b, c and 1 more'
        >>> abbreviate(["d", "a", "c", "b"], joint=" = ")
        'a = b = c and 1 more'
    """
    ordered = sorted(printable(str(name)) for name in names)
    more = f" and {len(ordered) - n} more" if len(ordered) > n else ""
    return joint.join(ordered[:n]) + more
