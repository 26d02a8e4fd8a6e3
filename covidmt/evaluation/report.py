"""The report of an evaluation: one HTML file with findings, tables, plots and pictures."""

from __future__ import annotations

from math import isfinite, isnan
from pathlib import Path
from typing import NamedTuple

from covidmt.evaluation.findings import RULES, describe_findings
from covidmt.evaluation.pictures import (
    WORST,
    draw_grid,
    draw_samples,
    grid_cells,
    grid_rows,
    lowest_iol,
    pair_picture,
    worst_flips,
)
from covidmt.evaluation.plots.draw import draw_plots
from covidmt.evaluation.result import Evaluation, PairSet, RunEvaluation
from covidmt.evaluation.scores import ResampledScore
from covidmt.evaluation.sentences.accuracy import accuracy_sentence, two_accuracies
from covidmt.evaluation.sentences.beside import COMPARED, beside_others, beside_sentences, bold_words, is_shown
from covidmt.evaluation.sentences.left_out import left_out_lists
from covidmt.evaluation.sentences.origins import mix_sentences
from covidmt.evaluation.tasks.changes import changed_answers
from covidmt.evaluation.tasks.pictures import draw_unstable, pictures_text
from covidmt.evaluation.texts import MOST_FREQUENT, ScoreText, sections
from covidmt.pages.html import PageFigure, fold_sections, page_environment, save_picture, save_plot
from covidmt.pages.numbers import interval, number, signed_number
from covidmt.pages.style import pixels
from datamodules.demo.write import MADE_UP
from datamodules.evaluation import EvaluationDataModule
from datamodules.pairs import PairDataset
from experiments.errors import UserError
from experiments.lungs.masks import HEARTS
from explain.cam import engine_title
from metrics.paired import SIDES


class Chapter(NamedTuple):
    """A chapter of the report.

    Attributes:
        title: A question or a subject.
        text: What it tells.
        headings: Of its score tables, how they begin.
        plots: Names of its plots.
    """

    title: str
    text: str
    headings: tuple[str, ...]
    plots: tuple[str, ...]


STABLE, LUNGS, TASKS = "Does the answer survive the channel?", "Does the heat map lie on the lungs?", "The tasks"
EVERY_TASK, RIGHT = "Is every task stable?", "Is the answer right?"
CHAPTERS = (
    Chapter(
        STABLE,
        "Prediction instability (PI): how often the decision on the received image differs from that on the original.",
        ("Prediction instability", "PI per channel"),
        ("probabilities", "pi_by_channel", "pi_over_quality", "pi_over_threshold"),
    ),
    Chapter(
        LUNGS,
        "Out-of-lung saliency (OLS): how often less than eta of the heat map's region lies inside the lungs.",
        ("Out-of-lung saliency",),
        ("ols_controls", "iol_histogram", "ols_over_eta", "ols_over_region_threshold"),
    ),
    Chapter(
        EVERY_TASK,
        "The deciding task on the pairs above, every other task on pairs of its own data set: PI counts a pair in "
        "which any of its labels changes; LI one in which a true box is found on one side only.",
        ("Stability of ",),
        (),
    ),
    Chapter(
        RIGHT,
        "The decision beside the label, before and after the channel.",
        ("The decision",),
        ("roc", "precision_recall", "reliability", "confusion"),
    ),
    Chapter(
        "Shortcuts",
        "Can the label be told without looking at the disease? Lungs that are blacked out still show their outline.",
        ("Shortcuts",),
        (),
    ),
    Chapter(
        "Can it be told who was trained on?",
        "Membership inference: an attacker knows an image, its label and the network's loss on it.",
        ("Membership",),
        (),
    ),
    Chapter(
        TASKS,
        "Every task on its own images, no channel.",
        ("Task ",),
        ("task_scores", "task_confusion", "task_roc", "training"),
    ),
)

# Of all figures that a report can have: those that an earlier one left are no part of this one.
_FIGURES = [name for chapter in CHAPTERS for name in chapter.plots] + ["panel", "samples"]
_FIGURES += [f"{stem}_{place}" for stem in ("flip", "iol") for place in range(1, WORST + 1)]
_OF_TASKS = "unstable_*.png"


class Gallery(NamedTuple):
    """Pictures of a kind.

    Attributes:
        chapter: Title of the chapter that has them.
        title: What they show.
        text: How they were chosen.
        pictures: The pictures.
    """

    chapter: str
    title: str
    text: str
    pictures: list[PageFigure]


