"""``covidmt report``: which configuration is more stable, by how much, and how sure that is."""

from __future__ import annotations

import base64
import io
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from covidmt.comparison import figures, hide_and_seek
from covidmt.comparison.comparisons import Comparison, PairedResults, compare
from covidmt.comparison.configurations import ROBUSTNESS, SCORES, Configuration, Mean, configurations, main_line
from covidmt.comparison.paper import BASELINES, Fact, paper_value
from covidmt.comparison.privacy import trade_off
from covidmt.comparison.trials import Results, collect
from covidmt.pages.html import page_environment
from covidmt.tracking.store import make_client, store_error
from experiments.errors import UserError
from metrics.paired import SIDES

NOT_IN_TEXT = "not in text"
NBSP = "\u00a0"
IMAGES = {"ols_original": "originals", "ols_received": "received images"}
MUST_AGREE = {
    "mask_source": "where their lung masks are from",
    "decoder": "how images are decoded and resized",
    "mlflow.source.git.commit": "the code's version",
}
Couple = tuple[Configuration, Configuration]


@dataclass
class Report:
    """Everything that is drawn, written and said.

    Attributes:
        results: What it is made from.
        found: The configurations.
        ranking: Those with a PI score, the most stable first.
        couples: Base network alone and with most tasks, for every base network that has both.
        single: The base networks alone.
        against_base: Every other configuration against its base network alone, the couples first.
        against_best: The most stable configuration against each other one.
        paired: What the trials did on the same pairs.
    """

    results: Results
    found: list[Configuration]
    ranking: list[Configuration]
    couples: list[Couple]
    single: list[Configuration]
    against_base: list[Comparison]
    against_best: list[Comparison]
    paired: PairedResults


def report(names: Sequence[str], out: Path, uri: str) -> Path:
    """Write the report of sweeps or runs into a folder, and log it to the sweeps' parent runs.

    Args:
        names: Sweep names, or ids of parent runs or of single runs.
        out: Folder for ``report.html``, ``table.tex``, CSV tables and figures; files of these names are replaced.
        uri: Tracking URI.

    Returns:
        The HTML file.

    Raises:
        UserError: Nothing to report, or the folder or the store cannot be written.
    """
    from mlflow.exceptions import MlflowException

    made = analyse(collect(names, uri))
    with tempfile.TemporaryDirectory() as new:  # --out may have other things in it, which are none of the run's
        write(made, Path(new))
        try:
            shutil.copytree(new, out, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"--out {out}: cannot be written ({reason}); name another folder") from error
        client = make_client(uri)
        try:
            for parent in made.results.parents:
                client.log_artifacts(parent, new, "report")
        except (MlflowException, OSError) as error:
            raise store_error(uri, error) from error
    return out / "report.html"


def analyse(results: Results) -> Report:
    """Group the trials, find what is compared with what, compare."""
    found = configurations(results)
    ranking = sorted(found, key=lambda c: c.scores["pi"].value)
    lines = {network: main_line(found, network) for network in dict.fromkeys(c.network for c in found)}
    bases = {network: line[0] for network, line in lines.items() if len(line[0].tasks) == 1}
    couples = [(base, lines[network][-1]) for network, base in bases.items() if len(lines[network][-1].tasks) > 1]
    against_base = [(bases[c.network], c) for c in found if c.network in bases and c is not bases[c.network]]
    against_best = [(c, ranking[0]) for c in ranking[1:]]
    if {frozenset(map(id, couple)) for couple in against_best} <= {frozenset(map(id, c)) for c in against_base}:
        against_best = []  # the same comparisons again
    paired = PairedResults(found)
    return Report(
        results=results,
        found=found,
        ranking=ranking,
        couples=couples,
        single=list(bases.values()),
        # Stated before any figure was seen, so the couples are a family of their own.
        against_base=compare(couples, paired) + compare([c for c in against_base if c not in couples], paired),
        against_best=compare(against_best, paired),
        paired=paired,
    )


def write(made: Report, out: Path) -> None:
    """All files of the report."""
    images = {}
    with matplotlib.rc_context(figures.STYLE):
        drawn = _figures(made)
        for name, figure in drawn.items():
            figure.savefig(out / f"{name}.png", dpi=150)
            svg = io.BytesIO()
            figure.savefig(svg, format="svg", metadata={"Date": None})
            (out / f"{name}.svg").write_bytes(svg.getvalue())
            images[name] = "data:image/svg+xml;base64," + base64.b64encode(svg.getvalue()).decode()
    for name, table in tables(made).items():
        table.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
    (out / "table.tex").write_text(latex(made))
    environment = page_environment()
    environment.filters |= {"mean": mean_text, "points": _points, "percent": _percent, "p": _p, "interval": _interval}
    page = environment.get_template("report.html").render(
        made=made, images=images, SCORES=SCORES, findings=findings(made), shown=_shown(made.found),
        beside=beside_paper(made), warnings=warnings(made), alone=_alone(made), ROBUSTNESS=ROBUSTNESS,
        hidden=_hidden(made), share=hide_and_seek.text,
    )  # fmt: skip
    (out / "report.html").write_text(page)


