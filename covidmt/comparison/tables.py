"""A report's numbers: the CSV tables, the LaTeX table, and the rows that stand beside the paper's figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from statistics import fmean

import pandas as pd

from covidmt.comparison.analysis import Analysis, couples_with_mean
from covidmt.comparison.configurations import ROBUSTNESS, SCORES, Configuration, Mean, also_differs, other_differences
from covidmt.comparison.hide_and_seek import hide_and_seek_table
from covidmt.comparison.pair_words import describe_pairs
from covidmt.comparison.paper import BASELINES, Fact, paper_value
from covidmt.comparison.stability import stability_rows, stability_table
from covidmt.pages.numbers import DASH, estimate, points, relative_change, relative_percent
from datamodules.demo.write import MADE_UP

NOT_IN_TEXT = Fact(nan, "")


@dataclass(frozen=True)
class TaskCountChange:
    """From the base network alone to most tasks.

    Attributes:
        values: Before and after, percent.
    """

    values: tuple[float, float]

    @property
    def points(self) -> str:
        """The difference, percentage points."""
        return points(self.values[1] - self.values[0])

    @property
    def percent(self) -> str:
        """The difference relative to the first value."""
        return relative_percent(relative_change(*self.values))


@dataclass(frozen=True)
class BesidePaper:
    """Base network against most tasks, ours and the paper's (Figs 6 and 7).

    Attributes:
        score: Key of :data:`covidmt.comparison.configurations.SCORES`.
        networks: One, or ``mean of`` several.
        tasks: Numbers of tasks, before and after.
        ours: Means over seeds.
        paper: The paper's two values.
    """

    score: str
    networks: str
    tasks: tuple[int, int]
    ours: TaskCountChange
    paper: tuple[Fact, Fact]

    @property
    def paper_change(self) -> TaskCountChange | None:
        """The paper's change; None where its text lacks a value."""
        if NOT_IN_TEXT in self.paper:
            return None
        return TaskCountChange((self.paper[0].value, self.paper[1].value))


@dataclass(frozen=True)
class BaselineRow:
    """A base network alone, or a statistic of several, beside the paper's (Table 2, Fig 4).

    Attributes:
        name: Network or statistic.
        values: Score -> percent, of the scores that there are.
        texts: Score -> the value as written, with its interval.
        paper: Score -> the paper's value.
    """

    name: str
    values: Mapping[str, float]
    texts: Mapping[str, str]
    paper: Mapping[str, Fact]


def fact_text(fact: Fact) -> str:
    """Write a figure of the paper, percent."""
    return "not in text" if fact is NOT_IN_TEXT else f"{fact.value:g}"


def mean_text(mean: Mean | None, key: str) -> str:
    """Write ``4.20 [3.10, 5.30]``; without an interval where it cannot be told; a dash where there is no mean.

    Example:
        >>> from covidmt.comparison.configurations import Mean
        >>> from covidmt.comparison.tables import mean_text
        >>> mean_text(Mean(4.2, 3.1, 5.3, [4.0, 4.4]), "pi")
        '4.20 [3.10, 5.30]'
    """
    return DASH if mean is None else estimate(mean.value, mean.low, mean.high, SCORES[key].digits)


def interval_words(analysis: Analysis) -> str:
    """Return what the intervals are over, of the configurations that there are."""
    configurations = analysis.configurations
    paired = [c for c in configurations if all(run.pairs is not None for run in c.runs)]
    seeds = {len(c.runs) > 1 for c in paired}
    over = {
        frozenset({True}): "over patients and seeds",
        frozenset({False}): "over patients, of each configuration's single training alone",
        frozenset({True, False}): "over patients and seeds, with one seed over patients of that training alone",
    }

    # PI and OLS, then what has no table of pairs
    texts = [f"Intervals of PI and OLS are {over[frozenset(seeds)]}" if seeds else ""]
    if seeds and len(paired) < len(configurations):
        texts[0] += " (without tables of pairs as those of the other scores)"
    if any(len(c.runs) > 1 for c in configurations):
        which = "those of other scores are" if seeds else "Intervals are"
        texts.append(f"{which} Student's over seeds, on the same images")
    else:
        texts.append(
            "a single training has no interval of the other scores" if seeds else "A single training has no interval"
        )
    return "; ".join(text for text in texts if text) + "."


