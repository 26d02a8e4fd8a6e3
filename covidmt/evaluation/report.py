"""The report of an evaluation: one HTML file with findings, tables, plots and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image

from covidmt.evaluation.findings import COMPARED, RULES, beside, findings, signed
from covidmt.evaluation.pictures import (
    WORST,
    draw_panel,
    draw_samples,
    lowest_iol,
    pair_picture,
    panel_rows,
    pixels,
    worst_flips,
)
from covidmt.evaluation.plots import STYLE, Plot, draw_plots
from covidmt.evaluation.result import Evaluated
from covidmt.evaluation.table import interval, number
from covidmt.evaluation.texts import Text, sections
from covidmt.pages.html import page_environment
from datamodules.evaluation import EvaluationDataModule
from experiments.errors import UserError
from explain.cam import engine_title
from metrics.paired import SIDES

# Title, what the chapter tells, the headings of its score tables (their beginnings), its plots.
STABLE, LUNGS, TASKS = "Does the answer survive the channel?", "Does the network look at the lungs?", "The tasks"
_CHAPTERS = (
    (
        STABLE,
        "Prediction instability (PI): how often the decision on the received image differs from that on the original.",
        ("Prediction instability", "PI per channel"),
        ("probabilities", "pi_by_channel", "pi_over_quality", "pi_over_threshold"),
    ),
    (
        LUNGS,
        "Out-of-lung saliency (OLS): how often the heat map of the decision lies mostly outside the lungs.",
        ("Out-of-lung saliency",),
        ("ols_controls", "iol_histogram", "ols_over_eta", "ols_over_region_threshold"),
    ),
    (
        "Is the answer right?",
        "The decision beside the label, before and after the channel.",
        ("The decision",),
        ("roc", "precision_recall", "reliability", "confusion"),
    ),
    (
        "Shortcuts",
        "Can the label be told without looking at the disease? Lungs that are blacked out still show their outline.",
        ("Shortcuts",),
        (),
    ),
    (
        TASKS,
        "Every task on its own images, no channel.",
        ("Task ",),
        ("task_scores", "task_confusion", "task_roc", "training"),
    ),
)


# Of all figures that a report can have: those that an earlier one left are no part of this one.
_FIGURES = [name for *_, names in _CHAPTERS for name in names] + ["panel", "samples"]
_FIGURES += [f"{stem}_{place}" for stem in ("flip", "iol") for place in range(1, WORST + 1)]


class Shown(NamedTuple):
    """A figure in the page.

    Attributes:
        uri: The picture itself, as a data URI.
    """

    uri: str
    title: str
    caption: str
    wide: bool


class Cell(NamedTuple):
    """A score or a difference as text; ``shown``: its interval leaves out zero."""

    value: str
    interval: str
    n: int | None = None
    shown: bool = False


class Row(NamedTuple):
    """A score under every column."""

    text: Text
    cells: list[Cell | None]


class Table(NamedTuple):
    """Scores of a kind; both sides of the pairs beside each other."""

    title: str
    columns: list[str]
    rows: list[Row]


def write_report(path: Path, subjects: Sequence[Evaluated], data: EvaluationDataModule, result: dict[str, Any]) -> None:
    """Write the report, and its figures as PNG into ``figures/`` beside it, in place of an earlier report's.

    Args:
        path: The HTML file; it needs no other file and no network.
        subjects: The networks, the one that is evaluated first.
        data: Their pairs.
        result: Of :func:`covidmt.evaluation.result.build_result`.

    Raises:
        UserError: A file cannot be written.
    """
    folder = path.parent / "figures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stem in _FIGURES:
            (folder / f"{stem}.png").unlink(missing_ok=True)
        path.write_text(_render(folder, subjects, data, result))
    except OSError as error:
        raise UserError(f"{path}: the report cannot be written ({error.strerror}); choose another --out") from error


def _render(folder: Path, subjects: Sequence[Evaluated], data: EvaluationDataModule, result: dict[str, Any]) -> str:
    first = subjects[0]
    environment = page_environment()
    environment.filters["score"] = lambda score: number(score["value"], score["whole"])
    plots = {name: _plot(folder / f"{name}.png", plot) for name, plot in draw_plots(subjects, result).items()}
    tables = score_tables(result)
    galleries = _galleries(folder, subjects, data)
    chapters = [
        {
            "title": title,
            "text": text,
            "plots": [plots[name] for name in names if name in plots],
            "galleries": galleries.get(title, []),
            "tables": [table for table in tables if table.title.startswith(headings)],
        }
        for title, text, headings, names in _CHAPTERS
    ]
    robustness = first.experiment.robustness
    return environment.get_template("evaluation.html").render(
        result=result,
        findings=findings(subjects, result),
        rules=RULES,
        compared=COMPARED,
        beside=beside(subjects, result),
        chapters=[chapter for chapter in chapters if chapter["plots"] or chapter["tables"]],
        origins=list(dict.fromkeys(origin for counts in result["class_by_source"].values() for origin in counts)),
        engine=engine_title(robustness.engine),
        robustness=robustness,
        masks=_mask_words(result["settings"]["masks"]),
        resamples=first.scores["pi/score"].bootstrap.resamples,
    )


def score_tables(result: dict[str, Any]) -> list[Table]:
    """Every score of every run, as text; those of originals and of received images in one table."""
    first, *others = result["runs"]
    found: dict[str, dict[str, dict[str, Text]]] = {}
    for heading, texts in sections({key: None for run in result["runs"] for key in run["scores"]}).items():
        title, _, side = heading.partition(", ")
        found.setdefault(title, {})[side] = texts
    tables = []
    for title, by_side in found.items():
        names = {
            key.rpartition("/")[2] if "" not in by_side else key: text
            for s in by_side.values()
            for key, text in s.items()
        }
        rows = []
        for name, text in names.items():
            keys = [
                name if not side else f"{next(iter(texts)).rpartition('/')[0]}/{name}"
                for side, texts in by_side.items()
            ]
            cells = [_cell(first["scores"].get(key)) for key in keys]
            cells += [_difference(key, other) for other in others for key in keys]
            rows.append(Row(text, cells))
        columns = [side or first["name"] for side in by_side]
        columns += [f"minus {other['name']}{side and ', ' + side}" for other in others for side in by_side]
        tables.append(Table(title, columns, rows))
    return tables


def _cell(score: dict[str, Any] | None) -> Cell | None:
    if score is None:
        return None
    whole = score["whole"]
    return Cell(number(score["value"], whole), interval(score, lambda end: number(end, whole)), score["n"])


def _difference(key: str, other: dict[str, Any]) -> Cell | None:
    """First minus other; the runs' disagreement is a difference itself."""
    if key == "disagreement":
        return _cell(other["scores"][key])
    estimate = other["difference"].get(key)
    if estimate is None or not isfinite(estimate["value"]):
        return None
    whole = other["scores"][key]["whole"]
    shown = isfinite(estimate["low"]) and not estimate["low"] <= 0 <= estimate["high"]
    return Cell(signed(estimate["value"], whole), interval(estimate, lambda end: signed(end, whole)), shown=shown)


