"""What a report compares with what: base networks alone, with most tasks, the most stable configuration."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from covidmt.comparison.comparisons import Comparison, PairedResults, compare, with_pair_intervals
from covidmt.comparison.configurations import Configuration, group_configurations, main_line
from covidmt.comparison.hide_and_seek import RepresentationRow, hide_and_seek_rows
from covidmt.comparison.trained_runs import TrainedRuns

Couple = tuple[Configuration, Configuration]

# what the p-values of one score are adjusted for (Holm)
COUPLES, AGAINST_BASE, AGAINST_BEST = (
    "fewest against most tasks",
    "all others against fewest tasks",
    "all against the lowest PI",
)


@dataclass(frozen=True)
class Analysis:
    """Everything that is drawn, written and said.

    Attributes:
        collected: The runs it is made from.
        configurations: All of them.
        ranking: Those with a PI score, the most stable first.
        couples: Base network alone and with most tasks, for every base network that has both.
        single: The base networks alone; none of a network that was trained alone in several ways, and never with more
            tasks: which of them it would be is nobody's choice.
        references: Of such a network the first configuration, with which its others are compared.
        against_base: Every other configuration against its base network alone, the couples first.
        against_best: The most stable configuration against each other one.
        paired: What the runs did on the same pairs.
        representations: ROI Hide-and-Seek's rows; none where the representation does not vary.
    """

    collected: TrainedRuns
    configurations: list[Configuration]
    ranking: list[Configuration]
    couples: list[Couple]
    single: list[Configuration]
    references: list[Configuration]
    against_base: list[Comparison]
    against_best: list[Comparison]
    paired: PairedResults
    representations: list[RepresentationRow]


def analyse(collected: TrainedRuns) -> Analysis:
    """Group the runs, find what is compared with what, compare."""
    configurations = [with_pair_intervals(c) for c in group_configurations(collected)]
    ranking = sorted(configurations, key=lambda c: c.scores["pi"].value)

    # each base network alone, and with most tasks
    lines = {c.network: main_line(configurations, c.network) for c in configurations}
    bases = {network: line[0] for network, line in lines.items() if len(line[0].tasks) == 1}
    alone = Counter(c.network for c in configurations if len(c.tasks) == 1)
    references = [base for network, base in bases.items() if alone[network] > 1 and len(lines[network][-1].tasks) == 1]
    couples = [(base, lines[network][-1]) for network, base in bases.items() if len(lines[network][-1].tasks) > 1]

    # everything against its base network alone, and against the most stable
    against_base = [(bases[c.network], c) for c in configurations if c.network in bases and c is not bases[c.network]]
    against_best = [(c, ranking[0]) for c in ranking[1:]]
    if {frozenset(map(id, couple)) for couple in against_best} <= {frozenset(map(id, c)) for c in against_base}:
        against_best = []  # the same comparisons again

    # the couples were stated before any figure was seen, so they are a family of their own
    paired = PairedResults(configurations)
    others = [couple for couple in against_base if couple not in couples]
    return Analysis(
        collected=collected,
        configurations=configurations,
        ranking=ranking,
        couples=couples,
        single=[base for base in bases.values() if base not in references],
        references=references,
        against_base=compare(couples, paired, COUPLES) + compare(others, paired, AGAINST_BASE),
        against_best=compare(against_best, paired, AGAINST_BEST),
        paired=paired,
        representations=hide_and_seek_rows(configurations, collected.split),
    )


def couples_with_mean(couples: list[Couple]) -> list[Couple]:
    """Return the couples if their mean can be shown, else none: several, all of the same numbers of tasks."""
    counts = {(len(base.tasks), len(many.tasks)) for base, many in couples}
    return couples if len(couples) > 1 and len(counts) == 1 else []
