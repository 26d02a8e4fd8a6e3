"""``covidmt predict``: a trained network on any images; for each a report, a picture and a line of JSON."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from io import FileIO
from math import isnan
from pathlib import Path

import numpy as np
from PIL import Image
from rich.markup import escape
from rich.progress import track

from covidmt.prediction.answer import NOTICE, Prediction
from covidmt.prediction.picture import draw_prediction
from covidmt.prediction.predictor import open_predictor
from covidmt.tracking.checkpoints import find_checkpoint
from datamodules.channels.registry import get_channel
from datamodules.pairs import unique_names
from datamodules.reading.listing import count_others, scan_folders
from experiments.errors import UserError
from experiments.names import Terminal, printable
from experiments.paths import expand
from experiments.printing.tables import WholeTable
from lightning_modules.lungs.segmenters import SHIPPED, segmenter_id

logger = logging.getLogger("covidmt")

LINES = "predictions.jsonl"
LISTED = 20  # images that could not be predicted in the last message; the JSON lines name all
IN_FULL = 5  # up to so many images get their sentences on the terminal; of more, each gets a row of a table


def predict_images(
    reference: str,
    images: Sequence[str],
    *,
    channels: Sequence[str] | None = None,
    out: Path = Path("predictions"),
    segmenter: str | None = SHIPPED,
) -> Path:
    """Predict every image, check each answer, print the report.

    Writes ``<out>/predictions.jsonl`` with one object per image (:meth:`.Prediction.record`, or ``error``), each as
    soon as it is known, and ``<out>/<stem>_overlay.png``. Of an image's origin only its file name is written, as it was
    given: nothing of a DICOM header.

    Args:
        reference: A checkpoint or a run id, see :func:`.find_checkpoint`.
        images: Files, or folders of images.
        channels: Each as in :func:`.get_channel`; the decision is made again after each. None: the one that the
            network's own pairs went through (``data.pairs.channel``).
        out: A folder without predictions, made where it does not exist.
        segmenter: As in :func:`.load_segmenter`; None: lungs are not looked for.

    Returns:
        The JSON lines.

    Raises:
        UserError: The checkpoint, a channel, a folder or the segmenter cannot be used; or images that cannot be read,
            after all others are done.
    """
    # mistakes come before the first image
    out = expand(out)
    for name in channels or ():
        get_channel(name, "--channel")
    names = find_images(images)
    _require_free(out, names)
    checkpoint = find_checkpoint(reference)
    predictor = open_predictor(checkpoint.path, channels=channels, segmenter=segmenter)
    masks = segmenter_id(segmenter) if segmenter else None
    origin = {"checkpoint": reference, "run_id": checkpoint.run_id, "segmenter": masks, "notice": NOTICE}

    # a picture and a line of JSON for each image
    pictures = name_pictures(names, out)
    predictions: dict[str, Prediction] = {}
    errors: dict[str, str] = {}
    with _new_lines(out) as lines, _keep_lines(lines):
        for name, result in track(predictor(names), f"Predicting {len(names)} images", total=len(names)):
            if isinstance(result, UserError):
                errors[name] = str(result)
                record = {"image": name, "error": errors[name]}
            else:
                _save_picture(draw_prediction(result, predictor.robustness), pictures[name])
                predictions[name] = result.prediction
                record = result.prediction.record() | {"overlay": pictures[name].name}
            _append(lines, json.dumps(record | origin, ensure_ascii=False, allow_nan=False))

    # the report on the terminal
    _print_report(predictions, pictures, out, checkpoint.title_of(predictor.module.experiment))
    if errors:
        more = [f"and {len(errors) - LISTED} more"] if len(errors) > LISTED else []
        listed = [*list(errors.values())[:LISTED], *more]
        raise UserError("\n  ".join([f"{len(errors)} of {len(names)} images could not be predicted:", *listed]))
    return out / LINES


def find_images(images: Iterable[str]) -> list[str]:
    """Return the files as they were named, and those directly in the folders; each once.

    Raises:
        UserError: A folder without images, or nothing given.

    Example:
        >>> find_images(["x.png", "./x.png", "y.dcm"])
        ['x.png', 'y.dcm']
    """
    names: dict[Path, str] = {}
    for name in images:
        path = expand(name)
        found = scan_folders(path)
        inside = [str(Path(name, file)) for file in sorted(found.images)] if path.is_dir() else [name]
        if not inside:
            raise UserError(
                f"{name}: no images directly in this folder"
                + (f" ({count_others(found.others)})" if found.others else "")
                + "; name its subfolders, or files one by one"
            )
        if found.others:
            logger.warning(f"{printable(name)}: of its files, {count_others(found.others)}")
        for file in inside:
            names.setdefault(expand(file).resolve(), file)
    if not names:
        raise UserError("no images given: name files or folders")
    return list(names.values())


def name_pictures(names: Sequence[str], out: Path) -> dict[str, Path]:
    """Return a picture's path for each image; where several share a stem, the later ones are numbered.

    Example:
        >>> [path.name for path in name_pictures(["a/x.png", "b/x.png"], Path("out")).values()]
        ['x_overlay.png', 'x_2_overlay.png']
    """
    pictures: dict[str, Path] = {}
    taken: set[Path] = set()
    for name in names:
        stem, number = printable(Path(name).stem)[:60], 1  # of characters that take 4 bytes each, a file name holds 63
        path = out / f"{stem}_overlay.png"
        while path in taken:
            number += 1
            path = out / f"{stem}_{number}_overlay.png"
        taken.add(path)
        pictures[name] = path
    return pictures


def _save_picture(picture: np.ndarray, path: Path) -> None:
    try:
        Image.fromarray(picture).save(path, compress_level=3)
    except OSError:  # half of it is there
        path.unlink(missing_ok=True)
        raise


def _append(lines: FileIO, text: str) -> None:
    """Append a line, whole or not at all."""
    line, end = f"{text}\n".encode(), lines.tell()
    if lines.write(line) != len(line):
        lines.truncate(end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _keep_lines(lines: FileIO) -> Generator[None]:
    """Keep what was predicted before the disk was full, in a message; a file without a line is deleted."""
    try:
        yield
    except OSError as error:
        path = Path(str(lines.name))
        count = path.read_bytes().count(b"\n")
        if not count:
            path.unlink()
        kept = f"; {count} predictions are in {path.name}" if count else ""
        raise UserError(
            f"--out {path.parent}: cannot be written to ({error.strerror}){kept}; make room, or name another folder"
        ) from error


def _require_free(out: Path, names: list[str]) -> None:
    """Refuse a folder that has predictions, which are never replaced, or holds the images."""
    if any(expand(name).resolve().parent == out.resolve() for name in names):
        raise UserError(f"--out {out}: the pictures would lie among the images; name another folder")
    for taken in (out / LINES, out):
        if taken.is_file():
            raise _taken(out, taken)


def _taken(out: Path, path: object) -> UserError:
    return UserError(f"--out {out}: {path} is there already; name another folder, or delete it")


def _new_lines(out: Path) -> FileIO:
    """Open the file of JSON lines.

    Raises:
        UserError: The folder has predictions by now, or cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        return (out / LINES).open("xb", buffering=0)
    except FileExistsError as error:
        raise _taken(out, error.filename) from error
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written to ({error.strerror}); name another folder") from error


