"""PI and OLS at every validation epoch and in test."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from math import isnan
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from callbacks.draws import score_draws
from callbacks.loggers.adapters import takers
from callbacks.loggers.contracts import LoggedAt, LogsTables
from callbacks.pair_maps import ExplainedSide, PairMaps, pair_source, require_pairs, undisturbed
from callbacks.task_maps import TaskMaps
from callbacks.task_scores import TaskScores, gather
from experiments.batch import Pair, TaskPairs, mark_missing_masks
from experiments.names import harmless_table
from experiments.schema import Robustness, Task
from explain.heat import heat_region
from metrics.instability import PredictionInstability
from metrics.intervals import share_interval
from metrics.paired import PAIR_COLUMNS, SIDES, flips, out_of_lungs
from metrics.saliency import OutOfLungSaliency, iol


class PairRow(NamedTuple):
    """A pair's row in the table, see :data:`metrics.paired.PAIR_COLUMNS`."""

    id: str
    label: float
    p_original: float
    p_received: float
    positive_original: float
    positive_received: float
    iol_original: float
    iol_received: float


class SizedBatches(Protocol):
    """Batches that can be counted before they are there."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[TaskPairs]: ...


@runtime_checkable
class TaskPairSource(Protocol):
    """What a datamodule has whose pairs are of several sources."""

    def pair_tasks(self, split: str) -> list[str]:
        """Return the tasks that have pairs in ``val`` or ``test``."""
        ...

    def task_pair_dataloader(self, split: str) -> SizedBatches:
        """Return this process's share of these pairs; every pair is in one process, once."""
        ...


