"""`covidmt sweep`: an experiment many times."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidmt.commands.options import AsJson, Overrides

app = typer.Typer(help="An experiment many times: on this machine's GPUs, or on SLURM.", no_args_is_help=True)

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's name or file.")]


@app.command("run")
def run(
    sweep: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep YAML (experiments/trials.py has its keys).")],
    overrides: Overrides = None,
    launcher: Annotated[str | None, typer.Option(metavar="local|slurm", help="Same as launcher.kind=...")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the trials and stop.")] = False,
    resume: Annotated[
        str,
        typer.Option(
            metavar="auto|never|RUN",
            help="auto: start what is missing, failed or stopped; never: start all again; RUN: as auto, that run.",
        ),
    ] = "auto",
) -> None:
    """Start a sweep's trials. The same command again starts those that are neither finished nor running."""
    from covidmt.sweeps.run import run_sweep

    chosen = [*(overrides or []), *([f"launcher.kind={launcher}"] if launcher else [])]
    run_sweep(sweep, chosen, resume=resume, dry_run=dry_run)


@app.command("status")
def status(
    sweep: SweepName,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until all trials have ended.")] = False,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between two updates.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show state, epoch, PI, OLS, node, time and log of every trial, and why one failed."""
    from covidmt.sweeps.folder import SweepFolder
    from covidmt.sweeps.show import print_status

    print_status(SweepFolder.named(sweep), interval if watch else None, as_json=as_json)


@app.command("worker")
def worker(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep's YAML file, name or folder.")],
    overrides: Overrides = None,
    failed: Annotated[bool, typer.Option("--failed", help="Take trials that failed too, each once.")] = False,
) -> None:
    """Train the next trial that is not finished and nobody has, until there is none: in jobs of any cluster."""
    from covidmt.sweeps.worker import work

    work(sweep, overrides or [], failed=failed)


@app.command("cancel")
def cancel(
    sweep: SweepName,
    trials: Annotated[list[str] | None, typer.Argument(metavar="TRIAL", help="Only these trials.")] = None,
) -> None:
    """Stop trials; `covidmt sweep run` resumes them."""
    from covidmt.sweeps.cancel import cancel_trials

    cancel_trials(sweep, trials or [])


@app.command("logs")
def logs(
    trial: Annotated[str, typer.Argument(help="A trial's id or its beginning, or SWEEP/TRIAL.")],
    rank: Annotated[int, typer.Option(min=0, help="Rank of the process (SLURM).")] = 0,
) -> None:
    """Print what a trial's process wrote."""
    from covidmt.sweeps.show import print_log

    print_log(trial, rank)