class ReportCell(NamedTuple):
    """A score or a difference as text.

    Attributes:
        value: The value.
        interval: Its interval; empty where it has none.
        n: Images that count; of a difference of different images, each run's.
        shown: Of a difference: by the rules, it is shown.
        reason: Of a difference: why that is not judged; empty where it is.
        few: Of a difference: on how few patients the runs disagree, where this alone keeps it from being shown.
    """

    value: str
    interval: str
    n: int | str | None = None
    shown: bool = False
    reason: str = ""
    few: str = ""


class ReportRow(NamedTuple):
    """A score under every column.

    Attributes:
        text: The score in words.
        cells: A cell a column.
        heading: Of the rows that begin here; empty where none do.
    """

    text: ScoreText
    cells: list[ReportCell | None]
    heading: str = ""


class ReportTable(NamedTuple):
    """Scores of a kind; both sides of the pairs beside each other."""

    title: str
    columns: list[str]
    rows: list[ReportRow]


def write_report(path: Path, evaluation: Evaluation, data: EvaluationDataModule) -> None:
    """Write the report, and its figures as PNG into ``figures/`` beside it, in place of an earlier report's.

    Args:
        path: The HTML file; it needs no other file and no network.
        evaluation: What was found.
        data: The first network's data, for pictures.

    Raises:
        UserError: A file cannot be written.
    """
    folder = path.parent / "figures"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stem in _FIGURES:
            (folder / f"{stem}.png").unlink(missing_ok=True)
        for earlier in folder.glob(_OF_TASKS):
            earlier.unlink()
        path.write_text(_render(folder, evaluation, data))
    except OSError as error:
        raise UserError(f"{path}: the report cannot be written ({error.strerror}); choose another --out") from error


def _render(folder: Path, evaluation: Evaluation, data: EvaluationDataModule) -> str:
    # chapters, without those that have nothing to show
    plots = {name: save_plot(folder / f"{name}.png", plot) for name, plot in draw_plots(evaluation).items()}
    tables, galleries = score_tables(evaluation), _draw_galleries(folder, evaluation, data)
    chapters = [
        {
            "title": chapter.title,
            "text": " ".join([chapter.text, *_chapter_words(chapter.title, evaluation)]),
            "plots": [plots[name] for name in chapter.plots if name in plots],
            "galleries": [gallery for gallery in galleries if gallery.chapter == chapter.title],
            "tables": [table for table in tables if table.title.startswith(chapter.headings)],
        }
        for chapter in CHAPTERS
    ]

    # the page
    first, by_class = evaluation.first, evaluation.class_by_source.values()
    robustness = first.network.experiment.robustness
    environment = page_environment()
    environment.filters["p"] = number
    environment.filters["score"] = lambda score: number(score.estimate.value, score.whole)
    page = environment.get_template("evaluation.html").render(
        evaluation=evaluation,
        findings=describe_findings(evaluation),
        rules=RULES,
        made_up=MADE_UP,
        compared=COMPARED,
        beside=beside_others(evaluation),
        beside_words=beside_sentences(evaluation),
        bold=bold_words(evaluation),
        chapters=[chapter for chapter in chapters if chapter["plots"] or chapter["tables"]],
        origins=list(dict.fromkeys(origin for counts in by_class for origin in counts)),
        engine=engine_title(robustness.engine),
        robustness=robustness,
        cells=grid_cells(evaluation),
        lungs_chapter=LUNGS,
        every_task=EVERY_TASK,
        changed=changed_answers(first),
        left_out=left_out_lists(evaluation),
        masks=f"{_mask_words(evaluation.settings.masks)}; {HEARTS[evaluation.settings.heart]}"
        + _drawn_words(evaluation.pairs),
        resamples=first.scores["pi/score"].bootstrap.resamples,
    )
    return fold_sections(page)


