"""Plots of out-of-lung saliency: beside its controls, over its settings, and the IOL of all images."""

from __future__ import annotations

from covidmt.evaluation.result import Evaluation
from covidmt.pages.style import (
    COMPARED,
    GREY,
    SIDE_COLOURS,
    SMALL,
    WIDE,
    Plot,
    draw_band,
    draw_dot,
    figure_row,
    is_drawable,
    name_rows,
    offset,
    run_legend,
    short_name,
    side_legend,
)
from metrics.paired import SIDES

_CONTROLS = {
    "score": "the network",
    "shuffled": "other patients' maps",
    "centre_disc": "centre disc, equal area",
    "whole_image": "the whole image",
}


def draw_controls(evaluation: Evaluation) -> Plot | None:
    """Draw the OLS score beside its controls, axes a run; None where no run has one."""
    runs = [run for run in evaluation.runs if any(is_drawable(run.estimate(f"ols/{side}/score")) for side in SIDES)]
    runs = runs[:COMPARED]
    if not runs:
        return None

    figure, axes = figure_row(len(runs), width=_width(len(runs)), height=2.9, sharey=True)
    for axis, run in zip(axes, runs, strict=True):
        for row, name in enumerate(_CONTROLS):
            for index, side in enumerate(SIDES):
                draw_dot(axis, run.estimate(f"ols/{side}/{name}"), row + offset(index, 2), SIDE_COLOURS[side])
        name_rows(axis, list(_CONTROLS.values()), "OLS score, %", flip=axis is axes[0])
        axis.set_xlim(-3, 103)
        if len(runs) > 1:
            axis.set_title(short_name(run.name))
    side_legend(figure)
    return Plot(
        figure,
        "OLS beside its controls",
        f"{_explained(evaluation)} Share of images with less than {100 * evaluation.settings.eta:g} % (eta) of the "
        "heat map's region inside the lungs. The tables have the score's difference to other patients' maps: below "
        "zero the maps go with this image's lungs. That the network decides by them is not shown. Bars: 95 % interval.",
        wide=len(runs) > 1,
    )


def draw_histogram(evaluation: Evaluation) -> Plot | None:
    """Draw the IOL of all images, axes a run; None where no run has one."""
    eta = evaluation.settings.eta
    runs = [run for run in evaluation.runs[:COMPARED] if any(run.table[f"iol_{side}"].notna().any() for side in SIDES)]
    if not runs:
        return None

    figure, axes = figure_row(len(runs), width=_width(len(runs)), height=3.2, sharey=True)
    for axis, run in zip(axes, runs, strict=True):
        values = [run.table[f"iol_{side}"].dropna().to_numpy() for side in SIDES]
        axis.hist(values, [i / 20 for i in range(21)], color=[*SIDE_COLOURS.values()], label=SIDES)
        axis.axvline(eta, color="black", ls="--", lw=1, label=f"eta = {eta:g}")
        axis.set(xlabel="IOL", xlim=(0, 1))
        if len(runs) > 1:
            axis.set_title(short_name(run.name))
    axes[0].set_ylabel("images")
    axes[0].legend(loc="upper left")
    caption = (
        f"{_explained(evaluation)} IOL: share of the heat map's region inside the lungs. Left of the dashed line an "
        "image counts as outside."
    )
    return Plot(figure, "Where the heat maps lie", caption, wide=len(runs) > 1)


def draw_over_eta(evaluation: Evaluation) -> Plot | None:
    """Draw the OLS score over eta; None where the first run has none."""
    xlabel = "eta: IOL below which a map is out"
    return _draw_curve(evaluation, "ols_over_eta", xlabel, evaluation.settings.eta)


def draw_over_region_threshold(evaluation: Evaluation) -> Plot | None:
    """Draw the OLS score over the region's threshold; None where the first run has none."""
    xlabel = "region threshold: share of the maximum"
    return _draw_curve(evaluation, "ols_over_region_threshold", xlabel, evaluation.settings.region_threshold)


def _draw_curve(evaluation: Evaluation, name: str, xlabel: str, used: float) -> Plot | None:
    """Draw one run's sides in one pair of axes, several runs' in one pair a side."""
    runs = evaluation.runs
    curves = [run.curves[name] for run in runs]
    if not any(is_drawable(point) for side in SIDES for point in curves[0].lines[side]):
        return None

    wide = len(runs) > 1
    figure, axes = figure_row(2 if wide else 1, width=_width(len(runs)), height=3.4 if wide else SMALL[1], sharey=True)
    if wide:
        for axis, side in zip(axes, SIDES, strict=True):
            axis.set_title(side)
            for index, curve in enumerate(curves):
                draw_band(axis, curve.x, curve.lines[side], index, band=len(runs) <= 2 or index == 0)
        run_legend(figure, [run.name for run in runs])
    else:
        for index, side in enumerate(SIDES):
            draw_band(axes[0], curves[0].x, curves[0].lines[side], index, label=side)
        axes[0].legend()

    for axis in axes:
        axis.axvline(used, color=GREY, ls="--", lw=1)
        axis.set(xlabel=xlabel, ylim=(0, 102), xlim=(0, 1))
    axes[0].set_ylabel("OLS score, %")
    caption = (
        f"{_explained(evaluation)} Does the OLS depend on one choice? Band: 95 % interval; dashed: the value used."
    )
    return Plot(figure, f"OLS over {xlabel.partition(':')[0]}", caption, wide)


def _explained(evaluation: Evaluation) -> str:
    """Which answer the maps explain, and when it is positive."""
    settings = evaluation.settings
    return f"Maps explain {settings.explained} (robustness.target: {settings.target}; {settings.decision})."


def _width(runs: int) -> float:
    return WIDE if runs > 1 else SMALL[0]