def findings(made: Report) -> list[dict[str, Any]]:
    """The cards at the top, plain words: one a base network with and without more tasks, one over all."""
    cards = []
    for base, many in made.couples:
        rows = {row.score: row for row in made.against_base if (row.first, row.second) == (base, many)}
        cards.append(_card(f"{base.network}: {len(many.tasks)} tasks against 1", rows))
    if made.against_best:
        second = made.ranking[1]
        rows = {row.score: row for row in made.against_best if row.first is second}
        cards.append(
            _card(f"The most stable of {len(made.found)}: {made.ranking[0].label}; next is {second.label}", rows)
        )
    elif not made.couples and made.against_base:
        row = made.against_base[0]
        rows = {r.score: r for r in made.against_base if r.second is row.second}
        cards.append(_card(f"{row.second.label} against {row.first.label}", rows))
    return cards


def _card(title: str, rows: dict[str, Comparison]) -> dict[str, Any]:
    pi = rows["pi"]
    better, other = (pi.second, pi.first) if pi.difference <= 0 else (pi.first, pi.second)
    low, high = sorted(pi.values)
    says = {
        "clear": f"{better.label}: more stable than {other.label}.",
        "likely": f"{better.label}: probably more stable than {other.label}.",
        "not shown": f"No difference shown between {better.label} and {other.label}.",
        "unknown": f"{better.label} and {other.label}: too few trainings to tell.",
    }[pi.verdict]
    verdict = pi.verdict
    if _with_one_answer(better):
        verdict = "not shown"
        says = f"{better.label} gives every image the same answer in some trainings: its stability is no merit."
    saliency = [_change_words(row, images) for score, images in IMAGES.items() if (row := rows.get(score)) is not None]
    much = f"How much: {low:.2f}{NBSP}% of the answers change on the way through the channel, the same with both."
    if pi.difference:
        much = (
            f"How much: on the way through the channel {low:.2f}{NBSP}% of the answers change with {better.label}, "
            f"{high:.2f}{NBSP}% with {other.label}; {high - low:.2f} points fewer "
            f"({100 * (high - low) / high:.0f}{NBSP}% fewer)."
        )
    return {"title": title, "verdict": verdict, "says": says, "lines": [much, _sure(pi), *saliency]}


def _with_one_answer(configuration: Configuration) -> list[Any]:
    """Its trainings that give every image the same answer."""
    keys = [f"pairs/positive/{side}" for side in SIDES]
    return [
        trial
        for trial in configuration.trials
        if any(all(trial.metrics.get(f"{split}/{key}") in (0.0, 1.0) for key in keys) for split in ("test", "val"))
    ]


def _change_words(row: Comparison, images: str) -> str:
    first, second = row.values
    return (
        f"Reasons outside the lungs, {images}: {second:.1f}{NBSP}% of images with {row.second.label}, "
        f"{first:.1f}{NBSP}% with {row.first.label} "
        f"({_points(row.difference)} points, {_percent(row.relative)}; {row.verdict})."
    )


def _sure(row: Comparison) -> str:
    """How sure a difference is, plain words."""
    if row.verdict == "unknown":
        return (
            "How sure: cannot be told. One of them was trained once and there is no table of pairs; run more seeds, or "
            "test on pairs."
        )
    interval = f"95{NBSP}% interval of the difference {_interval(row)} points, over {row.basis}"
    test = f"{'McNemar on the same pairs' if row.discordant else 'Welch over seeds'}: p {_p(row.p_adjusted)}"
    words = {
        "clear": "How sure: clear. Interval and test agree",
        "likely": "How sure: likely, not certain. Interval and test do not agree",
        "not shown": "How sure: not shown. Chance could make this difference, which is no proof that they are equal",
    }[row.verdict]
    single = min(len(row.first.trials), len(row.second.trials)) == 1
    once = " One of them was trained with a single seed: another training could change this." if single else ""
    return f"{words} ({interval}; {test}).{once}"