def _chapter_words(title: str, evaluation: Evaluation) -> list[str]:
    """Return what a chapter's figures depend on, with the numbers."""
    first, pairs = evaluation.first, evaluation.pairs
    labels = first.table.dropna(subset=["label", "p_original"])["label"]
    if title == RIGHT and len(labels):
        share = f"{int(labels.sum())} of {len(labels)}, {100 * labels.mean():.0f} %"
        return [
            "Accuracy, PPV, NPV, F1, average precision, Brier score and calibration hold for the share of positives "
            f"here ({share}): among patients of whom fewer or more are positive they are other figures."
        ]
    if title == LUNGS and evaluation.others:
        return [
            "Beside another run, a difference in OLS or IOL can come from where the regions lie on average, from how "
            "large they are, or from which answer is explained; only one in “score minus shuffled” would say that they "
            "follow the patient's lungs more, or less."
        ]
    if title == TASKS:
        experiment = first.network.experiment
        task = experiment.tasks[experiment.robustness.task]
        own = first.answers.tasks.get(task.name)
        same = task.source == pairs.source and own is not None and len(own.targets) == pairs.n
        words = [f"Those of task {task.name} are the originals above." if same else "", two_accuracies(evaluation)]
        return [*filter(None, words), "What depends on the share of positives holds for each label's share among them."]
    return []


def score_tables(evaluation: Evaluation) -> list[ReportTable]:
    """Return every score of every run, as text; those of originals and of received images in one table."""
    by_title: dict[str, dict[str, dict[str, ScoreText]]] = {}
    twins = _twin_labels(evaluation)
    for heading, texts in sections([key for key in evaluation.score_keys if key not in twins]).items():
        title, _, side = heading.partition(", ")
        by_title.setdefault(title, {})[side] = texts
    return [_score_table(title, by_side, evaluation) for title, by_side in by_title.items()]


def _twin_labels(evaluation: Evaluation) -> set[str]:
    """Return of each task of two classes the PI of one, where it is the other's in every run: both are one figure."""
    twins = set()
    for task in evaluation.first.network.experiment.active:
        keys = [f"stability/{task.name}/label/{label}" for label in task.labels]
        values = [[run.scores[key].estimate.value for run in evaluation.runs if key in run.scores] for key in keys]
        if len(keys) == 2 and values[0] and values[0] == values[1]:
            twins.add(keys[task.labels[0] == evaluation.settings.label])
    return twins


def _score_table(title: str, by_side: dict[str, dict[str, ScoreText]], evaluation: Evaluation) -> ReportTable:
    """Return one table: a column for each side, first of the first run, then of each other's difference to it."""
    first, others = evaluation.first, evaluation.others

    # which key a row has in which column
    keys: dict[str, list[str]] = {}
    row_texts: dict[str, ScoreText] = {}
    for side, texts in by_side.items():
        for key, text in texts.items():
            name = key.rpartition("/")[2] if side else key
            keys[name] = [key.replace(f"/{side}/", f"/{each}/") for each in by_side] if side else [key]
            row_texts[name] = text

    rows: list[ReportRow] = []
    for name, text in row_texts.items():
        cells = [_score_cell(first.scores.get(key), text) for key in keys[name]]
        cells += [_difference_cell(key, first, other, text) for other in others for key in keys[name]]
        sentence = accuracy_sentence(keys[name][0], evaluation) or _sentence(text, keys[name][0], first)
        heading = text.group if not rows or rows[-1].text.group != text.group else ""
        rows.append(ReportRow(text._replace(sentence=sentence), cells, heading))
    columns = [side or first.name for side in by_side]
    columns += [f"minus {other.name}{side and ', ' + side}" for other in others for side in by_side]
    return ReportTable(title, columns, rows)


def _score_cell(score: ResampledScore | None, text: ScoreText) -> ReportCell | None:
    if score is None:
        return None
    value, low, high = score.estimate
    whole = text.scale(score.whole)
    ends = f" ({score.missing})" if score.missing else interval(low, high, lambda end: number(end, whole))
    return ReportCell(number(value, whole), ends, score.n)


def _sentence(text: ScoreText, key: str, run: RunEvaluation) -> str:
    """Return a text's sentence, with the accuracy of always giving the more frequent answer where it asks for it."""
    if MOST_FREQUENT not in text.sentence:
        return text.sentence
    return text.sentence.replace(MOST_FREQUENT, f"{run.most_frequent(key.split('/')[1]):.2f}")


def _difference_cell(key: str, first: RunEvaluation, other: RunEvaluation, text: ScoreText) -> ReportCell | None:
    """Return first minus other; the runs' disagreement is a difference itself."""
    if key == "disagreement":
        return _score_cell(other.scores[key], text)
    if key not in other.differences or not isfinite(other.differences[key].value):
        return None
    difference, whole = other.differences[key], text.scale(other.scores[key].whole)
    ends = interval(difference.low, difference.high, lambda end: signed_number(end, whole))
    counts = first.scores[key].n, other.scores[key].n
    n = f"{counts[0]} and {counts[1]}" if counts[0] != counts[1] else None
    value, shown = signed_number(difference.value, whole), is_shown(difference)
    return ReportCell(value, ends, n, shown, difference.reason, difference.few)


