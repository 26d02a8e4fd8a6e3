"""Made-up data sets in the layouts of COVIDx, RSNA, NIH ChestX-ray14, WaCXR, CheXpert and VinDr-CXR, with lung masks.

They have what makes the real ones hard. The same films lie in several sets under different names (an RSNA id is an NIH
image), a patient has several films, NIH's official test list does not know COVIDx's, and shortcuts give the class
away in training and validation but not in test: findings come with bedside films, COVID-19 with a printed page's look.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from datamodules.demo.films import draw_films
from datamodules.demo.layouts import (
    write_chexpert,
    write_covidx,
    write_lungs,
    write_nih,
    write_received,
    write_rsna,
    write_small,
    write_vindr,
    write_wacxr,
)
from experiments.errors import UserError

MARKER = ".covidmt-demo.json"
_VERSION = 6  # of what is drawn and written; raise it so that older demo sets are written anew
_MIN_PATIENTS, _MIN_SIZE = 48, 32


MADE_UP = (
    "These films are drawings of no patients (covidmt data demo): the figures show how the tool works, and say nothing "
    "about X-rays."
)


def write_demo(root: Path, *, seed: int = 0, size: int = 256, patients: int = 200) -> None:
    """Write the made-up data sets below a folder, each in a folder of its name; ``small`` has two class folders.

    ``nih_whatsapp`` and ``rsna_whatsapp`` have what the phone received of NIH's and RSNA's, ``lungs`` has the masks.

    The same arguments give the same bytes. A demo set that is there already is left as it is when it was written with
    the same arguments, else replaced; the folder appears whole or not at all.

    Args:
        root: A folder that does not exist, is empty, or holds a demo set.
        seed: Seed of everything.
        size: Side of the images in pixels.
        patients: Number of patients, a quarter of them with COVID-19; 200 give about 320 films.

    Raises:
        UserError: The folder holds something else or cannot be written, or an argument is too small.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_demo(Path(folder, "demo"), size=32, patients=48)
        ...     print(*sorted(path.name for path in Path(folder, "demo").iterdir()))
        .covidmt-demo.json chexpert covidx lungs nih nih_whatsapp rsna rsna_whatsapp small vindr
        wacxr
    """
    if size < _MIN_SIZE or patients < _MIN_PATIENTS:
        raise UserError(
            f"the demo set needs a size of at least {_MIN_SIZE} and {_MIN_PATIENTS} patients; "
            f"got size={size}, patients={patients}"
        )

    # what is there already
    root = Path(root).absolute()
    wanted = json.dumps({"version": _VERSION, "seed": seed, "size": size, "patients": patients})
    if _read_marker(root) == wanted:
        return

    # a new folder beside it, renamed when it is whole
    new, old = (root.with_name(f".{root.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    try:
        new.mkdir(parents=True)
        films = list(draw_films(seed, size, patients))
        write_covidx(new / "covidx", films)
        write_rsna(new / "rsna", films)
        write_nih(new / "nih", films)
        write_wacxr(new / "wacxr", films)
        write_received(new, films)
        write_chexpert(new / "chexpert", films)
        write_vindr(new / "vindr", films)
        write_small(new / "small", films)
        write_lungs(new / "lungs", films)
        (new / MARKER).write_text(wanted)
        if _read_marker(root) == wanted:  # another process was faster
            return
        if root.exists():
            root.rename(old)
        new.rename(root)
    except OSError as error:  # a file on the way, a full disk, a mount point (which cannot be renamed), ...
        raise UserError(f"{root}: cannot be written ({error.strerror}); name another folder") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def is_made_up(folder: Path) -> bool:
    """Return whether a folder is one that `write_demo` has made, or lies in one.

    Example:
        >>> is_made_up(Path("/data/cxr/nih/images"))
        False
    """
    return any((each / MARKER).is_file() for each in (folder, *folder.parents))


def _read_marker(root: Path) -> str | None:
    """Return the settings of the demo set in a folder; None: there is nothing.

    Raises:
        UserError: It holds something else.
    """
    if (root / MARKER).is_file():
        return (root / MARKER).read_text()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} is not empty and holds no demo set; name a new folder, or empty this one")
    return None