def warnings(made: Report) -> list[str]:
    """What a reader must know before believing the figures."""
    said = list(made.results.notes)
    if made.results.split == "val":
        said.append(
            "No trial was tested on WaCXR: the figures are of the validation pairs (simulated channel) at each run's "
            "best epoch; the models were selected on the same images."
        )
    for c in made.found:
        if same := _with_one_answer(c):
            said.append(
                f"{c.label}: {len(same)} of {len(c.trials)} trainings give every image the same answer; "
                "a PI score of 0 is no merit there."
            )
        if lacking := [SCORES[key].title.removesuffix(", %") for key in ROBUSTNESS if key not in c.scores]:
            said.append(
                f"{c.label}: no mean of {' and '.join(lacking)}, for not all of its trainings have one "
                "(heat maps that are zero everywhere and images without lungs give none)."
            )
        batches = {trial.tags.get("global_batch", "") for trial in c.trials}
        if len(batches) > 1:
            said.append(f"{c.label}: its trainings have different global batches ({', '.join(sorted(batches))}).")
        if any(trial.pairs is None for trial in c.trials):
            said.append(f"{c.label}: a training has no table of pairs, so it takes no part in tests on the same pairs.")
    for tag, what in MUST_AGREE.items():
        values = Counter(trial.tags[tag] for trial in made.results.counted if tag in trial.tags)
        if len(values) > 1:
            counts = "; ".join(f"{value}: {count}" for value, count in values.most_common())
            said.append(f"The trainings differ in {what} ({tag}; {counts}): a difference may come from that alone.")
    if made.paired.left_out:
        said.append(f"{made.paired.left_out} pairs are not in all trainings; comparisons leave them out.")
    if single := [c.label for c in made.found if len(c.trials) == 1]:
        said.append(f"A single seed, hence no interval over seeds: {'; '.join(single)}.")
    if open_ := [trial for trial in made.results.trials if trial.left_out]:
        said.append(f"{len(open_)} of {len(made.results.trials)} trials are not counted; they are listed below.")
    return said


def beside_paper(made: Report) -> list[dict[str, Any]]:
    """Base network against most tasks, ours and the paper's (Figs 6 and 7), networks one by one and their mean."""
    rows = []
    groups = [[couple] for couple in made.couples] + figures.alike(made.couples)
    for score in ROBUSTNESS:
        for members in groups:
            if not all(score in c.scores for couple in members for c in couple):
                continue
            networks = [base.network for base, _ in members]
            ours = [fmean(couple[side].scores[score].value for couple in members) for side in (0, 1)]
            counts = [len(members[0][side].tasks) for side in (0, 1)]
            paper = [paper_value(score, networks, count) for count in counts]
            rows.append(
                {
                    "score": score,
                    "networks": networks[0] if len(networks) == 1 else f"mean of {' and '.join(networks)}",
                    "tasks": counts,
                    "ours": _change(*ours),
                    "paper": [_fact(fact) for fact in paper],
                    "paper_change": _change(paper[0].value, paper[1].value) if paper[0] and paper[1] else None,
                }
            )
    return rows


def _alone(made: Report) -> list[dict[str, Any]]:
    """The base networks alone (Table 2, Fig 4): their values, mean and worst, beside the paper's."""
    rows = []
    for c in made.single:
        cells = {s: (mean_text(c.scores.get(s), s), _fact(paper_value(s, [c.network], 1))) for s in ROBUSTNESS}
        values = {s: c.scores[s].value for s in ROBUSTNESS if s in c.scores}
        rows.append({"name": c.network, "cells": cells, "values": values})
    five = [c for c in made.single if c.network in BASELINES]
    over = "the five" if len(five) == 5 else f"{len(five)} of the paper's five"
    for statistic, choose in (("mean", fmean), ("worst", max)) if len(five) > 1 else ():
        known = [s for s in ROBUSTNESS if all(s in c.scores for c in five)]
        values = {s: choose(c.scores[s].value for c in five) for s in known}
        cells = {}
        for score in ROBUSTNESS:
            ours = f"{values[score]:.{SCORES[score].digits}f}" if score in values else "–"
            cells[score] = (ours, _fact(paper_value(score, BASELINES, 1, statistic)))
        rows.append({"name": f"{statistic} of {over}", "cells": cells, "values": values})
    return rows