def _plot(path: Path, plot: Plot) -> Shown:
    with matplotlib.rc_context(STYLE):
        plot.figure.savefig(path, dpi=150)
    return Shown(_uri("png", path.read_bytes()), plot.title, plot.caption, plot.wide)


def _picture(path: Path, pixels: np.ndarray, title: str, caption: str, *, wide: bool = False) -> Shown:
    """Saves a picture as PNG; in the page it is a WebP of a tenth of the size."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.save(path)
    image.save(buffer, format="webp", quality=80)
    return Shown(_uri("webp", buffer.getvalue()), title, caption, wide)


def _uri(kind: str, picture: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def _galleries(
    folder: Path, subjects: Sequence[Evaluated], data: EvaluationDataModule
) -> dict[str, list[dict[str, Any]]]:
    """Chapter -> its rows of pictures."""
    first, dataset = subjects[0], data.pair_dataset(data.split)
    found: dict[str, list[dict[str, Any]]] = {STABLE: [], LUNGS: [], TASKS: []}
    for chapter, stem, title, rows, order in (
        (STABLE, "flip", "Decisions that change", worst_flips(first), "the largest change of the logit first"),
        (LUNGS, "iol", "Least of the heat map inside the lungs", lowest_iol(first), "lowest IOL of either image first"),
    ):
        pictures = [_worst(folder / f"{stem}_{place}.png", first, dataset, row) for place, row in enumerate(rows, 1)]
        of = f" of {int((first.table['flip'] == 1).sum())}" if stem == "flip" else ""
        text = f"{len(rows)}{of} pairs under {first.name}, {order}: the worst cases, not typical ones."
        if pictures:
            found[chapter].append({"title": title, "text": text, "pictures": pictures})
    if len(subjects) > 1:
        panel = draw_panel(subjects, dataset, panel_rows(subjects))
        title, text = "The same pairs under each run", "As in Figs 2 and 9 of the COVIDMT paper."
        caption = (
            "Cyan: lungs; white: the heat map's region; red: less of it inside the lungs than eta. Not typical cases: "
            "as many with the label as without, first those whose decision changes in most runs, then those whose "
            "logit moves most."
        )
        picture = _picture(folder / "panel.png", panel, "Columns: pairs; rows: runs", caption, wide=True)
        found[LUNGS].append({"title": title, "text": text, "pictures": [picture]})
    if samples := draw_samples(first, data):
        text = f"{first.experiment.robustness.task} under {first.name}: images of every cell of its confusion matrix."
        caption = (
            "Rows: labels; below each image the most probable label with its probability, red where it is wrong. Drawn "
            "by chance within a cell; how many images a cell holds is in the matrix, not here."
        )
        picture = _picture(folder / "samples.png", pixels(samples), "Right and wrong answers", caption, wide=True)
        found[TASKS].append({"title": "Right and wrong answers", "text": text, "pictures": [picture]})
    return found


def _worst(path: Path, first: Evaluated, dataset: Any, row: int) -> Shown:
    p = [first.table[f"p_{side}"].iloc[row] for side in SIDES]
    iol = [first.table[f"iol_{side}"].iloc[row] for side in SIDES]
    words = [
        f"{name} {number(a)}, as received {number(b)}" for name, (a, b) in (("p", p), ("IOL", iol)) if a == a or b == b
    ]
    caption = f"{'; '.join(words)}."
    return _picture(path, pair_picture(first, dataset, row), first.answers.ids[row], caption)


def _mask_words(source: str) -> str:
    words: dict[str, str] = {
        "none": "none",
        "folders": "brought by the data set (images without one count as no lung found)",
    }
    return words.get(source, source)