class RobustnessCallback(Callback):
    """Walk the split's image pairs once and log prediction instability and out-of-lung saliency.

    Works with any LightningModule that has ``features`` and ``head`` and any LightningDataModule that has
    ``pair_dataloader(split)`` (this process's share of the pairs, none twice; None: no pairs). The module's mode,
    gradients and the random state stay as they were. Logged under ``val/`` or ``test/``, so that a checkpoint can
    monitor them; what is undefined (no pair, no lung mask) is not logged. A warning says where pairs have no masks
    (``lung`` is None), or empty ones alone:

    ======================================================= ====================================================
    ``pi_score``, ``pi/ci_low``, ``pi/ci_high``             PI score and its 95 % interval over patients, percent
    ``pi/flips_pos_to_neg``, ``pi/flips_neg_to_pos``        pairs (``..._percent``: of all pairs)
    ``pi/argmax``, ``pi/mean_abs_change``                   percent of pairs; change of the label's probability
    ``pairs``, ``pi/undefined``                             pairs with a decision; pairs with a NaN prediction
    ``ols_score/<side>``                                    OLS score, percent; side: original, received
    ``ols/<side>/ci_low``, ``.../ci_high``                  its 95 % interval over patients
    ``pi/draws/mean``, ``.../sd``, ``.../lowest`` ...       PI over ``data.pairs.draws`` draws of a random channel
    ``iol/<side>/mean``                                     mean IOL; each pair's is in the table below
    ``ols/<side>/n``, ``.../no_region``, ``.../no_lung``    images scored; map all zero; no lung found
    ======================================================= ====================================================

    With ``tasks``, and a datamodule that is a :class:`TaskPairSource` (without, of the task that decides alone), also
    of every task on the pairs of its own source; ``<side>``: original, received; ``<t>``: 0.4, 0.5, 0.75; PI and LI
    each with ``/ci_low`` and ``/ci_high``:

    ======================================================= ====================================================
    ``pi/<task>``, ``pi/<task>/<label>``                    :class:`.TaskInstability`: any label flips; this one
    ``pi/<task>/pairs``, ``.../undefined``                  pairs; ``pi/<task>/<label>/flips_pos_to_neg`` ...
    ``li/<task>/<t>``                                       :class:`.LocalisationInstability`, percent of pairs
    ``li/<task>/<t>/lost``, ``.../gained``                  its direction; ``.../localised`` on the original
    ``li/<task>/iou``, ``.../score_change``                 both sides' boxes; highest score; ``.../pairs`` ...
    ``ols/<task>/<side>``, ``.../mean_iol``, ``.../n``      OLS score; of a box task each box is a region
    ======================================================= ====================================================

    A module with ``choose_thresholds()`` is told to choose its labels' thresholds before its validation is scored.

    Every logger that takes tables (MLflow's, TensorBoard's, W&B's, CSV files, whatever else is a :class:`.LogsTables`)
    gets one, ``robustness/test_pairs`` or ``robustness/val_pairs``, as a file ``.../<epoch>.csv``: a row a pair, of all
    processes, with the columns :data:`metrics.paired.PAIR_COLUMNS`.

    Args:
        robustness: The definitions' settings.
        task: The classification task that decides (``robustness.task``).
        tasks: The tasks that are scored on their own sources' pairs.

    Attributes:
        last: The newest value of everything that was logged.
        decided: Split -> (N, 2) float, 1 / 0 / NaN: the newest decisions on N pairs' originals and received images.

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
        >>> robustness.decided["val"].tolist()
        [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]
    """

    def __init__(self, robustness: Robustness, task: Task, tasks: Sequence[Task] = ()) -> None:
        self.robustness = robustness
        self.maps = PairMaps(robustness, task)
        self.scored = {each.name: each for each in tasks}
        self.task_maps = TaskMaps(robustness, [*tasks, task])
        self.last: dict[str, float] = {}
        self.decided: dict[str, np.ndarray] = {}
        self._explained: set[str] = set()  # splits of which it was said why they have no OLS

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.maps.cam.check(pl_module)
        require_pairs(trainer)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        if hasattr(pl_module, "choose_thresholds"):
            cast(Any, pl_module).choose_thresholds()
        self._score_pairs(trainer, pl_module, "val")

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._score_pairs(trainer, pl_module, "test")

    def _score_pairs(self, trainer: L.Trainer, module: L.LightningModule, split: str) -> None:
        instability = PredictionInstability(self.maps.decision).to(module.device)
        saliency = {side: OutOfLungSaliency(self.robustness.eta).to(module.device) for side in SIDES}
        decisions, rows = self.task_maps.decisions(module), cast("list[PairRow]", [])
        scores = TaskScores(self.robustness, decisions, module.device)
        masked = True

        # this process's pairs
        with undisturbed(module):
            loader = self._loader(trainer, split)
            if loader is None:
                return
            scores.expect({name: self.scored[name].kind for name in self._scored_names(trainer, split)})
            for batch in _show_progress(trainer, loader):
                pair, lung = batch.pair, batch.pair.lung.to(module.device, non_blocking=True)
                if lung.shape[-1] == 0:
                    masked, lung = False, torch.zeros_like(pair.original[:, 0], dtype=torch.bool, device=module.device)
                answers = self.task_maps.ask(module, pair, batch.tasks, decisions, trainer)
                scores.update(batch, {name: sides for name, sides in answers.items() if name in self.scored}, lung)
                if batch.decides:
                    sides = cast("tuple[ExplainedSide, ExplainedSide]", answers[self.maps.task])
                    regions = [heat_region(side.heat, self.robustness.region_threshold) for side in sides]
                    instability.update(*(side.logits for side in sides))
                    for metric, region in zip(saliency.values(), regions, strict=True):
                        metric.update(region, lung)
                    rows += self._pair_rows(pair, sides, [iol(region, lung) for region in regions])

            answers = [(row.positive_original, row.positive_received) for row in rows]
            drawn = score_draws(trainer, module, self.maps, split, answers)

        # all processes' figures; equal in all by now, and of equal ones the maximum is exact where a mean may round
        ols = self._saliency(
            split, {side: metric.compute() for side, metric in saliency.items()}, all(gather([masked]))
        )
        table = self._all_rows(trainer, rows, split)
        self.decided[split] = table[[f"positive_{side}" for side in SIDES]].to_numpy(float)
        figures = _name_figures(split, instability.compute(), ols) | drawn | self._intervals(table, split, ols)
        kept = {key: value for key, value in scores.compute().items() if ols or not key.startswith("ols/")}
        figures |= {f"{split}/{key}": value for key, value in kept.items()}
        module.log_dict(figures, on_step=False, on_epoch=True, reduce_fx="max", sync_dist=True)
        self.last = {key: value for key, value in self.last.items() if not key.startswith(f"{split}/")} | figures
        self._log_rows(trainer, table, split)

    def _saliency(self, split: str, ols: dict[str, dict[str, float]], masked: bool) -> dict[str, dict[str, float]]:
        """Return the scores by side, none where there are no masks; say once why there is no OLS."""
        scores = next(iter(ols.values()))
        reason = ""
        if not masked:
            reason = "its pairs have no lung masks; covidmt.image_pairs finds lungs by covidmt's segmenter"
        elif scores["no_lung"] and not scores["n"] + scores["no_region"]:
            reason = f"all {scores['no_lung']:.0f} masks are empty; are they of lungs, and of these images?"
        if reason and split not in self._explained:
            self._explained.add(split)
            rank_zero_warn(f"{split}: OLS and IOL are not measured: {reason}")
        return ols if masked else {}

    def _loader(self, trainer: L.Trainer, split: str) -> SizedBatches | None:
        """Return this process's pairs: of all sources, or the decision's alone; None: there are none."""
        source = pair_source(trainer)
        if self.scored and isinstance(source, TaskPairSource):
            return source.task_pair_dataloader(split)
        loader = source.pair_dataloader(split)
        return None if loader is None else DecidingPairs(loader, self.maps.task, self._patients(trainer, split))

    def _scored_names(self, trainer: L.Trainer, split: str) -> list[str]:
        """Return the tasks that have pairs, on all processes alike."""
        source = pair_source(trainer)
        names = source.pair_tasks(split) if isinstance(source, TaskPairSource) else [self.maps.task]
        return [name for name in names if name in self.scored]

    def _pair_rows(self, pair: Pair, sides: tuple[ExplainedSide, ExplainedSide], iols: list[Tensor]) -> list[PairRow]:
        decision = self.maps.decision
        probabilities = [decision.probability(side.logits) for side in sides]
        decisions = [decision.decided(side.logits) for side in sides]
        columns = (column.tolist() for column in (pair.label, *probabilities, *decisions, *iols))
        return [PairRow(*row) for row in zip(pair.id, *columns, strict=True)]

    def _all_rows(self, trainer: L.Trainer, rows: list[PairRow], split: str) -> pd.DataFrame:
        """Return the rows of all processes, with patients where the data set knows them."""
        table = pd.DataFrame(gather(rows), columns=list(PairRow._fields))
        table["patient"] = table["id"].map(self._patients(trainer, split))
        return table.sort_values("id")

    def _patients(self, trainer: L.Trainer, split: str) -> dict[str, str]:
        dataset = pair_source(trainer).pair_dataset(split)
        return dict(zip(getattr(dataset, "ids", []), getattr(dataset, "patients", []), strict=False))

    def _intervals(self, table: pd.DataFrame, split: str, sides: Collection[str]) -> dict[str, float]:
        """Return the intervals of PI, and of some sides' OLS, over patients; a pair of an unknown one is a patient."""
        events = {"pi": flips(*self.decided[split].T)}
        events |= {
            f"ols/{side}": out_of_lungs(table[f"iol_{side}"].to_numpy(float), self.robustness.eta) for side in sides
        }

        names = table["patient"].astype(object).fillna(table["id"]).astype(str)
        patients = np.unique(names, return_inverse=True)[1]
        ends: dict[str, float] = {}
        for name, happened in events.items():
            _, low, high = share_interval(happened, patients, scale=100)
            ends |= {f"{split}/{name}/ci_low": low, f"{split}/{name}/ci_high": high}
        return {key: float(value) for key, value in ends.items() if not isnan(value)}

    def _log_rows(self, trainer: L.Trainer, table: pd.DataFrame, split: str) -> None:
        """Give the rows of all processes to every logger that takes tables."""
        if trainer.is_global_zero:
            for taker in takers(trainer, LogsTables):
                taker.log_rows(
                    f"robustness/{split}_pairs", harmless_table(table[PAIR_COLUMNS]), LoggedAt.of(trainer, split)
                )


