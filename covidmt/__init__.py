"""covidmt: chest X-ray models that must survive a phone.

The library's front door. A doctor forwards an X-ray through WhatsApp; the model must give the same answer (no
prediction instability, PI) for a reason inside the lungs (no out-of-lung saliency, OLS). The command line is
``covidmt --help``.

What is exported here is for use from outside, and is imported when it is first asked for:

* `load_experiment`, `Experiment`, `UserError`: what to run, from a YAML.
* `MultiTaskDataModule`, `decode`, `get_channel`: chest X-rays in their data sets' own layouts, and the phone.
* `MultiTaskModule`, `build_module`, `load_module`: one shared base network for all tasks; the module that an experiment
  asks for (a private one where it does), new or out of a checkpoint.
* `RobustnessCallback`, `GradCamOverlays`: PI, OLS and pictures at every validation epoch.
* `PredictionInstability`, `OutOfLungSaliency`, `gradcam`: the scores and the heat map alone.

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
    from callbacks.overlays import GradCamOverlays
    from callbacks.robustness import RobustnessCallback
    from datamodules.channels.registry import get_channel
    from datamodules.images.decode import decode
    from datamodules.multitask import MultiTaskDataModule
    from experiments.errors import UserError
    from experiments.load import load_experiment
    from experiments.schema import Experiment
    from explain.gradcam import gradcam
    from lightning_modules.load import build_module, load_module
    from lightning_modules.multitask import MultiTaskModule
    from metrics.instability import PredictionInstability
    from metrics.saliency import OutOfLungSaliency

    __version__: str

__all__ = [
    "Experiment",
    "GradCamOverlays",
    "MultiTaskDataModule",
    "MultiTaskModule",
    "OutOfLungSaliency",
    "PredictionInstability",
    "RobustnessCallback",
    "UserError",
    "__version__",
    "build_module",
    "decode",
    "get_channel",
    "gradcam",
    "load_experiment",
    "load_module",
]

_HOMES = {
    "Experiment": "experiments.schema",
    "GradCamOverlays": "callbacks.overlays",
    "MultiTaskDataModule": "datamodules.multitask",
    "MultiTaskModule": "lightning_modules.multitask",
    "OutOfLungSaliency": "metrics.saliency",
    "PredictionInstability": "metrics.instability",
    "RobustnessCallback": "callbacks.robustness",
    "UserError": "experiments.errors",
    "build_module": "lightning_modules.load",
    "decode": "datamodules.images.decode",
    "get_channel": "datamodules.channels.registry",
    "gradcam": "explain.gradcam",
    "load_experiment": "experiments.load",
    "load_module": "lightning_modules.load",
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
