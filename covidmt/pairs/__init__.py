"""Image pairs in WaCXR's layout: `covidmt pairs`.

`make` sends originals through a simulated channel, `match` pairs them with the files that really went through a phone;
`originals` finds the images to send, `manifest` lists made pairs.

For use from outside: `make_pairs`, `match_pairs`, `read_manifest`, `ManifestRow`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidmt.pairs.make import make_pairs
    from covidmt.pairs.manifest import ManifestRow, read_manifest
    from covidmt.pairs.match import match_pairs

__all__ = ["ManifestRow", "make_pairs", "match_pairs", "read_manifest"]

_HOMES = {"ManifestRow": "manifest", "make_pairs": "make", "match_pairs": "match", "read_manifest": "manifest"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
