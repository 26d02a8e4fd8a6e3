"""`covidmt sweep`: an experiment many times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidmt.commands.options import Overrides

app = typer.Typer(help="An experiment many times: on this machine's GPUs, or on SLURM.", no_args_is_help=True)

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's name or file.")]


@app.command("run")
def run(
    sweep: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep YAML (experiments/trials.py has its keys).")],
    overrides: Overrides = None,
    launcher: Annotated[str | None, typer.Option(metavar="local|slurm", help="As launcher.kind=...")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the trials and stop.")] = False,
    resume: Annotated[
        str,
        typer.Option(
            metavar="auto|never|RUN",
            help="auto: what is missing, failed or stopped; never: all afresh; RUN: the start of that parent run.",
        ),
    ] = "auto",
) -> None:
    """Start a sweep's trials. The same command again starts those that are not finished and do not run."""
    from covidmt.sweeps.run import run

    chosen = [*(overrides or []), *([f"launcher.kind={launcher}"] if launcher else [])]
    run(sweep, chosen, resume=resume, dry_run=dry_run)


@app.command("status")
def status(
    sweep: SweepName,
    watch: Annotated[bool, typer.Option("--watch", help="Until all trials have ended.")] = False,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 10,
) -> None:
    """State, epoch, PI, OLS, node, time and log of every trial; why one failed."""
    from covidmt.sweeps.folder import SweepFolder
    from covidmt.sweeps.status import show

    show(SweepFolder.named(sweep), interval if watch else None)


@app.command("cancel")
def cancel(
    sweep: SweepName,
    trials: Annotated[list[str] | None, typer.Argument(metavar="[TRIAL]...", help="Only these.")] = None,
) -> None:
    """End trials; `covidmt sweep run` goes on with them."""
    from covidmt.sweeps.run import cancel

    cancel(sweep, trials or [])


@app.command("logs")
def logs(
    trial: Annotated[str, typer.Argument(help="A trial's id or its beginning, or SWEEP/TRIAL.")],
    rank: Annotated[int, typer.Option(min=0, help="Of which process (SLURM).")] = 0,
) -> None:
    """Print what a trial's process wrote."""
    from covidmt.sweeps.status import print_log

    print_log(trial, rank)