def _print_report(predictions: dict[str, Prediction], pictures: dict[str, Path], out: Path, network: str) -> None:
    """Print a few images' reports in sentences, many images' as a table with the warnings counted; then the notice.

    Which network answered stands above, since a run may be named as the last one.
    """
    if not predictions:
        return
    console = Terminal(highlight=False)
    console.print()
    console.print(f"Network: {escape(network)}\n", soft_wrap=True)

    if len(predictions) > IN_FULL:
        console.print(_table(predictions))
        warnings = Counter(warning for prediction in predictions.values() for warning in prediction.warnings())
        for warning, count in warnings.most_common():
            console.print(f"{count} of {len(predictions)}: {escape(warning)}", soft_wrap=True)
    else:
        for name, prediction in predictions.items():
            console.print(f"[bold]{escape(printable(name))}[/bold]", soft_wrap=True)
            for sentence in prediction.sentences():
                mark = "[red]Warning:[/red] " if sentence.warning else ""
                console.print(f"  {mark}{escape(sentence.text)}", soft_wrap=True)
            console.print(f"  Picture: {escape(printable(str(pictures[name])))}\n", soft_wrap=True)

    console.print(f"[bold]{NOTICE}[/bold]", soft_wrap=True)
    console.print(f"All results: {escape(str(out / LINES))}, with a picture of each image beside it", soft_wrap=True)


def _table(predictions: dict[str, Prediction]) -> WholeTable:
    """A row for each image."""
    first = next(iter(predictions.values()))
    label = first.decision.label
    title = f"Probability of {label}, then after each channel; IOL: share of the hottest region inside the lungs"
    table = WholeTable(title=escape(title), title_justify="left")
    table.add_column("image", overflow="fold")
    for column in ("answer", f"p({label})", *first.channels, "IOL", "warnings"):
        table.add_column(escape(column), justify="left" if column in ("answer", "warnings") else "right")

    for name, prediction in zip(unique_names(list(predictions)), predictions.values(), strict=True):
        sent = [answer.probability for answer in prediction.channels.values()]
        values = (prediction.probability, *sent, prediction.iol)
        warnings = "\n".join(prediction.warnings())
        table.add_row(
            escape(name),
            prediction.answer,
            *("-" if isnan(value) else f"{value:.3f}" for value in values),
            f"[red]{escape(warnings)}[/red]",
        )
    return table
