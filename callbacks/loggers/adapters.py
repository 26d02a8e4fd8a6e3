"""Lightning's loggers as takers of pictures and tables: TensorBoard, Weights & Biases, CSV files.

All of a validation has one step in each of them: that with which Lightning gives them its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import numpy as np
import pandas as pd
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from PIL import Image

from callbacks.loggers.contracts import LoggedAt, LogsPictures, LogsTables, table_file, to_csv

Taker = TypeVar("Taker", LogsPictures, LogsTables)
MOST_ROWS = 100  # of a table that TensorBoard shows as text; its file beside it has all


class TensorBoardTaker:
    """Pictures with a slider over the steps; a table as text of at most 100 rows, and whole as a file beside it."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.logger = logger

    def log_pictures(self, pictures: Mapping[str, np.ndarray], at: LoggedAt) -> None:
        """Log pictures."""
        for key, picture in pictures.items():
            self.logger.experiment.add_image(key, picture, global_step=at.step, dataformats="HWC")

    def log_rows(self, name: str, table: pd.DataFrame, at: LoggedAt) -> None:
        """Log a table."""
        file = Path(self.logger.log_dir) / table_file(name, at)
        _write(file, to_csv(table))
        left = f"\n\n{len(table)} rows, the first {MOST_ROWS}; all: {file}" if len(table) > MOST_ROWS else ""
        self.logger.experiment.add_text(name, _markdown(table.head(MOST_ROWS)) + left, global_step=at.step)


class WandbTaker:
    """Pictures and tables as W&B has them, with the ``trainer/global_step`` of the numbers."""

    def __init__(self, logger: WandbLogger) -> None:
        self.logger = logger

    def log_pictures(self, pictures: Mapping[str, np.ndarray], at: LoggedAt) -> None:
        """Log pictures."""
        for key, picture in pictures.items():
            self.logger.log_image(key, [picture], step=at.step)

    def log_rows(self, name: str, table: pd.DataFrame, at: LoggedAt) -> None:
        """Log a table."""
        columns = [str(column) for column in table.columns]
        values = table.astype(object).where(table.notna(), None)
        self.logger.log_table(name, columns=columns, data=values.to_numpy().tolist(), step=at.step)


class CsvTaker:
    """Files beside ``metrics.csv``: ``pictures/<key>/<step>.png``, ``robustness/val_pairs/<epoch>.csv``."""

    def __init__(self, logger: CSVLogger) -> None:
        self.logger = logger

    def log_pictures(self, pictures: Mapping[str, np.ndarray], at: LoggedAt) -> None:
        """Log pictures."""
        for key, picture in pictures.items():
            file = Path(self.logger.log_dir) / "pictures" / key / f"{at.step:08d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(file)

    def log_rows(self, name: str, table: pd.DataFrame, at: LoggedAt) -> None:
        """Log a table."""
        _write(Path(self.logger.log_dir) / table_file(name, at), to_csv(table))


_ADAPTERS: dict[type[Logger], Callable[[Any], Any]] = {
    TensorBoardLogger: TensorBoardTaker,
    WandbLogger: WandbTaker,
    CSVLogger: CsvTaker,
}


def takers(trainer: L.Trainer, contract: type[Taker]) -> list[Taker]:
    """Return what takes pictures or tables among a Trainer's loggers; the others get the numbers alone.

    Args:
        trainer: The Trainer.
        contract: ``LogsPictures`` or ``LogsTables``: a logger that has its method is taken as it is.

    Example:
        >>> trainer = L.Trainer(accelerator="cpu", logger=CSVLogger("curves"), enable_checkpointing=False)
        >>> [type(taker).__name__ for taker in takers(trainer, LogsPictures)]
        ['CsvTaker']
    """
    found: list[Taker] = []
    for logger in trainer.loggers:
        if isinstance(logger, contract):
            found.append(logger)
            continue
        adapted = [adapter(logger) for kind, adapter in _ADAPTERS.items() if isinstance(logger, kind)]
        found += [adapter for adapter in adapted if isinstance(adapter, contract)]
    return found


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _markdown(table: pd.DataFrame) -> str:
    """A table as Markdown; a bar in a cell would end it."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows)


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")
