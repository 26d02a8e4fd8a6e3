"""Out-of-lung saliency: IOL (Eq. 3 of the COVIDMT paper) and OLS score (Eq. 4)."""

from __future__ import annotations

from math import nan

import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.exact import exact_mean, exact_sum

BINS = 10  # of the IOL histogram over [0, 1]; the last one has its right end


def iol(region: Tensor, lung: Tensor) -> Tensor:
    """Share of the heat-map region inside the lungs (Eq. 3).

    Args:
        region: (N, H, W) bool.
        lung: (N, H, W) bool.

    Returns:
        (N,) float32 in [0, 1]; NaN where the region or the lungs are empty, because there it says nothing.
    """
    inside = (region & lung).flatten(1).sum(dim=1)
    area = region.flatten(1).sum(dim=1)
    return torch.where(lung.flatten(1).any(dim=1), inside.float() / area.float(), nan)


class OutOfLungSaliency(Metric):
    """OLS score and the distribution of IOL over images (Eqs. 3, 4).

    Images without a region (a map that is zero everywhere) or without lungs are left out of N and counted; one that
    lacks both is counted in both.

    Args:
        eta: IOL below which an image's saliency is out of the lungs (paper: 0.4).
    """

    full_state_update = False
    higher_is_better = False
    out: Tensor
    total: Tensor
    histogram: Tensor
    n: Tensor
    no_region: Tensor
    no_lung: Tensor

    def __init__(self, eta: float = 0.4) -> None:
        super().__init__()
        self.eta = eta
        for name in ("out", "total", "n", "no_region", "no_lung"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("histogram", torch.zeros(BINS, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, region: Tensor, lung: Tensor) -> None:
        """Takes (N, H, W) bool heat-map regions and lung masks."""
        values = iol(region, lung)
        defined = ~values.isnan()
        bins = (values.nan_to_num(0.0) * BINS).long().clamp(max=BINS - 1)
        self.out += (values < self.eta).sum()
        self.total += exact_sum(values)
        self.histogram += ((bins[:, None] == torch.arange(BINS, device=bins.device)) & defined[:, None]).sum(dim=0)
        self.n += defined.sum()
        self.no_region += (~region.flatten(1).any(dim=1)).sum()
        self.no_lung += (~lung.flatten(1).any(dim=1)).sum()

    def compute(self) -> dict[str, float]:
        """Scores over all images of all processes.

        Returns:
            ``score`` (OLS score in percent), ``mean`` (of IOL), ``hist/00`` ... ``hist/09`` (shares), all NaN for
            n = 0; ``n``, ``no_region``, ``no_lung`` (counts).
        """
        n = int(self.n)
        shares = {f"hist/{i:02d}": count / n if n else nan for i, count in enumerate(self.histogram.tolist())}
        return {
            "score": 100 * int(self.out) / n if n else nan,
            "mean": exact_mean(self.total, n),
            **shares,
            "n": n,
            "no_region": int(self.no_region),
            "no_lung": int(self.no_lung),
        }
