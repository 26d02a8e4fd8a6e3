"""How a picture lies: an upright frontal film, or what it is instead, and the words that say so."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.names import printable

# The first is the one whose lungs a segmenter draws.
POSES = ("upright", "turned clockwise", "turned anticlockwise", "upside down", "negative", "no frontal film")

_MEANINGS = {
    "turned clockwise": "lies on its side, turned clockwise; turn it back",
    "turned anticlockwise": "lies on its side, turned anticlockwise; turn it back",
    "upside down": "lies upside down; turn it",
    "negative": "looks like a negative (air is bright); invert it",
    "no frontal film": "does not look like a frontal chest film",
}
_SHOWN = 5


def pose_sentence(pose: str) -> str:
    """Return what a picture looks like that is no upright frontal film.

    Args:
        pose: Of :data:`POSES`, but the first.

    Example:
        >>> pose_sentence("negative")
        'This picture looks like a negative (air is bright); invert it.'
    """
    return f"This picture {_MEANINGS[pose]}."


def pose_lines(poses: dict[str, str]) -> list[str]:
    """Return a line for each kind of picture that is no upright frontal film, with its number and some names.

    Args:
        poses: Name of every picture -> its pose.

    Example:
        >>> pose_lines({"a.png": "upright", "b.png": "upside down", "c.png": "upside down"})
        ['2 of 3 pictures: lies upside down; turn it (b.png, c.png)']
    """
    lines = []
    for pose in POSES[1:]:
        names = [name for name, each in poses.items() if each == pose]
        if names:
            lines.append(f"{len(names)} of {len(poses)} pictures: {_MEANINGS[pose]} ({_some(names)})")
    return lines


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
