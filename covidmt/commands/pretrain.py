"""`covidmt pretrain`: a base network from films without labels."""

from __future__ import annotations

import typer

from covidmt.commands.options import ExperimentFile, Overrides, PrintConfig
from covidmt.rooms import quick_imports


def pretrain(experiment: ExperimentFile, overrides: Overrides = None, print_config: PrintConfig = False) -> None:
    """Pretrain a base network on films without labels (SimCLR), and write its weights for model.weights."""
    from experiments.load import load_pretrain_experiment, to_yaml

    loaded = load_pretrain_experiment(experiment, overrides or [])
    if print_config:
        from experiments.trainer.arguments import check_arguments

        check_arguments(loaded.trainer)
        typer.echo(to_yaml(loaded), nl=False)
        return
    with quick_imports():
        from covidmt.pretraining.train import pretrain

    pretrain(loaded)
