"""From a grey DICOM file's stored values to [0, 1]: modality, VOI, presentation (PS3.3 C.7.6.3, C.11), in float64.

Every step is a function of one value. So it is computed for each value that 8 or 16 bits can hold, and the pixels are
looked up in that: no arithmetic is done in the file's own integers, and none per pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, isnan

import numpy as np
from pydicom.dataset import Dataset

from datamodules.formats.dicom_tags import Tags
from datamodules.formats.lookup import MODALITY, LookupTable, UnusableTableError, read_table
from datamodules.formats.value_range import robust_range, scale_to_range

Curve = Callable[[np.ndarray], np.ndarray]

FINISHED_BITS = 8  # so many bits or fewer hold a picture that is finished; more are a detector's, which need a window
_PADDING_SHARE = 0.01  # of the pixels: less padding than that, within the film's own values, is none


@dataclass(frozen=True)
class StoredValues:
    """The values that a file's pixels can have, or do have.

    Attributes:
        values: (n,) float64, the stored values.
        counts: (n,) int64, how many pixels have each.
        words: (n,) the words that the values were taken out of.
        bits: How many bits a value has; None: floating point.
        lowest: The lowest value that so many bits hold.
        highest: The highest.
    """

    values: np.ndarray
    counts: np.ndarray
    words: np.ndarray
    bits: int | None
    lowest: float
    highest: float


def show(stored: StoredValues, tags: Tags, *, low_is_white: bool = False) -> tuple[np.ndarray, list[str]]:
    """Return each stored value's grey, (n,) float64 in [0, 1], black is 0; and what was applied, in order.

    Args:
        stored: The values.
        tags: The file's tags; what is passed over is noted in them.
        low_is_white: The photometric interpretation is MONOCHROME1.

    Example:
        >>> from pydicom.dataset import Dataset
        >>> file = Dataset()
        >>> file.WindowCenter, file.WindowWidth = 128, 256
        >>> values = np.arange(256.0)
        >>> greys, applied = show(StoredValues(values, np.ones(256), values, 8, 0, 255), Tags(file), low_is_white=True)
        >>> greys[[0, 255]].tolist(), applied
        ([1.0, 0.0], ['window (LINEAR)', 'inverted (MONOCHROME1)'])
    """
    applied: list[str] = []
    padding = find_padding(stored, tags)

    # modality: stored values to the device's
    modality = read_modality(stored, tags, applied)
    rescaled = modality(stored.values)

    # VOI: what the radiologist chose to see, else the whole range
    present = rescaled[(stored.counts > 0) & ~padding]
    low, high = (present.min(), present.max()) if len(present) else (0.0, 0.0)
    voi = read_voi(tags, low, high, applied)
    greys = voi(rescaled) if voi else _show_all(stored, tags, rescaled, modality, padding, applied)

    # presentation
    if _is_inverted(tags, applied, low_is_white=low_is_white):
        greys = 1 - greys
    if padding.any():
        applied.append("padding as background")
        greys = np.where(padding, 0, greys)
    return np.nan_to_num(greys.clip(0, 1)), applied


def read_modality(stored: StoredValues, tags: Tags, applied: list[str]) -> Curve:
    """Return the function from stored values to the device's: a table, a line, or the identity."""
    for item in tags.items("ModalityLUTSequence"):
        table = _try_table(item, tags, MODALITY, stored.lowest, stored.highest)
        if table:
            applied.append(MODALITY)
            return lambda values: table(values).astype(np.float64)

    slope, intercept = tags.number("RescaleSlope"), tags.number("RescaleIntercept")
    if slope == 0:
        tags.note("RescaleSlope is 0: passed over")
        slope = None
    if slope is None and intercept is None:
        return lambda values: values
    factor, offset = 1.0 if slope is None else slope, intercept or 0.0
    largest = abs(factor) * max(abs(stored.lowest), abs(stored.highest)) + abs(offset)  # of Python's floats: no warning
    if not isfinite(largest * 2):
        tags.note("RescaleSlope leads beyond all numbers: passed over")
        return lambda values: values
    applied.append("rescale slope and intercept")
    return lambda values: values * factor + offset


def read_voi(tags: Tags, low: float, high: float, applied: list[str]) -> Curve | None:
    """Return the function from the device's values to greys that is the first usable one in the file, or None.

    Args:
        tags: The file's tags.
        low: The lowest of the device's values in the picture.
        high: The highest.
        applied: Gets a line.
    """
    for item in tags.items("VOILUTSequence"):
        table = _try_table(item, tags, "VOI LUT", low, high)
        if table:
            applied.append("VOI LUT")
            return table.greys

    function = tags.word("VOILUTFunction") or "LINEAR"
    if function not in WINDOWS:
        tags.note("VOILUTFunction is unknown: taken as LINEAR")
        function = "LINEAR"
    curve, narrowest = WINDOWS[function]
    centers, widths = tags.each_number("WindowCenter"), tags.each_number("WindowWidth")
    for center, width in zip(centers, widths, strict=False):
        if isnan(center) or isnan(width):
            continue
        if width >= narrowest and width > 0:
            applied.append(f"window ({function})")
            return lambda values: curve(values, center, width)
        tags.note("WindowWidth is too small to be one: passed over")
    if bool(centers) != bool(widths):
        tags.note("a window has a center or a width alone: passed over")
    return None


