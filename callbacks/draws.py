"""PI over several draws of a random channel, beside the pairs' one (COVIDMT paper, Eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import isnan
from typing import Any, cast

import lightning as L
import torch

from callbacks.pair_maps import PairMaps, pair_source
from metrics.draws import DrawnInstability


def score_draws(
    trainer: L.Trainer, module: L.LightningModule, maps: PairMaps, split: str, answers: Sequence[tuple[float, float]]
) -> dict[str, float]:
    """Return PI over all draws, ``<split>/pi/draws/<name>`` as :class:`.DrawnInstability` names them.

    Nothing where the datamodule has no ``draw_dataloader(split)``, or it returns None: there is one draw. All processes
    call it, and get the same.

    Args:
        trainer: Gives the precision.
        module: In eval mode (:func:`.undisturbed`).
        maps: Reads the decision.
        split: ``val`` or ``test``.
        answers: Of this process's pairs, in order, the decisions on the original and after the first draw, 1 / 0 / NaN.
    """
    make_loader = getattr(pair_source(trainer), "draw_dataloader", None)
    loader = make_loader(split) if make_loader else None
    if loader is None:
        return {}

    net = cast(Any, module)  # its methods are any attributes to a type checker
    # the answers to the further draws; under fast_dev_run the first batch
    parts = [torch.empty(0, len(loader.dataset.channels), device=module.device)]
    for batch in islice(loader, int(getattr(trainer, "fast_dev_run", 0)) or None):
        images = batch.images.to(module.device, non_blocking=True)
        with trainer.precision_plugin.forward_context(), torch.no_grad():
            logits = [net.head(maps.task)(net.features(each)[-1]).float() for each in images.unbind(1)]
        parts.append(torch.stack([maps.decision.decided(each) for each in logits], dim=1))
    further = torch.cat(parts)

    # beside the first one
    n = min(len(answers), len(further))
    first = torch.tensor(answers[:n], device=module.device, dtype=further.dtype).reshape(-1, 2)
    metric = DrawnInstability(1 + further.shape[1]).to(module.device)
    metric.update(first[:, 0], torch.cat([first[:, 1:], further[:n]], dim=1))
    return {f"{split}/pi/draws/{key}": float(value) for key, value in metric.compute().items() if not isnan(value)}
