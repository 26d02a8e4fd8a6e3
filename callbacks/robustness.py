"""PI and OLS at every validation epoch and in test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import isnan
from typing import Any

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


class RobustnessCallback(Callback):
    """Walks the split's image pairs once and logs prediction instability and out-of-lung saliency.

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
            self._score(trainer, pl_module, "val")

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._score(trainer, pl_module, "test")

    def _score(self, trainer: L.Trainer, module: L.LightningModule, split: str) -> None:
        instability = PredictionInstability(self.maps.decision).to(module.device)
        sides = {s: OutOfLungSaliency(self.robustness.eta).to(module.device) for s in SIDES}
        rows: list[tuple[Any, ...]] = []
        with undisturbed(module):
            loader = pair_source(trainer).pair_dataloader(split)
            if loader is None:
                return
            for pair in _track(trainer, loader):
                explained = self.maps(trainer, module, pair)
                lung = pair.lung.to(module.device, non_blocking=True)
                instability.update(*(side.logits for side in explained))
                for metric, side in zip(sides.values(), explained, strict=True):
                    metric.update(heat_region(side.heat, self.robustness.region_threshold), lung)
                rows += self._rows(pair, explained, lung)
        results = _named(split, instability.compute(), {side: metric.compute() for side, metric in sides.items()})
        # Every process has the same figures by now; of equal ones the maximum is exact where a mean may round.
        module.log_dict(results, on_step=False, on_epoch=True, reduce_fx="max", sync_dist=True)
        self.last = {key: value for key, value in self.last.items() if not key.startswith(f"{split}/")} | results
        self._log_rows(trainer, rows, split)

    def _rows(self, pair: Pair, explained: tuple[ExplainedSide, ExplainedSide], lung: Tensor) -> list[tuple[Any, ...]]:
        """A batch's id, label, both probabilities, both IOL, pair by pair."""
        numbers = [pair.label, *(self.maps.decision.probability(side.logits) for side in explained)]
        numbers += [iol(heat_region(side.heat, self.robustness.region_threshold), lung) for side in explained]
        return list(zip(pair.id, *(column.tolist() for column in numbers), strict=True))

    def _log_rows(self, trainer: L.Trainer, rows: list[tuple[Any, ...]], split: str) -> None:
        if dist.is_available() and dist.is_initialized():
            shares: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(shares, rows)
            rows = [row for share in shares for row in share]
        loggers: list[Any] = [logger for logger in trainer.loggers if hasattr(logger, "log_text")]
        if not (trainer.is_global_zero and loggers):
            return
        table = pd.DataFrame(rows, columns=[name for name in PAIR_COLUMNS if name != "patient"])
        dataset = pair_source(trainer).pair_dataset(split)
        known = zip(getattr(dataset, "ids", []), getattr(dataset, "patients", []), strict=False)
        table["patient"] = table["id"].map(dict(known))
        text = table.sort_values("id")[PAIR_COLUMNS].to_csv(index=False, float_format="%.9g")  # float32, exactly
        for logger in loggers:
            logger.log_text(text, TEST_PAIRS if split == "test" else VAL_PAIRS.format(trainer.current_epoch))


def _named(split: str, pi: dict[str, float], ols: dict[str, dict[str, float]]) -> dict[str, float]:
    """Metric names as they are logged; undefined values (NaN) are left out."""
    named = {"pi_score": pi.pop("score"), "pairs": pi.pop("n")} | {f"pi/{key}": value for key, value in pi.items()}
    for side, values in ols.items():
        named[f"ols_score/{side}"] = values.pop("score")
        named |= {f"ols/{side}/{key}": values.pop(key) for key in ("n", "no_region", "no_lung")}
        named |= {f"iol/{side}/{key}": value for key, value in values.items()}
    return {f"{split}/{key}": float(value) for key, value in named.items() if not isnan(value)}


def _track(trainer: L.Trainer, loader: DataLoader[Pair]) -> Iterator[Pair]:
    """The loader's batches (under ``fast_dev_run`` the first), shown in the Trainer's progress bar if it has one."""
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
        shown = isinstance(bar, TQDMProgressBar) and bar.is_enabled
        yield from Tqdm(batches, "Pairs", total=len(loader), leave=False, disable=not shown)
