"""Imported by name in trainings that are meant to fail."""

from lightning.pytorch import Callback, LightningModule, Trainer


class Fails(Callback):
    """Raises an error with this text when the fit begins."""

    def __init__(self, text: str) -> None:
        self.text = text

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        raise ValueError(f"{self.text}: no route to db")
