"""The plots of an evaluation, drawn by matplotlib without a screen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite, nan
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from covidmt.evaluation.answers import TaskAnswers
from covidmt.evaluation.decisions import decides, differ, flips
from covidmt.evaluation.result import Evaluated
from covidmt.evaluation.scores import Score, excludes
from covidmt.evaluation.table import interval
from covidmt.tracking.history import MEASURES, SPLITS
from experiments.schema import Task, TaskKind
from metrics import weighted
from metrics.intervals import wilson
from metrics.paired import SIDES

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SIDE_COLOURS = dict(zip(SIDES, COLOURS, strict=False))
GREY, LINES = "#6b7280", ("-", "--", ":")
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
SMALL, WIDE = (5.4, 3.6), 10.8  # inches: half and full width of the report
COMPARED = 4  # runs in plots that would be crowded with more
BINS = 10  # of the reliability plot
_MANY = 500  # points from which on a scatter is stored as pixels
_QUALITY = re.compile(r"channel/jpeg:(\d+)")
_PI_CONTROLS = {"noise": "white noise, equal RMS", "inside": "inside the lungs only",
                "outside": "outside the lungs only"}  # fmt: skip
_CONTROLS = {"score": "the network", "shuffled": "other patients' maps", "centre_disc": "centre disc, equal area",
             "whole_image": "the whole image"}  # fmt: skip
Runs = list[dict[str, Any]]


class Plot(NamedTuple):
    """A figure with what a reader needs.

    Attributes:
        figure: The figure.
        title: What it shows.
        caption: How to read it.
        wide: It takes the page's whole width.
    """

    figure: Figure
    title: str
    caption: str
    wide: bool = False


def draw_plots(subjects: Sequence[Evaluated], result: dict[str, Any]) -> dict[str, Plot]:
    """All plots that there is something to draw for.

    Args:
        subjects: The networks.
        result: Of :func:`covidmt.evaluation.result.build_result`.

    Returns:
        File stem -> plot.
    """
    first, runs, settings = subjects[0], result["runs"], result["settings"]
    drawn, which = _drawn(subjects, runs)
    with matplotlib.rc_context(STYLE):
        made = {
            "pi_by_channel": _pi_by_channel(drawn, result["pairs"]["channel"], which),
            "pi_over_quality": _pi_over_quality(drawn, which),
            "probabilities": _probabilities(first, settings),
            "pi_over_threshold": _pi_over_threshold(runs, settings),
            "ols_controls": _ols_controls(runs),
            "iol_histogram": _iol_histogram(subjects, settings),
            "ols_over_eta": _ols_curve(runs, "ols_over_eta", "eta: IOL below which a map is out", settings["eta"]),
            "ols_over_region_threshold": _ols_curve(
                runs,
                "ols_over_region_threshold",
                "region threshold: share of the maximum",
                settings["region_threshold"],
            ),
            "roc": _roc(subjects, runs),
            "precision_recall": _precision_recall(subjects, runs),
            "reliability": _reliability(first, settings),
            "confusion": _confusion(first, settings),
            "task_scores": _task_scores(runs),
            "task_confusion": _task_confusion(first),
            "task_roc": _task_roc(first, runs[0]),
            "training": _training(first),
        }
    return {name: plot for name, plot in made.items() if plot}


def _drawn(subjects: Sequence[Evaluated], runs: Runs) -> tuple[Runs, str]:
    """The runs with PI, its controls and the noise floor of the originals alone that went through all channels.

    Returns:
        The runs, and which originals these are.
    """
    first = subjects[0]
    n, rows, bootstrap = len(first.table), first.answers.channel_rows, first.scores["pi/score"].bootstrap
    if len(rows) in (0, n):
        return runs, f"All {n} originals."
    drawn = np.isin(np.arange(n), rows)

    def percent(events: np.ndarray) -> dict[str, Any]:
        values = np.where(drawn, events, nan)
        score = Score(lambda w: 100 * weighted.mean(w, values), bootstrap, ~np.isnan(values), 100.0)
        return score.estimate._asdict()

    found = []
    for subject, run in zip(subjects, runs, strict=True):
        scores = {f"pi/{control}": percent(flips(subject, f"p_{control}")) for control in _PI_CONTROLS}
        scores["pi/score"] = percent(flips(subject))
        if subject is not first:
            scores["disagreement"] = percent(differ(decides(first), decides(subject)))
        found.append(run | {"scores": run["scores"] | scores})
    return found, f"All on the {len(rows)} of {n} originals that were drawn for the channels."


def _pi_by_channel(runs: Runs, channel: str, which: str) -> Plot:
    scores = runs[0]["scores"]
    rows = {"pi/score": f"the pairs ({channel})"}
    rows |= {key: key.removeprefix("channel/") for key in scores if key.startswith("channel/") and not _quality(key)}
    controls = {f"pi/{name}": f"control: {text}" for name, text in _PI_CONTROLS.items()}
    rows |= {key: text for key, text in controls.items() if _drawable(scores.get(key))}
    figure, axis = _figure((SMALL[0], 1.3 + 0.24 * len(rows) * max(1.5, 0.45 * len(runs))))
    for index, run in enumerate(runs):
        for row, key in enumerate(rows):
            colour = GREY if len(runs) == 1 and key in controls else _colour(index)
            _dot(axis, run["scores"].get(key), row + _shift(index, len(runs)), colour)
    _noise_floor(runs, axis.axvline, axis.axvspan)
    _rows(axis, list(rows.values()), "PI score, %: decisions that change")
    _legend(figure, runs)
    return Plot(
        figure,
        "PI by channel",
        f"{which} Dots: share of decisions that change; bars: 95 % interval. White noise of the same strength says "
        "what changed pixels alone do." + _floor_words(runs),
    )


def _pi_over_quality(runs: Runs, which: str) -> Plot | None:
    found = {key: int(quality) for key in runs[0]["scores"] if (quality := _quality(key))}
    if not found:
        return None
    keys = sorted(found, key=found.__getitem__)
    figure, axis = _figure()
    for index, run in enumerate(runs):
        points = [run["scores"].get(key) for key in keys]
        _band(axis, [found[key] for key in keys], points, index, len(runs))
    _noise_floor(runs, axis.axhline, axis.axhspan)
    axis.invert_xaxis()
    axis.set(xlabel="JPEG quality (stronger compression to the right)", ylabel="PI score, %")
    axis.set_ylim(bottom=0)
    _legend(figure, runs)
    return Plot(
        figure,
        "PI over JPEG quality",
        f"{which} They are compressed more and more; band: 95 % interval." + _floor_words(runs),
    )


def _probabilities(first: Evaluated, settings: dict[str, Any]) -> Plot:
    table, threshold = first.table, settings["threshold"]
    figure, axis = _figure((SMALL[0], 4.4))
    for low, high in (((0, threshold), (threshold, 1)), ((threshold, 1), (0, threshold))):
        axis.fill_between(low, *high, color=COLOURS[1], alpha=0.08, lw=0)
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    kinds = {
        "label positive": (table["label"] == 1, "o", COLOURS[0]),
        "label negative": (table["label"] == 0, "^", COLOURS[2]),
        "label unknown": (table["label"].isna(), "s", GREY),
    }
    for name, (mask, marker, colour) in kinds.items():
        if mask.any():
            few = table[mask]
            axis.plot(few["p_original"], few["p_received"], marker, color=colour, ms=5, alpha=0.6, mew=0, label=name,
                      rasterized=len(few) > _MANY)  # fmt: skip
    changed = table[table["flip"] == 1]
    axis.plot(changed["p_original"], changed["p_received"], "o", mfc="none", mec=COLOURS[1], mew=1.6, ms=10,
              label=f"decision changes: {len(changed)}")  # fmt: skip
    axis.set(xlabel=f"p({settings['label']}), original", ylabel=f"p({settings['label']}), received", aspect="equal")
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    figure.legend(loc="outside lower center", ncols=2)
    return Plot(
        figure,
        "Probability before and after the channel",
        "Each mark is a pair; on the diagonal nothing changed. In the shaded fields the decision changes.",
    )


def _pi_over_threshold(runs: Runs, settings: dict[str, Any]) -> Plot:
    figure, axis = _figure()
    for index, run in enumerate(runs):
        curve = run["curves"]["pi_over_decision_threshold"]
        _band(axis, curve["x"], curve["received"], index, len(runs))
    axis.axvline(settings["threshold"], color=GREY, ls="--", lw=1)
    axis.set(xlabel="decision threshold", ylabel="PI score, %", xlim=(0, 1))
    axis.set_ylim(bottom=0)
    _legend(figure, runs)
    return Plot(
        figure, "PI over the decision threshold", "Does PI hang on the choice of one threshold? Dashed: the one used."
    )


def _ols_controls(runs: Runs) -> Plot | None:
    shown = [run for run in runs if any(_drawable(run["scores"].get(f"ols/{side}/score")) for side in SIDES)][:COMPARED]
    if not shown:
        return None
    figure = Figure((SMALL[0] if len(shown) == 1 else WIDE, 2.9), layout="constrained")
    for axis, run in zip(figure.subplots(1, len(shown), squeeze=False, sharey=True)[0], shown, strict=True):
        for row, name in enumerate(_CONTROLS):
            for index, side in enumerate(SIDES):
                _dot(axis, run["scores"].get(f"ols/{side}/{name}"), row + _shift(index, 2), SIDE_COLOURS[side])
        _rows(axis, list(_CONTROLS.values()), "OLS score, %", flip=axis.get_subplotspec().is_first_col())
        axis.set_xlim(-3, 103)
        if len(shown) > 1:
            axis.set_title(short(run["name"]))
    _side_legend(figure)
    return Plot(
        figure,
        "OLS beside its controls",
        "Share of images whose heat map lies mostly outside the lungs; lower is better. Only a score clearly below "
        "that of other patients' maps shows that the network looks at this image's lungs. Bars: 95 % interval.",
        wide=len(shown) > 1,
    )


def _iol_histogram(subjects: Sequence[Evaluated], settings: dict[str, Any]) -> Plot | None:
    shown = [each for each in subjects[:COMPARED] if any(each.table[f"iol_{side}"].notna().any() for side in SIDES)]
    if not shown:
        return None
    figure = Figure((SMALL[0] if len(shown) == 1 else WIDE, 3.2), layout="constrained")
    for axis, subject in zip(figure.subplots(1, len(shown), squeeze=False, sharey=True)[0], shown, strict=True):
        values = [subject.table[f"iol_{side}"].dropna().to_numpy() for side in SIDES]
        axis.hist(values, [i / 20 for i in range(21)], color=[*SIDE_COLOURS.values()], label=SIDES)
        axis.axvline(settings["eta"], color="black", ls="--", lw=1, label=f"eta = {settings['eta']:g}")
        axis.set(xlabel="IOL", xlim=(0, 1))
        if len(shown) > 1:
            axis.set_title(short(subject.name))
    figure.axes[0].set_ylabel("images")
    figure.axes[0].legend(loc="upper left")
    caption = (
        "IOL: share of the heat map's region inside the lungs. Left of the dashed line an image counts as outside."
    )
    return Plot(figure, "Where the network looks", caption, wide=len(shown) > 1)


def _ols_curve(runs: Runs, curve: str, xlabel: str, used: float) -> Plot | None:
    if not any(_drawable(point) for side in SIDES for point in runs[0]["curves"][curve][side]):
        return None
    if len(runs) == 1:
        figure, axis = _figure()
        for side, colour in SIDE_COLOURS.items():
            _band(axis, runs[0]["curves"][curve]["x"], runs[0]["curves"][curve][side], 0, 1, colour=colour, label=side)
        axes = [axis]
        axis.legend()
    else:
        figure = Figure((WIDE, 3.4), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        for axis, side in zip(axes, SIDES, strict=True):
            axis.set_title(side)
            for index, run in enumerate(runs):
                _band(axis, run["curves"][curve]["x"], run["curves"][curve][side], index, len(runs))
        _legend(figure, runs)
    for axis in axes:
        axis.axvline(used, color=GREY, ls="--", lw=1)
        axis.set(xlabel=xlabel, ylim=(0, 102), xlim=(0, 1))
    axes[0].set_ylabel("OLS score, %")
    return Plot(
        figure,
        f"OLS over {xlabel.partition(':')[0]}",
        "Does the OLS hang on one choice? Band: 95 % interval; dashed: the value used.",
        wide=len(runs) > 1,
    )


def _roc(subjects: Sequence[Evaluated], runs: Runs) -> Plot | None:
    figure, axis = _figure((SMALL[0], 4.4))
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for subject, run, side, style in _decided(subjects, runs):
        truth, p = _known(subject, side)
        fpr, tpr, _ = roc_curve(truth, p)
        axis.plot(fpr, tpr, label=_curve_label(run, side, "auroc", len(runs)), **style)
    if len(axis.lines) == 1:
        return None
    axis.set(xlabel="1 − specificity", ylabel="sensitivity", aspect="equal", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axis.legend(title="AUROC (95 % interval)", loc="lower right")
    return Plot(figure, "ROC of the decision", "All thresholds at once; the grey diagonal is chance.")


def _precision_recall(subjects: Sequence[Evaluated], runs: Runs) -> Plot | None:
    figure, axis = _figure((SMALL[0], 4.4))
    for subject, run, side, style in _decided(subjects, runs):
        truth, p = _known(subject, side)
        precision, recall, _ = precision_recall_curve(truth, p)
        axis.step(recall, precision, where="post", label=_curve_label(run, side, "ap", len(runs)), **style)
    if not axis.lines:
        return None
    axis.axhline(np.mean(_known(subjects[0], "original")[0]), color=GREY, lw=0.8)
    axis.set(xlabel="sensitivity (recall)", ylabel="PPV (precision)", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axis.legend(title="average precision (95 % interval)", loc="lower left")
    return Plot(figure, "Precision over recall", "The grey line is chance: the share of positives among these images.")


def _reliability(first: Evaluated, settings: dict[str, Any]) -> Plot | None:
    figure, axis = _figure((SMALL[0], 4.4))
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for index, side in enumerate(SIDES):
        truth, p = _known(first, side)
        bins = np.minimum((p * BINS).astype(int), BINS - 1)
        for number_, bin_ in enumerate(np.unique(bins)):
            few = bins == bin_
            k, n = int(truth[few].sum()), int(few.sum())
            low, high = wilson(k, n)
            x, colour = p[few].mean() + 0.008 * (index - 0.5), SIDE_COLOURS[side]
            axis.plot([x, x], [low, high], color=colour, lw=1)
            axis.plot(x, k / n, "o", color=colour, ms=3 + 5 * np.sqrt(n / len(p)), label=None if number_ else side)
    if len(axis.lines) == 1:
        return None
    label = settings["label"]
    axis.set(xlabel=f"p({label}), mean of the bin", ylabel=f"share labelled {label}", aspect="equal")
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axis.legend(loc="upper left")
    return Plot(
        figure,
        "Reliability",
        "Do probabilities mean what they say? On the diagonal they do. Larger dots hold more images; bars: Wilson's "
        "95 % interval.",
    )


def _confusion(first: Evaluated, settings: dict[str, Any]) -> Plot | None:
    label, panels = settings["label"], []
    for side in SIDES:
        truth, p = _known(first, side)
        if len(truth):
            panels.append((side, [f"not {label}", label], _count(truth, p >= settings["threshold"], 2)))
    return _matrices(panels, "Confusion matrices of the decision")


def _task_confusion(first: Evaluated) -> Plot | None:
    classified = classifications(first)
    if classified is None:
        return None
    task, (_, truth, said) = first.experiment.robustness.task, classified
    labels = first.experiment.tasks[task].labels
    return _matrices([("most probable label", labels, _count(truth, said, len(labels)))], f"Confusion matrix of {task}")


def classifications(first: Evaluated) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Of the deciding task, where its labels exclude each other: rows with label and answer, label, answer; (n,) int.

    The answer is the most probable label; both count the task's labels.
    """
    answers = first.answers.tasks.get(first.experiment.robustness.task)
    if answers is None or not excludes(answers.targets):
        return None
    known = np.flatnonzero(~np.isnan(answers.targets).any(axis=1) & ~np.isnan(answers.logits).any(axis=1))
    return known, answers.targets[known].argmax(axis=1), answers.logits[known].argmax(axis=1)