def _name_figures(split: str, pi: dict[str, float], ols: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the figures by the names that they are logged under; undefined ones (NaN) are left out.

    So are the shares of images per tenth of IOL: the table of pairs has every IOL.
    """
    names = {"score": "pi_score", "n": "pairs"}
    figures = {names.get(key, f"pi/{key}"): value for key, value in pi.items()}
    for side, values in ols.items():
        names = {"score": f"ols_score/{side}"} | {key: f"ols/{side}/{key}" for key in ("n", "no_region", "no_lung")}
        figures |= {names.get(key, f"iol/{side}/{key}"): value for key, value in values.items() if "hist/" not in key}
    return {f"{split}/{key}": float(value) for key, value in figures.items() if not isnan(value)}


class DecidingPairs:
    """The decision's pairs as :class:`~experiments.batch.TaskPairs`, of any loader of :class:`~experiments.batch.Pair`.

    Args:
        loader: The loader.
        task: The task that decides.
        patients: Pair -> patient; an unknown one is its own.
    """

    def __init__(self, loader: DataLoader[Pair], task: str, patients: Mapping[str, str]) -> None:
        self.loader, self.task, self.patients = loader, task, patients

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[TaskPairs]:
        """Yield the batches."""
        for each in self.loader:
            pair = mark_missing_masks(each)
            patients = [self.patients.get(name, name) for name in pair.id]
            yield TaskPairs([self.task], decides=True, pair=pair, patients=patients, boxes=[])


def _show_progress(trainer: L.Trainer, loader: SizedBatches) -> Iterator[TaskPairs]:
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
