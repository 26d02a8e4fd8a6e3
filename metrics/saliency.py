"""Out-of-lung saliency: IOL (Eq. 3 of the COVIDMT paper) and OLS score (Eq. 4)."""

from __future__ import annotations

from math import nan

import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.exact import exact_mean, exact_sum

BINS = 10  # of the IOL histogram over [0, 1]; the last one has its right end


def iol(region: Tensor, lung: Tensor) -> Tensor:
    r"""Return the intersection over lung region: the share of the heat-map region that lies inside the lungs.

    .. math:: \text{IOL}(x) = \frac{|\text{region}(x) \cap \text{lung}(x)|}{|\text{region}(x)|}

    COVIDMT paper, section "Out of lung saliency score", Eq. 3. Note that it is divided by the region, not by the lungs.

    Args:
        region: (N, H, W) bool, the heat-map regions (:func:`explain.heat.heat_region`).
        lung: (N, H, W) bool.

    Returns:
        (N,) float32 in [0, 1]; NaN where the region or the lungs are empty, because there it says nothing.

    Example:
        A region of four pixels, one of them in the lungs; an empty region.

        >>> region = torch.tensor([[[True, True], [True, True]], [[False, False], [False, False]]])
        >>> lung = torch.tensor([[[True, False], [False, False]]]).repeat(2, 1, 1)
        >>> iol(region, lung)
        tensor([0.2500,    nan])
    """
    inside = (region & lung).flatten(1).sum(dim=1)
    area = region.flatten(1).sum(dim=1)
    return torch.where(lung.flatten(1).any(dim=1), inside.float() / area.float(), nan)


class MeanIol(Metric):
    """Compute the mean IOL over images (:func:`iol`); NaN where none has one.

    ``update`` takes ``region`` and ``lung``, (N, H, W) bool; images without a region or without lungs are left out.

    Example:
        >>> metric = MeanIol()
        >>> metric.update(torch.ones(2, 2, 2, dtype=torch.bool), torch.eye(2, dtype=torch.bool).repeat(2, 1, 1))
        >>> metric.compute()
        0.5
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    n: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "n"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, region: Tensor, lung: Tensor) -> None:
        """Add images: their heat-map regions and lung masks, (N, H, W) bool each."""
        values = iol(region, lung)
        self.total += exact_sum(values)
        self.n += (~values.isnan()).sum()

    def compute(self) -> float:
        """Return the mean over all images of all processes."""
        return exact_mean(self.total, int(self.n))


class OutOfLungSaliency(Metric):
    r"""Compute the OLS score and the distribution of IOL over images.

    .. math:: \text{OLS score}_\eta = \frac{100}{N} \sum_i^N 1\big(\text{IOL}(x_i) < \eta\big)

    COVIDMT paper, section "Out of lung saliency score", Eqs. 3 (:func:`iol`) and 4. Images without a region (a heat map
    that is zero everywhere) or without lungs are left out of N and counted; one that lacks both is counted in both.

    As input to ``forward`` and ``update`` the metric accepts

    - ``region``: (N, H, W) bool, the heat-map regions (:func:`explain.heat.heat_region`);
    - ``lung``: (N, H, W) bool, the lung masks.

    As output of ``forward`` and ``compute`` it returns a dictionary of

    - ``score``: OLS score in [0, 100];
    - ``mean``: mean IOL in [0, 1];
    - ``hist/00`` ... ``hist/09``: shares of images with an IOL in [0, 0.1), [0.1, 0.2) ... [0.9, 1];
    - ``n``, ``no_region``, ``no_lung``: numbers of images.

    All but the numbers are NaN for N = 0.

    Args:
        eta: IOL below which an image's saliency is out of the lungs, in [0, 1] (paper: 0.4).

    Example:
        Two images whose regions have four pixels: one pixel of them inside the lungs, then three.

        >>> metric = OutOfLungSaliency(eta=0.4)
        >>> lung = torch.tensor([[[True, False], [False, False]], [[True, True], [True, False]]])
        >>> metric.update(torch.ones(2, 2, 2, dtype=torch.bool), lung)
        >>> scores = metric.compute()
        >>> scores["score"], scores["mean"], scores["hist/02"], scores["hist/07"], scores["n"]
        (50.0, 0.5, 0.5, 0.5, 2)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
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
        """Add images: their heat-map regions and lung masks, (N, H, W) bool each."""
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
        """Return the scores over all images of all processes."""
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
