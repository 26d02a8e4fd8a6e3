"""``covidmt report``: which configuration is more stable, by how much, and how sure that is."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from covidmt.comparison import figures
from covidmt.comparison.analysis import Analysis, analyse
from covidmt.comparison.configurations import ROBUSTNESS, SCORES, also_differs, other_differences
from covidmt.comparison.findings import headlines, reference_words, reservations
from covidmt.comparison.hide_and_seek import change_text, draw_hide_and_seek, share_text
from covidmt.comparison.pair_words import decision_labels, describe_pairs
from covidmt.comparison.privacy import draw_trade_off
from covidmt.comparison.stability import STABILITY, draw_stability, stability_rows
from covidmt.comparison.style import styled
from covidmt.comparison.tables import (
    baseline_rows,
    beside_paper,
    configuration_notes,
    csv_tables,
    fact_text,
    interval_words,
    latex,
    mean_text,
    shown_scores,
)
from covidmt.comparison.trained_runs import collect_runs, define_scores
from covidmt.pages.html import data_uri, fold_sections, page_environment
from covidmt.pages.numbers import p_value, points, points_interval, relative_percent
from covidmt.tracking.store import Store
from experiments.errors import UserError
from experiments.names import Terminal, harmless_table


def report_runs(names: Sequence[str], out: Path, store: Store) -> Path:
    """Write the report of sweeps or runs into a folder, and log it to the sweeps' parent runs.

    Args:
        names: Sweep names, or ids of parent runs or of single runs.
        out: Folder for ``report.html``, ``table.tex``, CSV tables and figures; files of these names are replaced.
        store: The tracking store.

    Returns:
        The HTML file.

    Raises:
        UserError: Nothing to report, or the folder or the store cannot be written.
    """
    from mlflow.exceptions import MlflowException

    analysis = analyse(collect_runs(names, store))
    with tempfile.TemporaryDirectory() as new:  # --out may have other things in it, which are none of the run's
        _write_files(analysis, Path(new))
        try:
            shutil.copytree(new, out, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"--out {out}: cannot be written ({reason}); name another folder") from error

        # beside the sweep in the store
        try:
            for parent in analysis.collected.parents:
                store.client.log_artifacts(parent, new, "report")
        except (MlflowException, OSError) as error:
            raise store.explain(error) from error

    # what a comparison compares, also for who reads no page
    console = Terminal(markup=False)
    for note in configuration_notes(analysis):
        console.print(f"note: {note}", soft_wrap=True, highlight=False)
    return out / "report.html"


def _write_files(analysis: Analysis, out: Path) -> None:
    """Write all files of the report."""
    images = {name: _save(figure, out / name) for name, figure in _draw_figures(analysis).items()}
    for name, table in csv_tables(analysis).items():
        harmless_table(table).to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
    (out / "table.tex").write_text(latex(analysis))
    (out / "report.html").write_text(_page(analysis, images))


def _draw_figures(analysis: Analysis) -> dict[str, Figure]:
    """Return the figures by file name, of those for which there is something to draw."""
    configurations = analysis.configurations
    hidden = analysis.representations
    drawn = {
        "overview": figures.draw_overview(configurations),
        "task_count": figures.draw_task_count(configurations),
        "stability": draw_stability(configurations),
        "privacy": draw_trade_off(configurations, analysis.collected.split),
        "base_and_covidmt": figures.draw_base_and_covidmt(analysis.couples) if analysis.couples else None,
        "hide_and_seek": draw_hide_and_seek(hidden) if hidden else None,
        "baselines": figures.draw_baselines(analysis.single) if analysis.single else None,
        "against_base": figures.draw_differences(analysis.against_base) if analysis.against_base else None,
        "against_best": figures.draw_differences(analysis.against_best) if analysis.against_best else None,
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}


@styled
def _save(figure: Figure, path: Path) -> str:
    """Write a figure as PNG and SVG; return the SVG as a data URI."""
    figure.savefig(path.with_suffix(".png"), dpi=150)
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    path.with_suffix(".svg").write_bytes(svg.getvalue())
    return data_uri("svg+xml", svg.getvalue())


def _page(analysis: Analysis, images: Mapping[str, str]) -> str:
    environment = page_environment()
    environment.filters |= {
        "mean": mean_text,
        "points": points,
        "percent": relative_percent,
        "p": p_value,
        "interval": lambda row: points_interval(row.low, row.high),
        "fact": fact_text,
        "share": share_text,
        "change": change_text,
        "also": lambda row: also_differs(row.second, row.first).removeprefix("; "),
    }

    page = environment.get_template("report.html").render(
        analysis=analysis,
        collected=analysis.collected,
        images=images,
        SCORES=SCORES,
        ROBUSTNESS=ROBUSTNESS,
        headlines=headlines(analysis),
        reservations=[*reservations(analysis), *configuration_notes(analysis)],
        reference=reference_words(analysis),
        pairs=describe_pairs(analysis.collected),
        label=decision_labels(analysis.collected),
        differ_more=any(other_differences(c, analysis.single[0]) for c in analysis.single[1:]),
        of_papers=any(c.of_papers for c in analysis.configurations),
        definitions=define_scores(analysis.collected.counted),
        shown=shown_scores(analysis.configurations),
        beside=beside_paper(analysis),
        baselines=baseline_rows(analysis),
        hidden=analysis.representations,
        hidden_scores=list(dict.fromkeys(key for row in analysis.representations for key in row.scores)),
        stability=stability_rows(analysis.configurations),
        STABILITY=STABILITY,
        interval_words=interval_words(analysis),
    )
    return fold_sections(page)
