"""PI and OLS at every validation epoch and in test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import isnan
from typing import Any, NamedTuple

import lightning as L
import pandas as pd
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback, RichProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from callbacks.pair_maps import ExplainedSide, PairMaps, pair_source, require_pairs, undisturbed
from experiments.batch import Pair
from experiments.schema import Robustness, Task
from explain.heat import heat_region
from metrics.instability import PredictionInstability
from metrics.paired import PAIR_COLUMNS, SIDES, TEST_PAIRS, VAL_PAIRS
from metrics.saliency import OutOfLungSaliency, iol


class PairRow(NamedTuple):
    """A pair's row in the table, see :data:`metrics.paired.PAIR_COLUMNS`."""

    id: str
    label: float
    p_original: float
    p_received: float
    iol_original: float
    iol_received: float


class RobustnessCallback(Callback):
    """Walk the split's image pairs once and log prediction instability and out-of-lung saliency.

    Works with any LightningModule that has ``features`` and ``head`` and any LightningDataModule that has
    ``pair_dataloader(split)`` (this process's share of the pairs, none twice; None: no pairs). The module's mode,
    gradients and the random state stay as they were. Logged under ``val/`` or ``test/``, so that a checkpoint can
    monitor them; what is undefined (no pair, no lung mask) is not logged:

    ======================================================= ====================================================
    ``pi_score``, ``pi/ci_low``, ``pi/ci_high``             PI score and its Wilson 95 % interval, percent
    ``pi/flips_pos_to_neg``, ``pi/flips_neg_to_pos``        pairs (``..._percent``: of all pairs)
    ``pi/argmax``, ``pi/mean_abs_change``                   percent of pairs; change of the label's probability
    ``pairs``, ``pi/undefined``                             pairs with a decision; pairs with a NaN prediction
    ``ols_score/<side>``                                    OLS score, percent; side: original, received
    ``iol/<side>/mean``, ``iol/<side>/hist/00`` ... ``09``  mean IOL; shares of images per tenth of IOL
    ``ols/<side>/n``, ``.../no_region``, ``.../no_lung``    images scored; map all zero; no lung found
    ======================================================= ====================================================

    Every logger with ``log_text`` gets a table, ``robustness/test_pairs.csv`` or ``robustness/val_pairs/<epoch>.csv``:
    a row a pair, of all processes, with the columns :data:`metrics.paired.PAIR_COLUMNS`.

    Args:
        robustness: The definitions' settings.
        task: The classification task that decides (``robustness.task``).

    Attributes:
        last: The newest value of everything that was logged.

    Example:
        A network that takes bright images for COVID-19, and the same everywhere: its region is the whole image. The
        phone makes one of four bright images dark (PI: 25 %), and in two of four the lungs fill a quarter of the image
        (IOL 0.25 < 0.4; OLS: 50 %).

        >>> import torch
        >>> class Brightness(L.LightningModule):
        ...     def features(self, images):
        ...         return [images / 255 - 0.5]
        ...
        ...     def head(self, task):
        ...         return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        ...
        ...     def validation_step(self, batch, batch_idx):
        ...         pass
        >>> class FourPairs(L.LightningDataModule):
        ...     def val_dataloader(self):
        ...         return DataLoader([0])
        ...
        ...     def pair_dataset(self, split):
        ...         return None
        ...
        ...     def pair_dataloader(self, split):
        ...         original = torch.full((4, 1, 32, 32), 200, dtype=torch.uint8)
        ...         received = original.clone()
        ...         received[3] = 90
        ...         lung = torch.zeros(4, 32, 32, dtype=torch.bool)
        ...         lung[:2], lung[2:, :, :8] = True, True
        ...         return [Pair(original, received, torch.tensor([1.0, 0.0, 1.0, 0.0]), lung, ["a", "b", "c", "d"])]
        >>> robustness = RobustnessCallback(Robustness(), Task(name="covidx", labels=["COVID-19"]))
        >>> trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, callbacks=[robustness])
        >>> _ = trainer.validate(Brightness(), FourPairs(), verbose=False)
        >>> robustness.last["val/pi_score"], robustness.last["val/ols_score/original"]
        (25.0, 50.0)
    """

    def __init__(self, robustness: Robustness, task: Task) -> None:
        self.robustness = robustness
        self.maps = PairMaps(robustness, task)
        self.last: dict[str, float] = {}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.maps.cam.check(pl_module)
        require_pairs(trainer)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._score_pairs(trainer, pl_module, "val")

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._score_pairs(trainer, pl_module, "test")

    def _score_pairs(self, trainer: L.Trainer, module: L.LightningModule, split: str) -> None:
        instability = PredictionInstability(self.maps.decision).to(module.device)
        saliency = {side: OutOfLungSaliency(self.robustness.eta).to(module.device) for side in SIDES}
        rows: list[PairRow] = []

        # this process's pairs
        with undisturbed(module):
            loader = pair_source(trainer).pair_dataloader(split)
            if loader is None:
                return
            for pair in _show_progress(trainer, loader):
                sides = self.maps(trainer, module, pair)
                regions = [heat_region(side.heat, self.robustness.region_threshold) for side in sides]
                lung = pair.lung.to(module.device, non_blocking=True)
                instability.update(*(side.logits for side in sides))
                for metric, region in zip(saliency.values(), regions, strict=True):
                    metric.update(region, lung)
                rows += self._pair_rows(pair, sides, [iol(region, lung) for region in regions])

        # all processes' figures; equal in all by now, and of equal ones the maximum is exact where a mean may round
        ols = {side: metric.compute() for side, metric in saliency.items()}
        figures = _name_figures(split, instability.compute(), ols)
        module.log_dict(figures, on_step=False, on_epoch=True, reduce_fx="max", sync_dist=True)
        self.last = {key: value for key, value in self.last.items() if not key.startswith(f"{split}/")} | figures
        self._log_rows(trainer, rows, split)

    def _pair_rows(self, pair: Pair, sides: tuple[ExplainedSide, ExplainedSide], iols: list[Tensor]) -> list[PairRow]:
        probabilities = [self.maps.decision.probability(side.logits) for side in sides]
        columns = (column.tolist() for column in (pair.label, *probabilities, *iols))
        return [PairRow(*row) for row in zip(pair.id, *columns, strict=True)]

    def _log_rows(self, trainer: L.Trainer, rows: list[PairRow], split: str) -> None:
        """Give the rows of all processes to every logger that takes texts."""
        if dist.is_available() and dist.is_initialized():
            shares: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(shares, rows)
            rows = [row for share in shares for row in share]
        loggers: list[Any] = [logger for logger in trainer.loggers if hasattr(logger, "log_text")]
        if not (trainer.is_global_zero and loggers):
            return

        # the patients, where the data set knows them
        table = pd.DataFrame(rows, columns=list(PairRow._fields))
        dataset = pair_source(trainer).pair_dataset(split)
        patients = zip(getattr(dataset, "ids", []), getattr(dataset, "patients", []), strict=False)
        table["patient"] = table["id"].map(dict(patients))

        text = table.sort_values("id")[PAIR_COLUMNS].to_csv(index=False, float_format="%.9g")  # float32, exactly
        for logger in loggers:
            logger.log_text(text, TEST_PAIRS if split == "test" else VAL_PAIRS.format(trainer.current_epoch))


