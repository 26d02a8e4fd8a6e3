"""Trials that differ in their seed alone are one configuration: its name, its scores' means and intervals."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

import numpy as np

from covidmt.comparison.trials import Results, Trial
from metrics.intervals import t_interval

NETWORKS = {  # the papers' names for base networks
    r"resnet(\d+)(\..*)?": r"ResNet-\1",
    r"resnext(\d+)(_\w+)?(\..*)?": r"ResNeXt-\1",
    r"alexnet": "AlexNet",
    r"vgg(\d+)(_bn)?(\..*)?": r"VGG-\1",
    r"(legacy_)?xception(\..*)?": "Xception",
    r"covid_?net\w*": "COVID-Net",
}
NAMED = {"backbone", "tasks", "n_tasks"}  # parameters that a configuration's name has in other words


class Score(NamedTuple):
    """One column of the report.

    Attributes:
        title: With its unit.
        metric: As logged, without the split; ``{task}`` is the primary task. ``pairs/`` ones: from the table of pairs.
        scale: 100 where the logged value is a share.
        digits: After the point.
    """

    title: str
    metric: str
    scale: float
    digits: int


SCORES = {
    "pi": Score("PI score, %", "pi_score", 1, 2),
    "ols_original": Score("OLS score, original, %", "ols_score/original", 1, 1),
    "ols_received": Score("OLS score, received, %", "ols_score/received", 1, 1),
    "accuracy": Score("Accuracy, %", "{task}/accuracy", 100, 1),
    "auroc": Score("AUROC", "{task}/auroc", 1, 3),
    "pairs_original": Score("Right on pairs, original, %", "pairs/accuracy/original", 100, 1),
    "pairs_received": Score("Right on pairs, received, %", "pairs/accuracy/received", 100, 1),
}
ROBUSTNESS = ["pi", "ols_original", "ols_received"]


class Mean(NamedTuple):
    """Mean over seeds with Student's 95 % interval; ``low`` and ``high`` are NaN for one seed."""

    value: float
    low: float
    high: float
    values: list[float]


@dataclass
class Configuration:
    """Trials that differ in their seed alone.

    Attributes:
        label: Short and unique: base network, number of tasks, and what else tells it from the others.
        network: The base network's name.
        tasks: The tasks in order.
        variant: All other settings, the same for the configurations that one line of the task-count figure joins.
        trials: By seed.
        scores: Those of :data:`SCORES` that every trial has.
    """

    label: str
    network: str
    tasks: list[str]
    variant: frozenset[tuple[str, str]]
    trials: list[Trial]
    scores: dict[str, Mean] = field(default_factory=dict)


def configurations(results: Results) -> list[Configuration]:
    """The counted trials by configuration, ordered by base network and number of tasks."""
    groups: dict[frozenset[tuple[str, str]], list[Trial]] = defaultdict(list)
    for trial in results.counted:
        groups[frozenset(trial.settings.items())].append(trial)
    networks = network_names({dict(settings)["backbone"] for settings in groups})
    found = []
    for settings, trials in groups.items():
        values = dict(settings)
        variant = frozenset(item for item in settings if item[0] not in NAMED)
        network, tasks = networks[values["backbone"]], values["tasks"].split(",")
        ordered = sorted(trials, key=lambda trial: (len(trial.seed), trial.seed))
        found.append(Configuration("", network, tasks, variant, ordered))
        found[-1].scores = _scores(found[-1], results.split)
    found.sort(key=lambda c: (c.network.casefold(), len(c.tasks), c.tasks, sorted(c.variant)))
    _name(found)
    return found


def network_names(backbones: Iterable[str]) -> dict[str, str]:
    """The papers' names, as far as each means one of the backbones alone."""
    names = {}
    for backbone in backbones:
        bare = backbone.removeprefix("timm:").lower()
        known = [re.sub(pattern, name, bare) for pattern, name in NETWORKS.items() if re.fullmatch(pattern, bare)]
        names[backbone] = known[0] if known else backbone
    uses = Counter(names.values())
    return {backbone: name if uses[name] == 1 else backbone for backbone, name in names.items()}


def main_line(found: Sequence[Configuration], network: str) -> list[Configuration]:
    """The network's configurations that differ in their tasks alone: the variant with most task counts.

    Of several such, one that sees whole images (``data.view``).
    """
    variants: dict[frozenset[tuple[str, str]], list[Configuration]] = defaultdict(list)
    for configuration in found:
        if configuration.network == network:
            variants[configuration.variant].append(configuration)

    def rank(line: list[Configuration]) -> tuple[int, int, bool]:
        whole = "view" not in dict(line[0].variant)
        return len({len(c.tasks) for c in line}), sum(len(c.trials) for c in line), whole

    return max(variants.values(), key=rank)


def _scores(configuration: Configuration, split: str) -> dict[str, Mean]:
    scores = {}
    for key, score in SCORES.items():
        metric = f"{split}/{score.metric.format(task=configuration.tasks[0])}"
        values = [trial.metrics[metric] * score.scale for trial in configuration.trials if metric in trial.metrics]
        if len(values) == len(configuration.trials):
            low, high = t_interval(values)
            top = 1 if key == "auroc" else 100  # Student's interval does not know where a score ends
            scores[key] = Mean(fmean(values), *np.clip([low, high], 0, top).tolist(), values)
    return scores


def _name(found: list[Configuration]) -> None:
    """Base network and number of tasks; where that is not unique, the settings that tell the namesakes apart."""
    groups: dict[str, list[Configuration]] = defaultdict(list)
    for c in found:
        groups[f"{c.network}, {len(c.tasks)} task{'s' if len(c.tasks) > 1 else ''}"].append(c)
    for label, same in groups.items():
        settings = [dict(c.variant) | {"tasks": "+".join(c.tasks)} for c in same]
        chosen: list[str] = []
        # Short keys first: the parameters, then the sweep's own keys.
        for key in sorted({key for values in settings for key in values}, key=lambda key: (key.count("."), key)):
            apart = {tuple(values.get(k) for k in chosen) for values in settings}
            finer = {tuple(values.get(k) for k in [*chosen, key]) for values in settings}
            if len(finer) > len(apart):
                chosen.append(key)
        for c, values in zip(same, settings, strict=True):
            told = [f"{key.rpartition('.')[2]} {values[key]}" for key in chosen if key in values]
            c.label = ", ".join([label, *told])
