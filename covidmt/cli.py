"""The command line: its commands, and what a mistake is answered with."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer

from covidmt.commands import (
    compare,
    data,
    lungs,
    models,
    pairs,
    pretrain,
    probe,
    project,
    runs,
    serve,
    sweep,
    tracking,
    train,
    weights,
)
from covidmt.commands.options import URI_VARIABLE
from covidmt.tracking.environment import set_mlflow_defaults
from experiments.errors import UserError, explain_shared_memory
from experiments.names import printable
from experiments.secrets import hiding
from experiments.trainer.loudness import loudness

_HELP = ["-h", "--help"]

app = typer.Typer(
    name="covidmt",
    help="Chest X-ray models that must survive a phone: train, and measure prediction instability (PI) and "
    "out-of-lung saliency (OLS).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": _HELP},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"covidmt {version('covidmt')}")
        raise typer.Exit


# The options of all commands, wherever they stand; `main` takes them out of the arguments.
_EVERYWHERE = {"--debug": "--debug", "-q": "--quiet", "--quiet": "--quiet", "-v": "--verbose", "--verbose": "--verbose"}


@app.callback()
def describe_options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Any command: errors and results alone.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Any command: notes on what it does, too.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Any command: a mistake shows its traceback, too.")] = False,
) -> None:
    """Have the options of all commands in the help; `main` reads them."""


for command in (
    train.train,
    pretrain.pretrain,
    models.predict,
    models.evaluate,
    models.export,
    serve.serve,
    probe.probe,
    tracking.ui,
    compare.report,
    compare.panel,
    tracking.sync,
    tracking.clean,
    project.init,
    project.schema,
):
    app.command()(command)
for name, group in {
    "data": data,
    "lungs": lungs,
    "weights": weights,
    "pairs": pairs,
    "sweep": sweep,
    "runs": runs,
}.items():
    app.add_typer(group.app, name=name)


def command_line() -> Any:
    """Return the command of all commands, each option with a name for its value: ``--seed N``, ``--out DIR``.

    Example:
        >>> command_line().commands["data"].commands["demo"].params[1].metavar
        'N'
    """
    command = typer.main.get_command(app)
    _name_values(command)
    return command


def _name_values(command: Any) -> None:
    """Name the arguments, and the values of options, that their commands left without a name; a switch has none."""
    for option in command.get_params(typer.Context(command, help_option_names=_HELP)):
        kind = getattr(option, "type_descriptor", None)
        if option.metavar is None and option.param_type_name == "argument":
            option.metavar = str(option.name).upper()
        elif option.metavar is None and not (kind and kind.is_choice):
            option.metavar = _value_name(option)
    for member in getattr(command, "commands", {}).values():
        _name_values(member)


def _value_name(option: Any) -> str:
    """Return what stands behind an option in the help; nothing behind a switch."""
    if option.is_flag:
        return ""
    kind = str(option.type_descriptor.annotation)
    if "int" in kind or "float" in kind:
        return "N"
    return "PATH" if "Path" in kind else str(option.name).upper()


def main() -> None:
    """Run the command line; a `UserError`, or a file that cannot be used, is one message and exit status 2.

    Nothing that it prints tells a password or token.
    """
    arguments, asked = _split_arguments(sys.argv[1:])
    with (
        redirect_stdout(hiding(sys.stdout)),
        redirect_stderr(hiding(sys.stderr)),
        loudness(("--verbose" in asked) - ("--quiet" in asked)),
        _own_environment(),
    ):
        _run_commands(arguments, debug="--debug" in asked)


def _split_arguments(arguments: list[str]) -> tuple[list[str], set[str]]:
    """Return the arguments of a command, and the options of all commands that stand among them."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    asked = {_EVERYWHERE[argument] for argument in arguments[:end] if argument in _EVERYWHERE}
    return [argument for argument in arguments[:end] if argument not in _EVERYWHERE] + arguments[end:], asked


@contextmanager
def _own_environment() -> Generator[None]:
    """Let an option set ``MLFLOW_TRACKING_URI`` for a command alone."""
    before = os.environ.get(URI_VARIABLE)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(URI_VARIABLE, None)
        else:
            os.environ[URI_VARIABLE] = before


def _run_commands(arguments: list[str], *, debug: bool) -> None:
    set_mlflow_defaults()
    for argument in arguments:
        if not argument.isprintable() and argument.encode(errors="ignore").decode() != argument:
            _refuse(f"{argument!a}: is not UTF-8, so it cannot be written down anywhere; rename the file")
    try:
        command_line()(args=arguments, prog_name="covidmt")
    except UserError as error:
        if debug:
            raise
        # A data loader's worker wraps the message in its own traceback.
        message = str(error).rpartition("experiments.errors.UserError: ")[2].strip()
        _refuse(message)
    except (OSError, RuntimeError) as error:
        shared_memory = explain_shared_memory(error)
        if shared_memory and not debug:
            _refuse(shared_memory)
        if debug or isinstance(error, RuntimeError) or not (error.filename or error.errno in _STORAGE):
            raise
        name = printable(str(error.filename or "the output"))
        if error.errno not in _STORAGE:  # such as a file in place of a folder
            _refuse(f"{name}: cannot be used ({error.strerror}); name another place, or put this one right")
        use = "read or written" if error.errno in _RIGHTS else "written"
        _refuse(f"{name}: cannot be {use} ({error.strerror}); make room or set the folder's rights, then start again")


_LINES = "\n"  # of a message that is a list
_RIGHTS = (errno.EACCES, errno.EPERM)
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, *_RIGHTS)


def _refuse(message: str) -> NoReturn:
    plain = False if os.environ.get("NO_COLOR") else None  # None: as the terminal can
    typer.secho(f"covidmt: {printable(message, keep=_LINES)}", err=True, fg=typer.colors.RED, color=plain)
    sys.exit(2)


if __name__ == "__main__":
    main()