def _draw_galleries(folder: Path, evaluation: Evaluation, data: EvaluationDataModule) -> list[Gallery]:
    """Draw all pictures that there is something to show in."""
    first, dataset = evaluation.first, data.pair_dataset(data.split)
    galleries = []

    # the worst pairs
    flips, lowest = worst_flips(first), lowest_iol(first)
    changed = int((first.table["flip"] == 1).sum())
    if flips:
        text = (
            f"{len(flips)} of {changed} pairs whose decision changes under {first.name}, the largest change of "
            f"the logit first{': the worst cases, not typical ones' if len(flips) < changed else ''}."
        )
        pictures = [_worst_pair(folder / f"flip_{i}.png", first, dataset, row) for i, row in enumerate(flips, 1)]
        galleries.append(Gallery(STABLE, "Decisions that change", text, pictures))
    if lowest:
        text = (
            f"{len(lowest)} pairs under {first.name}, lowest IOL of either image first: the worst cases, not typical "
            "ones."
        )
        text = " ".join([text, *mix_sentences(evaluation)])
        pictures = [_worst_pair(folder / f"iol_{i}.png", first, dataset, row) for i, row in enumerate(lowest, 1)]
        galleries.append(Gallery(LUNGS, "Least of the heat map inside the lungs", text, pictures))

    # other tasks' unstable pairs
    unstable = list(draw_unstable(first, data))
    if unstable:
        pictures = [
            save_picture(folder / f"unstable_{i}.png", each.pixels, f"{each.task}, {each.title}", each.caption)
            for i, each in enumerate(unstable, 1)
        ]
        galleries.append(Gallery(EVERY_TASK, "Findings that change", pictures_text(unstable), pictures))

    # the same pairs under each run
    if evaluation.others:
        grid = draw_grid(evaluation, dataset, grid_rows(evaluation.runs))
        caption = (
            f"Maps explain {evaluation.settings.explained}; {grid_cells(evaluation)}. Cyan: lungs; white: the heat "
            "map's region; red: less of it inside the lungs than eta. Not typical cases: "
            "as many with the label as without, first those whose decision changes in most runs, then those whose "
            "logit moves most."
        )
        picture = save_picture(folder / "panel.png", grid, "Columns: pairs; rows: runs", caption, wide=True)
        text = "The same images and lungs in every row."
        galleries.append(Gallery(LUNGS, "The same pairs under each run", text, [picture]))

    # right and wrong answers
    samples, task = draw_samples(first, data), first.network.experiment.robustness.task
    if samples is not None:
        text = f"{task} under {first.name}: images of every cell of its confusion matrix."
        caption = (
            "Rows: labels; below each image the most probable label with its probability, red where it is wrong. Drawn "
            "by chance within a cell; how many images a cell holds is in the matrix, not here."
        )
        title = "Right and wrong answers"
        picture = save_picture(folder / "samples.png", pixels(samples), title, caption, wide=True)
        galleries.append(Gallery(TASKS, title, text, [picture]))
    return galleries


def _worst_pair(path: Path, run: RunEvaluation, dataset: PairDataset, row: int) -> PageFigure:
    # the answer that changes, then the numbers
    answers, words = run.answers, []
    if run.table["flip"].iloc[row] == 1:
        before, after = (answers.decision.answer(run.table[f"positive_{side}"].iloc[row] == 1) for side in SIDES)
        words.append(f"{before} → {after} on the received image")
    for name, column in ((f"p of {answers.decision.label}", "p"), ("IOL", "iol")):
        original, received = (run.table[f"{column}_{side}"].iloc[row] for side in SIDES)
        if not (isnan(original) and isnan(received)):
            words.append(f"{name} {number(original)}, as received {number(received)}")
    return save_picture(path, pair_picture(run, dataset, row), answers.ids[row], f"{'; '.join(words)}.")


def _mask_words(source: str) -> str:
    brought = "brought by the data set (images without one count as no lung found)"
    return brought if source == "folders" else source


def _drawn_words(pairs: PairSet) -> str:
    return f"; {pairs.masks_drawn} of {pairs.masks} drawn by a segmentation network" if pairs.masks else ""
