"""Runs that differ in their seed alone are one configuration: its name, its scores' means and intervals."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import fmean
from typing import NamedTuple

import numpy as np

from covidmt.comparison.paper import is_of_papers
from covidmt.comparison.trained_runs import UNKNOWN, TrainedRun, TrainedRuns
from covidmt.tracking.identity import CONTENT, TASKS, SettingDifference, differences
from metrics.intervals import t_interval

NETWORKS = {  # the papers' names for base networks
    r"resnet(\d+)(\..*)?": r"ResNet-\1",
    r"resnext(\d+)(_\w+)?(\..*)?": r"ResNeXt-\1",
    r"alexnet": "AlexNet",
    r"vgg(\d+)(_bn)?(\..*)?": r"VGG-\1",
    r"(legacy_)?xception(\..*)?": "Xception",
    r"covid_?net\w*": "COVID-Net",
}
NAMED = ("model.backbone", UNKNOWN)  # settings that a configuration's name has in other words


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
        settings: All settings that make it, see :class:`.TrainedRun`.
        runs: By seed.
        scores: Those of :data:`SCORES` that every run has.
        of_papers: Trained and tested on the COVIDMT paper's data and tasks, so that its figures may stand beside.
    """

    label: str
    network: str
    tasks: list[str]
    settings: Mapping[str, str]
    runs: list[TrainedRun]
    scores: Mapping[str, Mean]
    of_papers: bool = False


def group_configurations(collected: TrainedRuns) -> list[Configuration]:
    """Group the counted runs by configuration, ordered by base network and number of tasks.

    Runs are one configuration where their resolved experiments, and what they were made of, differ in nothing but the
    seed and the machine (:mod:`covidmt.tracking.identity`).
    """
    groups: dict[frozenset[tuple[str, str]], list[TrainedRun]] = defaultdict(list)
    for run in collected.counted:
        groups[frozenset(run.settings.items())].append(run)
    networks = network_names({dict(settings)["model.backbone"] for settings in groups})

    unnamed = []
    for items, runs in groups.items():
        settings = dict(items)
        tasks = settings[TASKS].split(", ")
        runs.sort(key=lambda run: (len(run.seed), run.seed))
        unnamed.append(
            Configuration(
                label="",
                network=networks[settings["model.backbone"]],
                tasks=tasks,
                settings=settings,
                runs=runs,
                scores=_mean_scores(runs, tasks[0], collected.split),
                of_papers=is_of_papers(settings, collected.split),
            )
        )
    unnamed.sort(key=lambda c: (c.network.casefold(), len(c.tasks), c.tasks, _in_order(c.settings)))
    return [replace(c, label=label) for c, label in zip(unnamed, _labels(unnamed), strict=True)]


def _in_order(settings: Mapping[str, str]) -> list[tuple[str, float, str]]:
    """Return what configurations are ordered by: numbers as numbers."""
    numbers = {key: float(value) for key, value in settings.items() if re.fullmatch(r"-?\d+(\.\d+)?", value)}
    return [(key, numbers.get(key, inf), value) for key, value in sorted(settings.items())]


def other_differences(first: Configuration, second: Configuration) -> list[SettingDifference]:
    """Return what two configurations differ in besides their base networks and tasks."""
    named = ("model.backbone", TASKS)
    return [each for each in differences(first.settings, second.settings) if each.key not in named]


def also_differs(second: Configuration, first: Configuration, most: int | None = None) -> str:
    """Write what a comparison compares besides what the two names say: ``; also: 1 epoch against 2``; empty: nothing.

    Args:
        second: What is compared.
        first: What it is compared with.
        most: At most so many differences are written out; None: all.
    """
    texts = [str(each) for each in other_differences(second, first) if not _is_named(each, second, first)]
    if most is not None and len(texts) > most:
        texts = [*texts[:most], f"{len(texts) - most} more settings (comparisons.csv)"]
    return f"; also: {'; '.join(texts)}" if texts else ""


def _is_named(difference: SettingDifference, second: Configuration, first: Configuration) -> bool:
    """Return whether both configurations' names have a setting's two values already.

    Of contents and sources they do not say of what these are: that is to be said.
    """
    if difference.key.endswith((CONTENT, ".source")):
        return False
    values = (second, difference.first), (first, difference.second)
    return all(f", {_name_part(difference.key, value)}," in f"{each.label}," for each, value in values)


def _name_part(key: str, value: str) -> str:
    """Return a setting as a configuration's name has it: ``lr 0.1``."""
    return f"{key.rpartition('.')[2]} {value}"


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
    """Return the network's configurations that differ in their tasks alone: as many task counts as there can be.

    Of several such lines, one that sees whole images (``data.view``).
    """
    own = [configuration for configuration in configurations if configuration.network == network]
    lines = []
    for start in own:
        line = [start]
        for other in own:
            if other is not start and not any(other_differences(member, other) for member in line):
                line.append(other)
        lines.append([configuration for configuration in own if configuration in line])

    def rank(line: list[Configuration]) -> tuple[int, int, bool]:
        whole = line[0].settings.get("data.view", "original") == "original"
        return len({len(c.tasks) for c in line}), sum(len(c.runs) for c in line), whole

    return max(lines, key=rank)


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
    settings = [_telling(c) for c in configurations]
    labels = []
    for label, own in zip(bare, settings, strict=True):
        namesakes = [other for name, other in zip(bare, settings, strict=True) if name == label]
        telling = [_name_part(key, own[key]) for key in _telling_keys(namesakes) if key in own]
        labels.append(", ".join([label, *telling]))
    return labels


def _telling(configuration: Configuration) -> dict[str, str]:
    """Return the settings that may stand in a name; of a run without ``experiment.yaml`` its id, of contents a part."""
    settings = {key: value for key, value in configuration.settings.items() if key not in (*NAMED, TASKS)}
    settings |= {key: value[:8] for key, value in settings.items() if key.endswith(CONTENT)}
    unknown = {"run": configuration.runs[0].run_id[:8]} if UNKNOWN in configuration.settings else {}
    return settings | {"tasks": "+".join(configuration.tasks)} | unknown


def _telling_keys(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the fewest keys, short ones first, whose values tell the settings apart."""
    chosen: list[str] = []
    # what is near the top of the schema, then the rest
    for key in sorted({key for values in settings for key in values}, key=lambda key: (key.count("."), key)):
        before = {tuple(values.get(k) for k in chosen) for values in settings}
        after = {tuple(values.get(k) for k in [*chosen, key]) for values in settings}
        if len(after) > len(before):
            chosen.append(key)
    return chosen