def shown_scores(configurations: Sequence[Configuration]) -> list[str]:
    """Return the scores that any configuration has."""
    return [key for key in SCORES if any(key in c.scores for c in configurations)]


def beside_paper(analysis: Analysis) -> list[BesidePaper]:
    """Return base network against most tasks beside the paper's, networks one by one and their mean.

    Of data and tasks that are not the paper's, its figures are not in the text.
    """
    rows = []
    groups = [[couple] for couple in analysis.couples]
    averaged = couples_with_mean(analysis.couples)
    if averaged:
        groups.append(averaged)
    for score in ROBUSTNESS:
        for couples in groups:
            if not all(score in c.scores for couple in couples for c in couple):
                continue

            # ours and the paper's, before and after
            networks = [base.network for base, _ in couples]
            before, after = (fmean(couple[side].scores[score].value for couple in couples) for side in (0, 1))
            base, many = couples[0]
            own = all(c.of_papers for couple in couples for c in couple)
            facts = ((own and paper_value(score, networks, len(c.tasks))) or NOT_IN_TEXT for c in (base, many))
            rows.append(
                BesidePaper(
                    score=score,
                    networks=networks[0] if len(networks) == 1 else f"mean of {' and '.join(networks)}",
                    tasks=(len(base.tasks), len(many.tasks)),
                    ours=TaskCountChange((before, after)),
                    paper=(next(facts), next(facts)),
                )
            )
    return rows


def baseline_rows(analysis: Analysis) -> list[BaselineRow]:
    """Return the base networks alone, and their mean and worst, beside the paper's."""
    rows = [
        BaselineRow(
            name=c.network,
            values={score: c.scores[score].value for score in ROBUSTNESS if score in c.scores},
            texts={score: mean_text(c.scores.get(score), score) for score in ROBUSTNESS},
            paper={score: (c.of_papers and paper_value(score, [c.network], 1)) or NOT_IN_TEXT for score in ROBUSTNESS},
        )
        for c in analysis.single
    ]

    # mean and worst of those that the paper has
    members = [c for c in analysis.single if c.network in BASELINES and c.of_papers]
    if len(members) < 2:
        return rows
    names = "the five" if len(members) == 5 else f"{len(members)} of the paper's five"
    shared = [score for score in ROBUSTNESS if all(score in c.scores for c in members)]
    for statistic, choose in {"mean": fmean, "worst": max}.items():
        values = {score: choose(c.scores[score].value for c in members) for score in shared}
        texts = {score: f"{value:.{SCORES[score].digits}f}" for score, value in values.items()}
        rows.append(
            BaselineRow(
                name=f"{statistic} of {names}",
                values=values,
                texts={score: texts.get(score, DASH) for score in ROBUSTNESS},
                paper={score: paper_value(score, BASELINES, 1, statistic) or NOT_IN_TEXT for score in ROBUSTNESS},
            )
        )
    return rows


def configuration_notes(analysis: Analysis) -> list[str]:
    """Return what a reader must know of the configurations that are compared: all that differs, and what is unknown.

    Before it, that the images are made up, where they are.
    """
    rows = [*analysis.against_base, *analysis.against_best]
    couples = {(row.second.label, row.first.label): also_differs(row.second, row.first, most=12) for row in rows}
    notes = [MADE_UP] if any(run.tags.get("made_up") for run in analysis.collected.counted) else []
    notes += [f"{second} against {first}{also}." for (second, first), also in couples.items() if also]

    unknown = [run.name for run in analysis.collected.counted if not run.is_known]
    if unknown:
        notes.append(
            f"{len(unknown)} of the trainings have no experiment.yaml ({', '.join(unknown[:5])}"
            f"{', ...' if len(unknown) > 5 else ''}): what they were trained with is unknown, so each is a "
            "configuration of its own."
        )
    return notes