def _matrices(panels: list[tuple[str, list[str], np.ndarray]], title: str) -> Plot | None:
    if not panels:
        return None
    figure = Figure((SMALL[0], 2.9 if len(panels) > 1 else 4.4), layout="constrained")
    for axis, (side, names, counts) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            text, colour = f"{counts[row, column]}\n{shares[row, column]:.0%}", _ink(shares[row, column])
            axis.text(column, row, text, ha="center", va="center", color=colour)
        axis.set_xticks(range(len(names)), names)
        axis.set_yticks(range(len(names)), names, rotation=90, va="center")
        axis.set(title=side, xlabel="network", ylabel="label")
        axis.grid(visible=False)
    return Plot(figure, title, "Images, and their share of the row: of those labelled so, how many were called what.")


def _ink(share: float) -> str:
    return "white" if share > 0.6 else "black"


def _task_scores(runs: Runs) -> Plot | None:
    names = {"auroc": "AUROC", "map": "mAP", "map_50": "mAP, IoU 0.5", "rsna_map": "RSNA mAP"}
    keys = {key: None for run in runs for key in run["scores"] if key.startswith("task/")}
    rows = {}
    for key in keys:
        task, _, name = key.removeprefix("task/").rpartition("/")
        if name in names:
            rows[key] = f"{task.replace('/', ': ')}, {names[name]}"
    if not rows:
        return None
    figure, axis = _figure((SMALL[0], 1.3 + 0.24 * len(rows) * max(1.0, 0.4 * len(runs))))
    for index, run in enumerate(runs):
        for row, key in enumerate(rows):
            _dot(axis, run["scores"].get(key), row + _shift(index, len(runs)), _colour(index))
    axis.axvline(0.5, color=GREY, lw=0.8)
    _rows(axis, [*rows.values()], "score")
    axis.set_xlim(0, 1.01)
    _legend(figure, runs)
    caption = "Bars: 95 % interval. Grey line: an AUROC of chance; average precision of boxes (mAP) starts at 0."
    return Plot(figure, "Every task's main score", caption)


