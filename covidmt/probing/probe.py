"""``covidmt probe``: questions to a trained network's frozen features, as tables, a file and metrics of its run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console

from covidmt.evaluation.networks import Network, load_networks, named_store
from covidmt.features.source_answers import SourceAnswers, answer_source
from covidmt.pages.numbers import interval
from covidmt.probing.classes import column_classes, frequent_classes, task_classes
from covidmt.probing.few_shot import Shots, few_shot
from covidmt.probing.linear import LinearProbe, linear_probe
from covidmt.tracking.checkpoints import find_checkpoint
from covidmt.tracking.folders import mlruns_dir
from covidmt.tracking.records import record_findings
from experiments.errors import UserError
from experiments.files import replace_file
from experiments.names import Terminal
from experiments.printing.tables import WholeTable
from experiments.schema import Task, TaskKind


class ProbeFindings(NamedTuple):
    """What a network's features tell.

    Attributes:
        network: Its name.
        source: The images' source.
        channels: Length of the features.
        linear: Question -> what a linear probe reads out.
        shots: Question -> the few-shot curve.
        notes: What was not asked, and why.
    """

    network: str
    source: str
    channels: int
    linear: dict[str, LinearProbe]
    shots: dict[str, list[Shots]]
    notes: list[str]


def probe_network(
    reference: str,
    overrides: Sequence[str] = (),
    *,
    column: str | None = None,
    task: str | None = None,
    shots: Sequence[int] = (),
    draws: int = 200,
    seed: int = 0,
    resamples: int = 2000,
    out: Path | None = None,
) -> Path:
    """Probe a run or checkpoint: the disease; a column, with the disease within each of its values; few-shot curves.

    Args:
        reference: A checkpoint, or the id of a run.
        overrides: ``key.path=value`` of the data, robustness, trainer and tracking sections.
        column: A text column of the sample table, such as ``origin``; None: the disease alone.
        task: Whose source and labels; None: the deciding task.
        shots: Images a class of the few-shot curve; none: no curve.
        draws: How often those images are drawn.
        seed: Of these draws.
        resamples: Of the bootstrap over patients.
        out: Folder for ``probe.json``; None: below ``mlruns/probes``.

    Returns:
        The file.

    Raises:
        UserError: The checkpoint, the data, the column or the task cannot be used.
    """
    checkpoint = find_checkpoint(reference, named_store(overrides))
    (network,) = load_networks([reference], overrides, None)
    if network.experiment.tracking.enabled:
        checkpoint.store.prepare()
    chosen = _chosen_task(network, task)

    answers = answer_source(network.module, network.experiment, chosen)
    questions, notes = ask(chosen, answers, column)
    if not questions:
        raise UserError(f"probe: nothing to tell apart in source '{chosen.source}': {'; '.join(notes)}")
    findings = _answer(network, chosen, answers, questions, notes, shots, draws=draws, seed=seed, resamples=resamples)

    # what was found, printed, written and logged
    name = "-".join(
        [
            "covidmt-probe" if checkpoint.run_id is None else checkpoint.run_id,
            chosen.name,
            *([column] if column else []),
        ]
    )
    path = (out or mlruns_dir() / "probes" / name) / "probe.json"
    _write(path, findings)
    print_findings(Terminal(markup=False), findings)
    if not network.experiment.tracking.enabled:
        Terminal(markup=False).print(f"written to  {path}", soft_wrap=True, highlight=False)
        return path
    run_id = record_findings(
        checkpoint.store,
        network.run_id,
        probe_metrics(findings),
        [path],
        prefix="probe",
        experiment=network.experiment.tracking.experiment,
        run_name=f"probe {network.name}",
    )
    Terminal(markup=False).print(f"written to  {path}\nlogged to   run {run_id}", soft_wrap=True, highlight=False)
    return path


def _chosen_task(network: Network, name: str | None) -> Task:
    tasks = {task.name: task for task in network.experiment.readable if task.kind is not TaskKind.boxes}
    name = name or network.experiment.robustness.task
    if name not in tasks:
        raise UserError(f"--task: the network has no classification task {name!r}; it has {', '.join(tasks)}")
    return tasks[name]


def ask(task: Task, answers: SourceAnswers, column: str | None) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the questions, each with the classes of all images, and notes on those that cannot be asked.

    Args:
        task: Its labels are the disease.
        answers: Of the task's source.
        column: A text column: first it is asked for itself, then the disease within each of its values.
    """
    table = answers.table
    diseases = task_classes(task, table)
    questions = {**diseases}
    if column is not None:
        values = column_classes(column, table, task.source)
        questions = {column: values, **diseases}
        for value in sorted(set(values.tolist()) - {""}):
            within = {f"{name} within {value}": np.where(values == value, own, "") for name, own in diseases.items()}
            questions |= within

    # those of one class tell nothing
    split, notes = table["split"].to_numpy(dtype=np.str_), []
    for name, classes in list(questions.items()):
        if len(set(frequent_classes(classes, split).tolist()) - {""}) < 2:
            notes.append(f"{name}: fewer than two classes have 5 training images and a test image")
            del questions[name]
    return questions, notes