def csv_tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return the report's numbers by file name, of those that have rows."""
    tables = {
        "trials": _trials(analysis),
        "configurations": _configurations(analysis),
        "comparisons": _comparisons(analysis),
        "paper": _paper(analysis) if any(c.of_papers for c in analysis.configurations) else [],
        "hide_and_seek": hide_and_seek_table(analysis.representations),
        "stability": stability_table(stability_rows(analysis.configurations)),
    }
    return {name: pd.DataFrame(rows) for name, rows in tables.items() if rows}


def _trials(analysis: Analysis) -> list[dict[str, object]]:
    split, runs = f"{analysis.collected.split}/", analysis.collected.runs
    keys = sorted({key for run in runs for key in run.settings})
    varied = [key for key in keys if len({run.settings.get(key) for run in runs}) > 1]
    return [
        {
            "run_id": run.run_id, "trial": run.name, "status": run.status, "left_out": run.left_out, "seed": run.seed,
            **run.params,
            **{key: run.settings.get(key, "") for key in varied},
            **{key: value for key, value in run.metrics.items() if key.startswith(split)},
        }
        for run in analysis.collected.runs
    ]  # fmt: skip


def _configurations(analysis: Analysis) -> list[dict[str, object]]:
    return [
        {
            "configuration": c.label, "network": c.network, "n_tasks": len(c.tasks), "tasks": "+".join(c.tasks),
            "score": key, "mean": mean.value, "low": mean.low, "high": mean.high, "seeds": len(mean.values),
        }
        for c in analysis.configurations
        for key, mean in c.scores.items()
    ]  # fmt: skip


def _comparisons(analysis: Analysis) -> list[dict[str, object]]:
    return [
        {
            "score": row.score, "first": row.first.label, "second": row.second.label,
            "first_mean": row.values[0], "second_mean": row.values[1],
            "difference": row.difference, "low": row.low, "high": row.high, "interval_over": row.basis,
            "relative_percent": row.relative, "p": row.p, "p_holm": row.p_adjusted, "holm_over": row.family,
            "verdict": row.verdict, "seeds_first": len(row.first.runs), "seeds_second": len(row.second.runs),
            "patients": row.patients or None,
            "also_differs": "; ".join(map(str, other_differences(row.second, row.first))),
        }
        for row in [*analysis.against_base, *analysis.against_best]
    ]  # fmt: skip


def _paper(analysis: Analysis) -> list[dict[str, object]]:
    values = [
        (row.score, row.networks, row.tasks[side], row.ours.values[side], row.paper[side])
        for row in beside_paper(analysis)
        for side in (0, 1)
    ]
    present = {value[:3] for value in values}
    values += [
        (score, row.name, 1, ours, row.paper[score])
        for row in baseline_rows(analysis)
        for score, ours in row.values.items()
        if (score, row.name, 1) not in present
    ]
    return [
        {
            "score": score, "networks": networks, "n_tasks": n_tasks, "ours": ours,
            "paper": fact_text(fact), "source": fact.source,
        }
        for score, networks, n_tasks, ours, fact in values
    ]  # fmt: skip


def latex(analysis: Analysis) -> str:
    """Return the configurations' table, for booktabs: means with 95 % intervals; their caption says over what."""
    shown = shown_scores(analysis.configurations)
    frame = pd.DataFrame(
        [
            {"Configuration": c.label, "Seeds": str(len(c.runs))}
            | {SCORES[key].title: mean_text(c.scores.get(key), key) for key in shown}
            for c in analysis.configurations
        ]
    )
    pairs = describe_pairs(analysis.collected)
    note = f"{analysis.collected.title}: mean over seeds [95 % interval], {pairs}. {interval_words(analysis)}"
    varied = {each.key for c in analysis.configurations for each in other_differences(c, analysis.configurations[0])}
    if varied:
        note += f" Configurations differ in more than networks and tasks: {', '.join(sorted(varied))}."
    caption = re.sub(r"([&%$#_{}])", r"\\\1", note)  # the Styler leaves it alone
    style = frame.style.format(escape="latex").format_index(escape="latex", axis="columns").hide(axis="index")
    return style.to_latex(hrules=True, caption=caption, column_format="lr" + "r" * len(shown))
