"""Which images have no IOL, and why: they count in no OLS."""

from __future__ import annotations

from covidmt.evaluation.result import Evaluation
from metrics.paired import SIDES

NO_LUNGS, NO_MAP = "no lung mask (or an empty one)", "a heat map that is zero everywhere"
_PLACES = {"original": "originals", "received": "received images"}
_MOST = 100  # names of a reason that are written out


def left_out(evaluation: Evaluation, side: str) -> dict[str, list[str]]:
    """Return why -> which images of a side have no IOL under the first network; reasons without an image are left out.

    An image that has neither lungs nor a heat map is counted with those that have no lungs.

    Args:
        evaluation: What was found.
        side: ``original`` or ``received``.
    """
    table = evaluation.first.table
    outside, no_lungs = table[f"iol_{side}"].isna(), table["lung_area"] == 0
    found = {NO_LUNGS: table["id"][outside & no_lungs], NO_MAP: table["id"][outside & ~no_lungs]}
    return {reason: ids.tolist() for reason, ids in found.items() if len(ids)}


def left_out_sentences(evaluation: Evaluation) -> list[str]:
    """Say for either side how many images count in the OLS, and what the others lack; nothing where all count."""
    texts: list[str] = []
    for side in SIDES:
        numbers = {reason: len(ids) for reason, ids in left_out(evaluation, side).items()}
        others = " and ".join(f"{n} {'has' if n == 1 else 'have'} {reason}" for reason, n in numbers.items())
        n = evaluation.pairs.n
        texts.append(f"{n - sum(numbers.values())} of {n} {{}} count; {others}." if numbers else f"All {n} {{}} count.")

    # both sides at once where they are alike
    original, received = texts
    if original == received:
        return [] if original.startswith("All") else [original.format("originals (and of received images)")]
    return [text.format(place) for text, place in zip(texts, _PLACES.values(), strict=True)]


def left_out_lists(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what to head each list of images without an IOL with, and their names."""
    lists = []
    for side, place in _PLACES.items():
        for reason, ids in left_out(evaluation, side).items():
            more = f" and {len(ids) - _MOST} more (pairs.csv)" if len(ids) > _MOST else ""
            title = f"{len(ids)} {place if len(ids) != 1 else place.removesuffix('s')}: {reason}"
            lists.append((title, ", ".join(ids[:_MOST]) + more))
    return lists