def _answer(
    network: Network,
    task: Task,
    answers: SourceAnswers,
    questions: Mapping[str, np.ndarray],
    notes: list[str],
    shots: Sequence[int],
    *,
    draws: int,
    seed: int,
    resamples: int,
) -> ProbeFindings:
    split = answers.table["split"].to_numpy(dtype=np.str_)
    patients = answers.table["patient"].to_numpy(dtype=np.str_)
    linear, curves, notes = {}, {}, [*notes]
    for name, classes in questions.items():
        probe = linear_probe(answers.features, classes, split, patients, resamples)
        if probe is not None:
            linear[name] = probe
        points = {k: few_shot(answers.features, classes, split, k, draws=draws, seed=seed) for k in shots}
        curves[name] = [point for point in points.values() if point is not None]
        notes += [f"{name}: a class has fewer than {k} training images" for k, point in points.items() if point is None]
    channels = answers.features.shape[1]
    return ProbeFindings(network.name, task.source, channels, linear, curves if shots else {}, notes)


def print_findings(console: Console, findings: ProbeFindings) -> None:
    """Print the probes and the few-shot curves as tables."""
    table = WholeTable(
        title=f"linear probe on the frozen features ({findings.channels}) of {findings.network}, test images of "
        f"{findings.source}; in brackets: 95 % interval, bootstrap over patients",
        title_justify="left",
    )
    for heading in ("question", "classes", "train", "test", "accuracy", "balanced accuracy", "most frequent class"):
        table.add_column(heading, justify="left" if heading in ("question", "classes") else "right")
    for name, probe in findings.linear.items():
        scores = [f"{score.value:.3f}{interval(score.low, score.high)}" for score in (probe.accuracy, probe.balanced)]
        numbers = (str(probe.train), str(probe.test), *scores, f"{probe.most_frequent:.3f}")
        table.add_row(name, ", ".join(probe.classes), *numbers)
    console.print(table)

    # few-shot
    if findings.shots:
        sizes = sorted({point.k for points in findings.shots.values() for point in points})
        table = WholeTable(
            title="balanced accuracy by the nearest class mean of k training images a class, mean over draws; in "
            "brackets: 95 % of the draws",
            title_justify="left",
        )
        for heading in ("question", "chance", *(f"k = {k}" for k in sizes)):
            table.add_column(heading, justify="left" if heading == "question" else "right")
        for name, points in findings.shots.items():
            cells = {point.k: f"{point.accuracy:.3f}{interval(point.low, point.high)}" for point in points}
            chance = f"{1 / points[0].classes:.3f}" if points else ""
            table.add_row(name, chance, *(cells.get(k, "") for k in sizes))
        console.print(table)
    for note in findings.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False)


def probe_metrics(findings: ProbeFindings) -> dict[str, float]:
    """Return the findings as metrics of the run: ``<question>/accuracy``, ``<question>/shots/<k>``."""
    metrics = {}
    for name, probe in findings.linear.items():
        metrics |= {f"{name}/accuracy": probe.accuracy.value, f"{name}/balanced_accuracy": probe.balanced.value}
    for name, points in findings.shots.items():
        metrics |= {f"{name}/shots/{point.k}": point.accuracy for point in points}
    return metrics


def _write(path: Path, findings: ProbeFindings) -> None:
    content = {
        "network": findings.network,
        "source": findings.source,
        "channels": findings.channels,
        "linear": {
            name: {**probe._asdict(), "accuracy": probe.accuracy._asdict(), "balanced": probe.balanced._asdict()}
            for name, probe in findings.linear.items()
        },
        "shots": {name: [point._asdict() for point in points] for name, points in findings.shots.items()},
        "notes": findings.notes,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as file:
            file.write_text(json.dumps(content, indent=1).replace("NaN", "null"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error