def tables(made: Report) -> dict[str, pd.DataFrame]:
    """The report's numbers: ``trials``, ``configurations``, ``comparisons``, ``paper``."""
    trials = [
        {
            "run_id": t.run_id, "trial": t.name, "status": t.status, "left_out": t.left_out, "seed": t.seed,
            **t.settings,
            **{key: value for key, value in t.metrics.items() if key.startswith(f"{made.results.split}/")},
        }
        for t in made.results.trials
    ]  # fmt: skip
    means = [
        {
            "configuration": c.label, "network": c.network, "n_tasks": len(c.tasks), "tasks": "+".join(c.tasks),
            "score": key, "mean": mean.value, "low": mean.low, "high": mean.high, "seeds": len(mean.values),
        }
        for c in made.found
        for key, mean in c.scores.items()
    ]  # fmt: skip
    rows = [
        {
            "score": row.score, "first": row.first.label, "second": row.second.label,
            "first_mean": row.values[0], "second_mean": row.values[1],
            "difference": row.difference, "low": row.low, "high": row.high, "interval_over": row.basis,
            "relative_percent": row.relative, "p": row.p, "p_holm": row.p_adjusted, "verdict": row.verdict,
            "pairs_more_in_first": row.discordant and row.discordant[0],
            "pairs_more_in_second": row.discordant and row.discordant[1],
        }
        for row in [*made.against_base, *made.against_best]
    ]  # fmt: skip
    paper = [
        {
            "score": row["score"], "networks": row["networks"], "n_tasks": row["tasks"][side],
            "ours": row["ours"]["values"][side],
            "paper": row["paper"][side]["text"], "source": row["paper"][side]["source"],
        }
        for row in beside_paper(made)
        for side in (0, 1)
    ]  # fmt: skip
    known = {(row["score"], row["networks"], row["n_tasks"]) for row in paper}
    paper += [
        {
            "score": score, "networks": row["name"], "n_tasks": 1, "ours": ours,
            "paper": row["cells"][score][1]["text"], "source": row["cells"][score][1]["source"],
        }
        for row in _alone(made)
        for score, ours in row["values"].items()
        if (score, row["name"], 1) not in known
    ]  # fmt: skip
    named = {"trials": trials, "configurations": means, "comparisons": rows, "paper": paper}
    named["hide_and_seek"] = hide_and_seek.table(_hidden(made))
    return {name: pd.DataFrame(table) for name, table in named.items() if table}


def latex(made: Report) -> str:
    """The configurations' table, for booktabs: mean and half width of the 95 % interval over seeds."""
    shown = _shown(made.found)
    frame = pd.DataFrame(
        [
            {"Configuration": c.label, "Seeds": str(len(c.trials))}
            | {SCORES[key].title: mean_text(c.scores.get(key), key) for key in shown}
            for c in made.found
        ]
    )
    what = "WaCXR" if made.results.split == "test" else "validation pairs, simulated channel"
    note = f"{made.results.title}: mean over seeds [95 % Student interval], {what}."
    style = frame.style.format(escape="latex").format_index(escape="latex", axis="columns").hide(axis="index")
    caption = re.sub(r"([&%$#_{}])", r"\\\1", note)  # the Styler leaves it alone
    return style.to_latex(hrules=True, caption=caption, column_format="lr" + "r" * len(shown))


def mean_text(mean: Mean | None, key: str) -> str:
    """``4.20 [3.10, 5.30]``; without an interval for a single seed; a dash where there is none."""
    if mean is None:
        return "–"
    digits = SCORES[key].digits
    interval = "" if isnan(mean.low) else f" [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"
    return f"{mean.value:.{digits}f}{interval}"


def _figures(made: Report) -> dict[str, Figure]:
    drawn = {"overview": figures.overview(made.found)}
    if (figure := figures.task_count(made.found)) is not None:
        drawn["task_count"] = figure
    if (figure := trade_off(made.found, made.results.split)) is not None:
        drawn["privacy"] = figure
    if made.couples:
        drawn["base_and_covidmt"] = figures.base_and_covidmt(made.couples)
    if hidden := _hidden(made):
        drawn["hide_and_seek"] = hide_and_seek.figure(hidden)
    if made.single:
        drawn["baselines"] = figures.baselines(made.single)
    for name, table in (("against_base", made.against_base), ("against_best", made.against_best)):
        if table:
            drawn[name] = figures.differences(table)
    return drawn


def _hidden(made: Report) -> list[hide_and_seek.Row]:
    return hide_and_seek.hide_and_seek(made.found, made.results.split)


def _shown(found: Sequence[Configuration]) -> list[str]:
    """The scores that any configuration has."""
    return [key for key in SCORES if any(key in c.scores for c in found)]


def _change(before: float, after: float) -> dict[str, Any]:
    relative = 100 * (after - before) / before if before else float("nan")
    return {"values": (before, after), "points": _points(after - before), "percent": _percent(relative)}


def _fact(fact: Fact | None) -> dict[str, str]:
    return {"text": f"{fact.value:g}", "source": fact.source} if fact else {"text": NOT_IN_TEXT, "source": ""}


def _points(value: float) -> str:
    return "–" if isnan(value) else f"{value:+.2f}".replace("-", "−")


def _interval(row: Comparison) -> str:
    return "–" if isnan(row.low) else f"{_points(row.low)} to {_points(row.high)}"


def _percent(value: float) -> str:
    return "–" if isnan(value) else f"{value:+.0f}{NBSP}%".replace("-", "−")


def _p(value: float) -> str:
    return "–" if isnan(value) else f"<{NBSP}0.001" if value < 0.001 else f"={NBSP}{value:.3f}"
