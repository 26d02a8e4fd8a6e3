"""Runs that differ in their seed alone are one configuration: its name, its scores' means and intervals."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import numpy as np

from covidmt.comparison.trained_runs import TrainedRun, TrainedRuns
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


class ScoreColumn(NamedTuple):
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
    "pi": ScoreColumn("PI score, %", "pi_score", 1, 2),
    "ols_original": ScoreColumn("OLS score, original, %", "ols_score/original", 1, 1),
    "ols_received": ScoreColumn("OLS score, received, %", "ols_score/received", 1, 1),
    "accuracy": ScoreColumn("Accuracy, %", "{task}/accuracy", 100, 1),
    "auroc": ScoreColumn("AUROC", "{task}/auroc", 1, 3),
    "pairs_original": ScoreColumn("Right on pairs, original, %", "pairs/accuracy/original", 100, 1),
    "pairs_received": ScoreColumn("Right on pairs, received, %", "pairs/accuracy/received", 100, 1),
}
ROBUSTNESS = ["pi", "ols_original", "ols_received"]


class Mean(NamedTuple):
    """Mean over seeds with Student's 95 % interval; ``low`` and ``high`` are NaN for one seed."""

    value: float
    low: float
    high: float
    values: list[float]


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in their seed alone.

    Attributes:
        label: Short and unique: base network, number of tasks, and what else tells it from the others.
        network: The base network's name.
        tasks: The tasks in order.
        variant: All other settings, the same for the configurations that one line of the task-count figure joins.
        runs: By seed.
        scores: Those of :data:`SCORES` that every run has.
    """

    label: str
    network: str
    tasks: list[str]
    variant: frozenset[tuple[str, str]]
    runs: list[TrainedRun]
    scores: Mapping[str, Mean]


def group_configurations(collected: TrainedRuns) -> list[Configuration]:
    """Group the counted runs by configuration, ordered by base network and number of tasks."""
    groups: dict[frozenset[tuple[str, str]], list[TrainedRun]] = defaultdict(list)
    for run in collected.counted:
        groups[frozenset(run.settings.items())].append(run)
    networks = network_names({dict(settings)["backbone"] for settings in groups})

    unnamed = []
    for settings, runs in groups.items():
        values = dict(settings)
        tasks = values["tasks"].split(",")
        runs.sort(key=lambda run: (len(run.seed), run.seed))
        unnamed.append(
            Configuration(
                label="",
                network=networks[values["backbone"]],
                tasks=tasks,
                variant=frozenset(item for item in settings if item[0] not in NAMED),
                runs=runs,
                scores=_mean_scores(runs, tasks[0], collected.split),
            )
        )
    unnamed.sort(key=lambda c: (c.network.casefold(), len(c.tasks), c.tasks, sorted(c.variant)))
    return [replace(c, label=label) for c, label in zip(unnamed, _labels(unnamed), strict=True)]


def network_names(backbones: Iterable[str]) -> dict[str, str]:
    """Return the papers' names, as far as each means one of the backbones alone.

    Example:
        >>> from covidmt.comparison.configurations import network_names
        >>> network_names(["resnext50_32x4d", "timm:legacy_xception", "mynet"])
        {'resnext50_32x4d': 'ResNeXt-50', 'timm:legacy_xception': 'Xception', 'mynet': 'mynet'}
        >>> network_names(["vgg19", "vgg19_bn"])
        {'vgg19': 'vgg19', 'vgg19_bn': 'vgg19_bn'}
    """
    names = {}
    for backbone in backbones:
        bare = backbone.removeprefix("timm:").lower()
        matches = [re.sub(pattern, name, bare) for pattern, name in NETWORKS.items() if re.fullmatch(pattern, bare)]
        names[backbone] = matches[0] if matches else backbone
    uses = Counter(names.values())
    return {backbone: name if uses[name] == 1 else backbone for backbone, name in names.items()}


def main_line(configurations: Sequence[Configuration], network: str) -> list[Configuration]:
    """Return the network's configurations that differ in their tasks alone: the variant with most task counts.

    Of several such, one that sees whole images (``data.view``).
    """
    variants: dict[frozenset[tuple[str, str]], list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        if configuration.network == network:
            variants[configuration.variant].append(configuration)

    def rank(line: list[Configuration]) -> tuple[int, int, bool]:
        whole = "view" not in dict(line[0].variant)
        return len({len(c.tasks) for c in line}), sum(len(c.runs) for c in line), whole

    return max(variants.values(), key=rank)


def _mean_scores(runs: Sequence[TrainedRun], primary_task: str, split: str) -> dict[str, Mean]:
    scores = {}
    for key, column in SCORES.items():
        metric = f"{split}/{column.metric.format(task=primary_task)}"
        values = [run.metrics[metric] * column.scale for run in runs if metric in run.metrics]
        if len(values) == len(runs):
            low, high = t_interval(values)
            top = 1 if key == "auroc" else 100  # Student's interval does not know where a score ends
            scores[key] = Mean(fmean(values), *np.clip([low, high], 0, top).tolist(), values)
    return scores


def _labels(configurations: Sequence[Configuration]) -> list[str]:
    """Name base network and number of tasks; where that is not unique, the settings that tell the namesakes apart."""
    bare = [f"{c.network}, {len(c.tasks)} task{'s' if len(c.tasks) > 1 else ''}" for c in configurations]
    settings = [dict(c.variant) | {"tasks": "+".join(c.tasks)} for c in configurations]
    labels = []
    for label, own in zip(bare, settings, strict=True):
        namesakes = [other for name, other in zip(bare, settings, strict=True) if name == label]
        telling = [f"{key.rpartition('.')[2]} {own[key]}" for key in _telling_keys(namesakes) if key in own]
        labels.append(", ".join([label, *telling]))
    return labels


def _telling_keys(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the fewest keys, short ones first, whose values tell the settings apart."""
    chosen: list[str] = []
    # the parameters, then the sweep's own dotted keys
    for key in sorted({key for values in settings for key in values}, key=lambda key: (key.count("."), key)):
        before = {tuple(values.get(k) for k in chosen) for values in settings}
        after = {tuple(values.get(k) for k in [*chosen, key]) for values in settings}
        if len(after) > len(before):
            chosen.append(key)
    return chosen