def _task_roc(first: Evaluated, run: dict[str, Any]) -> Plot | None:
    panels = []
    for name, answers in first.answers.tasks.items():
        for index, label in enumerate(first.experiment.tasks[name].labels if answers.logits.size else []):
            truth, p = _task_known(first.experiment.tasks[name], answers, index)
            if 0 < truth.sum() < len(truth):
                several = len(first.experiment.tasks[name].labels) > 1
                score = run["scores"].get(f"task/{name}/{label}/auroc" if several else f"task/{name}/auroc")
                panels.append((f"{name}: {label}" if label != name else name, truth, p, score))
    if not panels:
        return None
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure((2.7 * columns, 2.7 * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axis, (title, truth, p, score) in zip(axes, panels, strict=False):
        fpr, tpr, _ = roc_curve(truth, p)
        axis.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        axis.plot(fpr, tpr, color=COLOURS[0])
        axis.set_title(short(title, 30))
        axis.set(aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        text = f"AUROC {_interval(score)}\n{int(truth.sum())} of {len(truth)} positive"
        axis.text(1, 0.02, text, ha="right", va="bottom", fontsize=8)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel("1 − specificity", fontsize=9)
    figure.supylabel("sensitivity", fontsize=9)
    return Plot(figure, "ROC of every task's labels", "Each on the task's own split.", wide=columns > 2)


def _training(first: Evaluated) -> Plot | None:
    measures = [measure for measure in MEASURES if any(key.endswith(measure) for key in first.history)]
    if not measures:
        return None
    figure = Figure((SMALL[0] * len(measures), 3.2), layout="constrained")
    for axis, measure in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
        for split, colour in zip(SPLITS, COLOURS, strict=False):
            if (values := first.history.get(f"{split}/{measure}")) is not None:
                axis.plot(values.index, values.to_numpy(), marker=".", color=colour, label=split)
        axis.set(title=measure, xlabel="epoch, from 0")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    caption = (
        "From the run's history. Training: mean of the epoch's logged batches, as they were augmented and while the "
        "weights changed; validation: all its images after the epoch. The checkpoint evaluated need not be the last."
    )
    title = f"The training of {first.experiment.robustness.task} over epochs"
    return Plot(figure, title, caption, wide=len(measures) > 1)


def _figure(size: tuple[float, float] = SMALL) -> tuple[Figure, Axes]:
    figure = Figure(size, layout="constrained")
    return figure, figure.subplots()


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _quality(key: str) -> str | None:
    found = _QUALITY.fullmatch(key)
    return found and found[1]


def _drawable(score: dict[str, Any] | None) -> bool:
    return score is not None and isfinite(score["value"])


def _shift(index: int, count: int) -> float:
    """Where in a row the index-th of several marks stands."""
    return 0.6 * ((index + 0.5) / count - 0.5)


def _dot(axis: Axes, score: dict[str, Any] | None, y: float, colour: str) -> None:
    if score is not None and _drawable(score):
        axis.plot([score["low"], score["high"]], [y, y], color=colour, lw=1.8, solid_capstyle="butt")
        axis.plot(score["value"], y, "o", color=colour, ms=5.5)


def _rows(axis: Axes, names: list[str], xlabel: str, *, flip: bool = True) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel(xlabel)
    axis.grid(visible=False, axis="y")
    if flip:  # axes that are shared flip once
        axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(left=min(0, axis.get_xlim()[0]))


def _band(
    axis: Axes, x: Sequence[float], points: Sequence[dict[str, Any] | None], index: int, count: int,
    *, colour: str | None = None, label: str | None = None,
) -> None:  # fmt: skip
    """A line with its interval as a band; bands of many lines would hide each other."""
    value, low, high = ([point[name] if point else nan for point in points] for name in ("value", "low", "high"))
    colour = colour or _colour(index)
    axis.plot(x, value, LINES[index // len(COLOURS) % len(LINES)], marker=".", color=colour, label=label)
    if count <= 2 or index == 0:
        axis.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)


def _seeds(runs: Runs) -> list[dict[str, Any]]:
    """The disagreement of each other seed of the first run's experiment."""
    return [run["scores"]["disagreement"] for run in runs if run.get("other_seed")]


def _noise_floor(runs: Runs, line: Any, span: Any) -> None:
    for score in filter(_drawable, _seeds(runs)):
        line(score["value"], color="black", ls="--", lw=1)
        span(score["low"], score["high"], color="black", alpha=0.05, lw=0)


def _floor_words(runs: Runs) -> str:
    if not _seeds(runs):
        return ""
    return " Dashed: noise floor, how often another seed of the same experiment decides the same originals differently."


def _legend(figure: Figure, runs: Runs) -> None:
    if len(runs) < 2:
        return
    axis = figure.axes[0]
    handles = [
        axis.plot([], [], LINES[index // len(COLOURS) % len(LINES)], marker="o", ms=5, color=_colour(index))[0]
        for index in range(len(runs))
    ]
    columns = 2 if figure.get_figwidth() < WIDE else 4
    figure.legend(handles, [short(run["name"]) for run in runs], loc="outside lower center", ncols=columns)


def _side_legend(figure: Figure) -> None:
    handles = [figure.axes[0].plot([], [], "o-", ms=5, color=colour)[0] for colour in SIDE_COLOURS.values()]
    figure.legend(handles, SIDES, loc="outside lower center", ncols=2)


def short(name: str, length: int = 34) -> str:
    """Cuts out the middle of a long name."""
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-(length // 2 - 1) :]}"


def _decided(subjects: Sequence[Evaluated], runs: Runs) -> list[tuple[Evaluated, dict[str, Any], str, dict[str, Any]]]:
    """Run, its side, and how to draw it: one run's sides differ in colour, several runs' sides in the line."""
    found = []
    for index, (subject, run) in enumerate(zip(subjects[:COMPARED], runs, strict=False)):
        for side in SIDES:
            truth, _ = _known(subject, side)
            if 0 < truth.sum() < len(truth):
                one = {"color": SIDE_COLOURS[side]}
                several = {"color": _colour(index), "ls": "-" if side == "original" else "--"}
                found.append((subject, run, side, several if len(runs) > 1 else one))
    return found


def _curve_label(run: dict[str, Any], side: str, score: str, count: int) -> str:
    who = side if count == 1 else f"{short(run['name'], 24)}, {side}"
    return f"{who}: {_interval(run['scores'].get(f'decision/{side}/{score}'))}"


def _interval(score: dict[str, Any] | None) -> str:
    if score is None or not _drawable(score):
        return "–"
    return f"{score['value']:.2f}" + interval(score, "{:.2f}".format)


def _known(subject: Evaluated, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Label (bool) and probability of the images that have both."""
    table = subject.table[["label", f"p_{side}"]].dropna()
    return table["label"].to_numpy() == 1, table[f"p_{side}"].to_numpy(float)


def _task_known(task: Task, answers: TaskAnswers, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Label (bool) and log-probability or logit, which rank alike, of the images that have both."""
    logits = torch.from_numpy(answers.logits).double()
    odds = logits - torch.logsumexp(logits, dim=1, keepdim=True) if task.kind is TaskKind.multiclass else logits
    target, score = answers.targets[:, index], odds[:, index].numpy()
    known = ~np.isnan(target) & np.isfinite(score)
    return target[known] == 1, score[known]


def _count(truth: np.ndarray, said: np.ndarray, size: int) -> np.ndarray:
    counts = np.zeros((size, size), int)
    np.add.at(counts, (truth.astype(int), said.astype(int)), 1)
    return counts
