"""What fits the cards of MLflow's UI, one for each picture: it prints all of a run's parameters there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from experiments.schema import Experiment, View

if TYPE_CHECKING:
    from mlflow.entities import Run
    from PIL import Image

THUMBNAIL = 760  # longest side in the UI's picture cards: MLflow's own 256 leaves an overlay's text unreadable
PICTURE = 0.84  # of a card's width: three lines of parameters stand above it, and push it down
AS_TAGS = ("tasks", "batch_size")  # to filter by; a word as long as all tasks would push the picture out of its card


def flat_parameters(experiment: Experiment) -> dict[str, object]:
    """Return the settings by which runs are compared, flat.

    Example:
        >>> from experiments.load import SHIPPED, load_experiment
        >>> parameters = flat_parameters(load_experiment(SHIPPED / "demo.yaml"))
        >>> parameters["backbone"], parameters["n_tasks"], parameters["image_size"]
        ('resnet18', 6, 128)
    """
    data = experiment.data
    tasks = [task.name for task in experiment.active]
    parameters: dict[str, object] = {
        "backbone": experiment.model.backbone,
        "tasks": ",".join(tasks),
        "n_tasks": len(tasks),
        "seed": experiment.seed,
        "batch_size": experiment.active[0].batch_size,
        "lr": experiment.optimizer.lr,
        "image_size": data.image_size,
        "channel": data.pairs.channel,
    }
    if experiment.model.init_from is not None:
        parameters["init_from"] = experiment.model.init_from
    if data.view is not View.original:
        parameters["view"] = data.view.value
    return parameters


def card_parameters(parameters: Mapping[str, object]) -> dict[str, object]:
    """Return what of them MLflow has as parameters: tasks with blanks between them, where a line can break.

    Example:
        >>> card_parameters({"backbone": "resnet18", "tasks": "covidx,effusion", "batch_size": 8})
        {'backbone': 'resnet18', 'tasks': 'covidx, effusion'}
    """
    shown = {name: value for name, value in parameters.items() if name != "batch_size"}
    return shown | {"tasks": str(parameters["tasks"]).replace(",", ", ")}


def logged_parameters(run: Run) -> dict[str, str]:
    """Return the same of a run, whether they are parameters there or tags."""
    tags = run.data.tags
    return dict(run.data.params) | {name: tags[name] for name in AS_TAGS if name in tags}


def thumbnail(picture: Image.Image) -> Image.Image:
    """Return a picture as its card shows it: small, and in the corner of a square, of which the lower part is not seen.

    What is beside and below a wide picture is transparent.
    """
    from mlflow.tracking.multimedia import compress_image_size
    from PIL import Image

    if picture.width > picture.height:
        side = round(picture.width / PICTURE)
        square = Image.new("RGBA", (side, side))
        square.paste(picture.convert("RGBA"))
        picture = square
    return compress_image_size(picture, THUMBNAIL)