def _name_figures(split: str, pi: dict[str, float], ols: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the figures by the names that they are logged under; undefined ones (NaN) are left out."""
    names = {"score": "pi_score", "n": "pairs"}
    figures = {names.get(key, f"pi/{key}"): value for key, value in pi.items()}
    for side, values in ols.items():
        names = {"score": f"ols_score/{side}"} | {key: f"ols/{side}/{key}" for key in ("n", "no_region", "no_lung")}
        figures |= {names.get(key, f"iol/{side}/{key}"): value for key, value in values.items()}
    return {f"{split}/{key}": float(value) for key, value in figures.items() if not isnan(value)}


def _show_progress(trainer: L.Trainer, loader: DataLoader[Pair]) -> Iterator[Pair]:
    """Yield the loader's batches (under ``fast_dev_run`` the first), shown in the Trainer's progress bar if any."""
    batches = islice(loader, int(getattr(trainer, "fast_dev_run", 0)) or None)
    bar = trainer.progress_bar_callback
    if isinstance(bar, RichProgressBar) and bar.is_enabled and bar.progress is not None:
        row = bar.progress.add_task("Pairs", total=len(loader))
        for batch in batches:
            yield batch
            bar.progress.advance(row)
            bar.refresh()
        bar.progress.update(row, visible=False)
    else:
        is_shown = isinstance(bar, TQDMProgressBar) and bar.is_enabled
        yield from Tqdm(batches, "Pairs", total=len(loader), leave=False, disable=not is_shown)
