"""The command line: its commands, and what a mistake is answered with."""

from __future__ import annotations

import errno
import sys
from typing import NoReturn

import typer

from covidmt.commands import compare, data, lungs, models, pairs, sweep, tracking, train, weights
from covidmt.tracking.environment import set_mlflow_defaults
from experiments.errors import UserError

app = typer.Typer(
    name="covidmt",
    help="Chest X-ray models that must survive a phone: train, and measure prediction instability (PI) and "
    "out-of-lung saliency (OLS). Any command takes --debug: a mistake then shows its traceback too.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    train.train,
    models.predict,
    models.evaluate,
    tracking.ui,
    compare.report,
    compare.panel,
    tracking.sync,
):
    app.command()(command)
for name, group in {"data": data, "lungs": lungs, "weights": weights, "pairs": pairs, "sweep": sweep}.items():
    app.add_typer(group.app, name=name)


def main() -> None:
    """Run the command line; a `UserError`, or a file that cannot be used, is one message and exit status 2."""
    set_mlflow_defaults()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    for argument in arguments:
        if not argument.isprintable() and argument.encode(errors="ignore").decode() != argument:
            _refuse(f"{argument!a}: is not UTF-8, so it cannot be written down anywhere; rename the file")
    try:
        app(args=arguments, prog_name="covidmt")
    except UserError as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        # A data loader's worker wraps the message in its own traceback.
        message = str(error).rpartition("experiments.errors.UserError: ")[2].strip()
        _refuse(message)
    except OSError as error:
        if len(arguments) < len(sys.argv) - 1 or not (error.filename or error.errno in _STORAGE):
            raise
        if error.errno not in _STORAGE:  # such as a file in place of a folder
            _refuse(f"{error.filename}: cannot be used ({error.strerror}); name another place, or put this one right")
        where, use = error.filename or "the output", "read or written" if error.errno in _RIGHTS else "written"
        _refuse(f"{where}: cannot be {use} ({error.strerror}); make room or set the folder's rights, then start again")


_RIGHTS = (errno.EACCES, errno.EPERM)
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, *_RIGHTS)


def _refuse(message: str) -> NoReturn:
    typer.secho(f"covidmt: {message}", err=True, fg=typer.colors.RED)
    sys.exit(2)


if __name__ == "__main__":
    main()
