"""`covidmt train`: one experiment, from its YAML to its tested model."""

from __future__ import annotations

from typing import Annotated

import typer

from covidmt.commands.options import ExperimentFile, Overrides, PrintConfig
from covidmt.rooms import quick_imports


def train(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    print_config: PrintConfig = False,
    resume: Annotated[
        str,
        typer.Option(
            metavar="auto|never|RUN_ID",
            help="auto: resume the newest run of the same settings in this folder that did not finish, if any.",
        ),
    ] = "auto",
    resume_changed_data: Annotated[
        bool, typer.Option("--resume-changed-data", help="Resume also where the data have changed since.")
    ] = False,
) -> None:
    """Train an experiment; PI, OLS and Grad-CAM pictures go to MLflow at every validation epoch."""
    from experiments.load import load_experiment, to_yaml

    loaded = load_experiment(experiment, overrides or [])
    if print_config:
        from experiments.trainer.arguments import check_arguments

        check_arguments(loaded.trainer)
        typer.echo(to_yaml(loaded), nl=False)
        return
    with quick_imports():
        from callbacks.preemption import Preempted
        from covidmt.tracking.logger import global_rank
        from covidmt.training.train import train

    try:
        train(loaded, resume, changed_data=resume_changed_data)
    except Preempted as stop:
        if global_rank() == 0:
            typer.secho(f"covidmt: {stop}; the same command resumes it.", err=True)
            raise typer.Exit(128 + stop.signum) from stop
