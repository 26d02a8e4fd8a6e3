"""`covidmt data`: look at data sets, cache their images, write made-up ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidmt.commands.options import AsJson, ExperimentFile, Overrides, Processes
from covidmt.rooms import quick_imports
from experiments.errors import UserError

app = typer.Typer(help="Look at data sets, or make made-up ones.", no_args_is_help=True)


@app.command()
def check(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    limit: Annotated[int | None, typer.Option(help="Open at most this many files of each class.")] = None,
    poses: Annotated[int, typer.Option(help="Ask the segmenter how so many images of each source lie; 0: none.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Check a data set: counts per split and class, problems, leakage between splits, shortcut risks."""
    from rich.progress import track

    from covidmt.tracking.folders import mlruns_dir
    from experiments.files import replace_file
    from experiments.load import load_experiment
    from experiments.names import Terminal, printable

    with quick_imports():
        from datamodules.checks.check import check_data
        from datamodules.checks.text import print_report, report_json

    def progress(files, total):
        return track(files, total=total, description="Opening images")

    loaded = load_experiment(experiment, overrides or [])
    if as_json:
        report = check_data(loaded, limit=limit)
        typer.echo(report_json(report))
        raise typer.Exit(2 if report.errors else 0)
    report = check_data(loaded, limit=limit, progress=progress)
    if poses:
        with quick_imports():
            from covidmt.lungs.poses import describe_poses

        lines = describe_poses(loaded, poses)
        report.risks.extend(f"{line} (of up to {poses} images a source)" for line in lines)
        if not lines:
            report.notes.append(f"up to {poses} images of each source: all look like upright frontal films")
    print_report(report, Terminal())
    for name, files in report.missing.items():
        path = mlruns_dir() / "missing" / f"{name}.txt"
        with replace_file(path) as new:
            new.write_text("".join(f"{printable(file)}\n" for file in files))
        typer.echo(f"all {len(files)} listed images of {name} that are not there: {path}")
    if report.errors:
        raise UserError(f"{len(report.errors)} problem(s) that would stop or spoil a training; they are listed above")


@app.command()
def cache(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    processes: Processes = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare all checksums, and decode damaged images again.")
    ] = False,
) -> None:
    """Decode all images of an experiment into data.cache. Training does it too; the same command continues."""
    from experiments.load import load_experiment

    with quick_imports():
        from datamodules.groups import batch_groups, fill_cache
        from datamodules.sources.table import load_tables

    loaded = load_experiment(experiment, overrides or [])
    if loaded.data.cache is None:
        raise UserError("data.cache is null: name a folder for the cache, e.g. data.cache=mlruns/images")
    tables = load_tables(loaded.data, {task.source for task in loaded.active}, loaded.active)
    groups = batch_groups(loaded.active, tables)
    for cached in fill_cache(loaded.data, groups, processes=processes, verify=verify) or []:
        typer.echo(f"{cached.path}: {len(cached)} images, complete")


@app.command()
def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder, or an earlier demo set.")],
    seed: Annotated[int, typer.Option(help="Another seed draws other chests.")] = 0,
) -> None:
    """Write made-up chest X-rays in each data set's own layout, with lung masks."""
    from datamodules.demo.write import write_demo

    write_demo(directory, seed=seed)
    typer.echo(f"made-up data sets: {directory}")
