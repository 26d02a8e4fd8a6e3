"""A data set's own lung masks in folders: which files belong to which image, however the names are spelt."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datamodules.reading.listing import loose_key, scan_folders
from experiments.errors import UserError
from experiments.names import printable


class MaskFolders:
    """Mask files by the stems of their images: as they are written, else whatever their case, blanks and composition.

    Of several folders each may have a mask of an image, as where left and right lungs lie apart. Files of any image
    format are masks. Masks may lie among their images: where a folder has a PNG of a name it is the mask, and a file
    is never its own.

    Args:
        folders: Those that exist are looked through, without what lies deeper.
        suffix: What mask names have after the image's stem, in any case, such as ``_mask``.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, "Film 1_MASK.PNG").touch()
        ...     masks = MaskFolders([Path(folder)], "_mask")
        ...     [path.name for path in masks.of("films/Film 1.dcm") + masks.of("film1.png")], masks.of("Film 2.png")
        (['Film 1_MASK.PNG', 'Film 1_MASK.PNG'], [])
    """

    def __init__(self, folders: Iterable[Path], suffix: str = "") -> None:
        self._by_stem: dict[str, list[Path]] = {}
        self._spellings: dict[str, set[str]] = {}  # loose key -> the stems that have it

        for folder in folders:
            paths = sorted(map(Path, scan_folders(folder).images.values()))
            own = {path.stem: path for path in sorted(paths, key=lambda path: path.suffix.lower() == ".png")}
            for stem, path in sorted(own.items()):
                if stem.casefold().endswith(suffix.casefold()):
                    image = stem[: len(stem) - len(suffix)]
                    self._by_stem.setdefault(image, []).append(path)
                    self._spellings.setdefault(loose_key(image), set()).add(image)

    def of(self, image: str | Path) -> list[Path]:
        """Return the mask files of an image.

        Raises:
            UserError: No mask has this very name, and several have it in another spelling.
        """
        stem = Path(image).stem
        spellings = [stem] if stem in self._by_stem else sorted(self._spellings.get(loose_key(stem), ()))
        if len(spellings) > 1:
            names = ", ".join(printable(str(path)) for spelling in spellings for path in self._by_stem[spelling])
            raise UserError(
                f"the lung mask of {printable(str(image))} could be each of {names}, which differ from it in case or "
                "blanks only; give the mask the image's own name"
            )
        return [path for spelling in spellings for path in self._by_stem[spelling] if path != Path(image)]

    def files(self) -> list[Path]:
        """Return all mask files, sorted."""
        return sorted(path for paths in self._by_stem.values() for path in paths)
