"""A white sheet on which a test lays out what a picture should look like."""

import numpy as np
from PIL import Image, ImageDraw

from explain.picture import MUTED, font

Colour = tuple[int, int, int]
Place = tuple[float, float]


class Sheet:
    """An RGB picture that is white at first."""

    def __init__(self, width: int, height: int):
        self.canvas = Image.new("RGB", (width, height), (255, 255, 255))
        self.pen = ImageDraw.Draw(self.canvas)

    def write(self, place: Place, words: str, colour: Colour, size: int, *, bold: bool = False, anchor: str = "la"):
        """Write words whose anchor (left or right, ascender or middle) is at a place."""
        self.pen.text(place, words, colour, font(size, bold=bold), anchor=anchor)

    def key(self, left: int, top: int, colour: Colour, words: str):
        """Draw a legend's key: a line of three pixels on a grey field of 31 x 18, and its words."""
        self.canvas.paste((70, 70, 70), (left, top, left + 31, top + 18))
        self.canvas.paste(colour, (left + 5, top + 7, left + 26, top + 10))
        self.write((left + 38, top), words, MUTED, 14)

    def paste(self, picture: np.ndarray, place: tuple[int, int]):
        """Lay a picture's upper left corner at a place."""
        self.canvas.paste(Image.fromarray(picture), place)

    @property
    def pixels(self) -> np.ndarray:
        """The sheet as (height, width, 3) uint8."""
        return np.asarray(self.canvas)


def extent(picture: np.ndarray) -> tuple[int, int]:
    """The first and the last column that is not all white."""
    columns = np.flatnonzero((picture < 255).any(axis=(0, 2)))
    return int(columns[0]), int(columns[-1])
