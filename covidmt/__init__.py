"""covidmt: chest X-ray models that must survive a phone.

The library's front door. A doctor forwards an X-ray through WhatsApp; the model must give the same answer (no
prediction instability, PI) for a reason inside the lungs (no out-of-lung saliency, OLS). The command line is
``covidmt --help``.

What is exported here is for use from outside, and is imported when it is first asked for:

* `load_experiment`, `Experiment`, `UserError`: what to run, from a YAML.
* `MultiTaskDataModule`, `decode`, `get_channel`: chest X-rays in their data sets' own layouts, and the phone.
* `MultiTaskModule`, `build_module`, `load_module`: one shared base network for all tasks; the module that an experiment
  asks for (a private one where it does), new or out of a checkpoint.
* `image_pairs`, `with_pairs`, `load_segmenter`: pairs and lungs for a LightningModule and a DataModule of your own.
* `Source`; `TaskModule`, `ClassificationTask`, `BoxTask`, `Term`; `Segmentation`: what a data set, a kind of task and a
  segmenter of your own begin from (docs/extending.md).
* `RobustnessCallback`, `GradCamOverlays`: PI, OLS and pictures at every validation epoch; `LogsPictures`, `LogsTables`,
  `LoggedAt`: what a logger has that takes pictures or tables.
* `PredictionInstability`, `OutOfLungSaliency`, `MeanIol`, `gradcam`: the scores (PI, OLS, IOL) and the heat map alone;
  `TaskInstability` and `LocalisationInstability` (LI) of tasks of many labels and of boxes.

Whatever no package of the project exports may change without notice.

Example:
    >>> import covidmt
    >>> film = covidmt.get_channel("whatsapp")  # what the phone does to an image: pixels in, the received file out
    >>> "PredictionInstability" in dir(covidmt)
    True
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from covidmt.rooms import foreign_room

if TYPE_CHECKING:
    from callbacks.image_pairs import image_pairs, with_pairs
    from callbacks.loggers.contracts import LoggedAt, LogsPictures, LogsTables
    from callbacks.overlays import GradCamOverlays
    from callbacks.robustness import RobustnessCallback
    from datamodules.channels.registry import get_channel
    from datamodules.images.decode import decode
    from datamodules.multitask import MultiTaskDataModule
    from experiments.batch import Pair
    from experiments.errors import UserError
    from experiments.load import load_experiment
    from experiments.schema import Experiment, Robustness, Task
    from experiments.source_schema import Source
    from explain.gradcam import gradcam
    from lightning_modules.load import build_module, load_module
    from lightning_modules.losses.tasks import Term
    from lightning_modules.lungs.segmentation import Segmentation
    from lightning_modules.lungs.segmenters import load_segmenter
    from lightning_modules.multitask import MultiTaskModule
    from lightning_modules.tasks import BoxTask, ClassificationTask, TaskModule
    from metrics.instability import PredictionInstability
    from metrics.saliency import MeanIol, OutOfLungSaliency, iol
    from metrics.tasks.instability import TaskInstability
    from metrics.tasks.localisation import LocalisationInstability

    __version__: str

__all__ = [
    "BoxTask",
    "ClassificationTask",
    "Experiment",
    "GradCamOverlays",
    "LocalisationInstability",
    "LoggedAt",
    "LogsPictures",
    "LogsTables",
    "MeanIol",
    "MultiTaskDataModule",
    "MultiTaskModule",
    "OutOfLungSaliency",
    "Pair",
    "PredictionInstability",
    "Robustness",
    "RobustnessCallback",
    "Segmentation",
    "Source",
    "Task",
    "TaskInstability",
    "TaskModule",
    "Term",
    "UserError",
    "__version__",
    "build_module",
    "decode",
    "get_channel",
    "gradcam",
    "image_pairs",
    "iol",
    "load_experiment",
    "load_module",
    "load_segmenter",
    "with_pairs",
]

_HOMES = {
    "BoxTask": "lightning_modules.tasks",
    "ClassificationTask": "lightning_modules.tasks",
    "Experiment": "experiments.schema",
    "GradCamOverlays": "callbacks.overlays",
    "LocalisationInstability": "metrics.tasks.localisation",
    "LoggedAt": "callbacks.loggers.contracts",
    "LogsPictures": "callbacks.loggers.contracts",
    "LogsTables": "callbacks.loggers.contracts",
    "MeanIol": "metrics.saliency",
    "MultiTaskDataModule": "datamodules.multitask",
    "MultiTaskModule": "lightning_modules.multitask",
    "OutOfLungSaliency": "metrics.saliency",
    "Pair": "experiments.batch",
    "PredictionInstability": "metrics.instability",
    "Robustness": "experiments.schema",
    "RobustnessCallback": "callbacks.robustness",
    "Segmentation": "lightning_modules.lungs.segmentation",
    "Source": "experiments.source_schema",
    "Task": "experiments.schema",
    "TaskInstability": "metrics.tasks.instability",
    "TaskModule": "lightning_modules.tasks",
    "Term": "lightning_modules.losses.tasks",
    "UserError": "experiments.errors",
    "build_module": "lightning_modules.load",
    "decode": "datamodules.images.decode",
    "get_channel": "datamodules.channels.registry",
    "gradcam": "explain.gradcam",
    "image_pairs": "callbacks.image_pairs",
    "iol": "metrics.saliency",
    "load_experiment": "experiments.load",
    "load_module": "lightning_modules.load",
    "load_segmenter": "lightning_modules.lungs.segmenters",
    "with_pairs": "callbacks.image_pairs",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name == "__version__":
        return version("covidmt")
    if name not in _HOMES:
        raise AttributeError(f"module 'covidmt' has no attribute {name!r}")

    hidden = foreign_room()
    if hidden:
        raise ImportError(hidden)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names, whether imported yet or not."""
    return __all__
