"""What a logger has that takes pictures or tables; a logger of the user's own needs no more (docs/extending.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import lightning as L
import numpy as np
import pandas as pd

from callbacks.lightning_state import logged_step


class LoggedAt(NamedTuple):
    """When something was measured.

    Attributes:
        split: ``val`` or ``test``.
        epoch: Epochs done before it: the slider of MLflow's UI.
        step: The step with which Lightning gives every logger the numbers of the same validation or test.
    """

    split: str
    epoch: int
    step: int

    @classmethod
    def of(cls, trainer: L.Trainer, split: str) -> LoggedAt:
        """Return the present moment of a Trainer."""
        return cls(split, trainer.current_epoch, logged_step(trainer))


@runtime_checkable
class LogsPictures(Protocol):
    """A logger that takes pictures."""

    def log_pictures(self, pictures: Mapping[str, np.ndarray], at: LoggedAt) -> None:
        """Log pictures.

        Args:
            pictures: Key, such as ``gradcam/00``, the same at every epoch -> (H, W, 3) uint8 RGB.
            at: When.
        """
        ...


@runtime_checkable
class LogsTables(Protocol):
    """A logger that takes tables."""

    def log_rows(self, name: str, table: pd.DataFrame, at: LoggedAt) -> None:
        """Log a table.

        Args:
            name: Such as ``robustness/val_pairs``, the same at every epoch.
            table: Texts and numbers; harmless in a spreadsheet.
            at: When.
        """
        ...


def table_file(name: str, at: LoggedAt) -> str:
    """Return the file of a table of a name, relative to where a logger keeps its files.

    >>> table_file("robustness/val_pairs", LoggedAt("val", 3, 400)), table_file("pairs", LoggedAt("test", 3, 400))
    ('robustness/val_pairs/003.csv', 'pairs.csv')
    """
    return f"{name}.csv" if at.split == "test" else f"{name}/{at.epoch:03d}.csv"


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as text, float32 exactly.

    >>> to_csv(pd.DataFrame({"id": ["a.png"], "p": np.array([0.1], np.float32)})).split()
    ['id,p', 'a.png,0.100000001']
    """
    return table.to_csv(index=False, float_format="%.9g")
