"""`covidmt init` and `covidmt schema`: a folder to begin with, and what editors know of its YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from experiments.errors import UserError
from experiments.paths import require_name

_TEMPLATES = Path(__file__).parents[1] / "templates" / "project"


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A new folder; its last part is the project's name.")],
) -> None:
    """Make a folder with an experiment, a network of your own and a README, which runs on made-up data at once."""
    from experiments.editors.json_schema import schema_text

    folder = Path(name)
    require_name(folder.name, "project")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there and not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    for template in sorted(path for path in _TEMPLATES.iterdir() if path.is_file()):
        text = template.read_text().replace("NAME", folder.name)
        (folder / template.name.removesuffix(".txt")).write_text(text)
    (folder / "experiment.schema.json").write_text(schema_text("experiment"))
    typer.echo(f"{folder}: made; its README.md says how to run it")


def schema(
    kind: Annotated[
        Literal["experiment", "sweep", "lungs", "pretrain"], typer.Argument(help="Which kind of YAML.")
    ] = "experiment",
) -> None:
    """Print the JSON Schema of a kind of YAML: completion, types, ranges and docs in editors."""
    from experiments.editors.json_schema import schema_text

    typer.echo(schema_text(kind), nl=False)