def linear(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """Return the greys of a window by PS3.3 C.11.2.1.2.1.

    Example:
        >>> linear(np.array([0, 1023.5, 2047]), center=1024, width=2048).tolist()
        [0.0, 0.5, 1.0]
    """
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return ((values - (center - 0.5)) / (width - 1) + 0.5).clip(0, 1)


def linear_exact(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """Return the greys of a window by PS3.3 C.11.2.1.3.2.

    Example:
        >>> linear_exact(np.array([0, 1, 2]), center=1, width=2).tolist()
        [0.0, 0.5, 1.0]
    """
    return ((values - center) / width + 0.5).clip(0, 1)


def sigmoid(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """Return the greys of a window by PS3.3 C.11.2.1.3.1.

    Example:
        >>> sigmoid(np.array([1.0]), center=1, width=2).tolist()
        [0.5]
    """
    return 1 / (1 + np.exp((-4 * (values - center) / width).clip(-700, 700)))


# VOI LUT function -> its curve, and the narrowest window that it is defined for.
WINDOWS: dict[str, tuple[Callable[[np.ndarray, float, float], np.ndarray], float]] = {
    "LINEAR": (linear, 1.0),
    "LINEAR_EXACT": (linear_exact, 0.0),
    "SIGMOID": (sigmoid, 0.0),
}


def find_padding(stored: StoredValues, tags: Tags) -> np.ndarray:
    """Return which values are no film: PixelPaddingValue to PixelPaddingRangeLimit, and what is no number; (n,) bool.

    Padding that lies within the film's own values, and that next to no pixel has, is passed over: the tag is wrong.
    """
    kind = {None: "FloatPixel" if stored.words.itemsize == 4 else "DoubleFloatPixel"}.get(stored.bits, "Pixel")
    none = ~np.isfinite(stored.values)
    first = tags.number(f"{kind}PaddingValue")
    if first is None:
        return none
    limit = tags.number(f"{kind}PaddingRangeLimit")
    padding = none | _is_between(stored, first, first if limit is None else limit)

    inside = (stored.counts > 0) & ~padding
    padded = (stored.counts > 0) & padding & ~none
    if not padded.any():
        return none
    if not inside.any():
        tags.note("PixelPaddingValue is that of all pixels: passed over")
        return none
    film, share = stored.values[inside], stored.counts[padded].sum() / stored.counts.sum()
    within = film.min() < stored.values[padded].min() and stored.values[padded].max() < film.max()
    if within and share < _PADDING_SHARE:
        tags.note("PixelPaddingValue lies within the film's own values: passed over")
        return none
    return padding


def _is_between(stored: StoredValues, first: float, limit: float) -> np.ndarray:
    """Return which values lie in a range of padding, whose ends may have been written with or without their sign."""
    if stored.bits is None:
        return (stored.values >= min(first, limit)) & (stored.values <= max(first, limit))

    # the same word, whatever the values' bits
    width = 2 ** (8 * stored.words.itemsize)
    padding = (stored.words == int(first) % width) | (stored.words == int(limit) % width)

    ends = [end for end in (_with_sign(end, stored, width) for end in (first, limit)) if end is not None]
    if len(ends) == 2:
        padding |= (stored.values >= min(ends)) & (stored.values <= max(ends))
    return padding


def _with_sign(end: float, stored: StoredValues, width: int) -> float | None:
    """Return the value that an end of padding is meant as: itself, or with the other sign; None: no value is meant."""
    turns = [0, width, -width]
    if stored.lowest < 0:  # the bits of a negative value, without its sign
        turns.append(-(stored.highest - stored.lowest + 1))
    return next((end + turn for turn in turns if stored.lowest <= end + turn <= stored.highest), None)


def _show_all(
    stored: StoredValues, tags: Tags, rescaled: np.ndarray, modality: Curve, padding: np.ndarray, applied: list[str]
) -> np.ndarray:
    """Return the greys of a picture without a window."""
    if stored.bits is not None and stored.bits <= FINISHED_BITS and MODALITY not in applied:
        ends = modality(np.array([stored.lowest, stored.highest]))
        return scale_to_range(rescaled, ends.min(), ends.max())

    applied.append("full range")
    tags.note("no window in the file: the full range of what is there is shown")
    if tags.word("PresentationIntentType") == "FORPROCESSING":
        tags.note("made for processing, not for presentation: a detector's raw values")
    film = ~padding
    values, places = np.unique(rescaled[film], return_inverse=True)
    counts = np.bincount(places.ravel(), weights=stored.counts[film], minlength=len(values))
    if not counts.any():
        return np.zeros(len(rescaled))
    low, high = robust_range(values, counts)
    if high <= low and stored.bits is not None:  # one grey: as bright as its number
        ends = modality(np.array([stored.lowest, stored.highest]))
        low, high = ends.min(), ends.max()
    return scale_to_range(rescaled, low, high)


def _is_inverted(tags: Tags, applied: list[str], *, low_is_white: bool) -> bool:
    """Return whether the greys turn over: PresentationLUTShape says it, else the photometric interpretation."""
    shape = tags.word("PresentationLUTShape")
    if shape not in ("", "IDENTITY", "INVERSE"):
        tags.note("PresentationLUTShape is unknown: passed over")
    if shape == "IDENTITY" and low_is_white:
        tags.note("PresentationLUTShape IDENTITY contradicts MONOCHROME1: low values are shown black")
        return False
    if shape == "INVERSE" or low_is_white:
        applied.append("inverted (MONOCHROME1)" if low_is_white else "inverted (PresentationLUTShape)")
        return True
    return False


def _try_table(item: Dataset, tags: Tags, name: str, low: float, high: float) -> LookupTable | None:
    """Return a sequence item's table; None, with a note, where it cannot be used."""
    inner = Tags(item)
    try:
        return read_table(inner, name, low, high)
    except UnusableTableError as error:
        tags.note(f"{name}: {error}: passed over")
        return None
    finally:
        for sentence in inner.notes:
            tags.note(sentence if sentence.startswith(name) else f"{name}: {sentence}")
