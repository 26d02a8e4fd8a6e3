"""The log-odds of labels: what ranks images where their probabilities have been rounded to 0 or 1."""

from __future__ import annotations

import torch
from torch import Tensor


def log_odds(logits: Tensor, *, softmax: bool) -> Tensor:
    """Return each label's log-odds, (N, L): its logit, or under softmax ``z_c - logsumexp(others)``.

    Args:
        logits: (N, L) floating; under softmax L is 2 or more.
        softmax: The labels are classes of a softmax, not a sigmoid each.

    Example:
        Both probabilities of the first label round to 1, also in double precision:

        >>> logits = torch.tensor([[50.0, 0.0], [90.0, 0.0]], dtype=torch.float64)
        >>> logits.softmax(dim=1)[:, 0].tolist(), log_odds(logits, softmax=True)[:, 0].tolist()
        ([1.0, 1.0], [50.0, 90.0])
    """
    if not softmax:
        return logits
    columns = range(logits.shape[1])
    others = [torch.cat([logits[:, :index], logits[:, index + 1 :]], dim=1).logsumexp(dim=1) for index in columns]
    return logits - torch.stack(others, dim=1)


def ranks(values: Tensor) -> Tensor:
    """Return the place of each value among the others as a double in [0, 1); equal values have equal places.

    torchmetrics' ranking scores take numbers outside of [0, 1] for logits, and round their probabilities.

    Args:
        values: (N,).

    Example:
        >>> ranks(torch.tensor([90.0, 50.0, 50.0, -3.0])).tolist()
        [0.5, 0.25, 0.25, 0.0]
    """
    return values.unique(return_inverse=True)[1].double() / max(len(values), 1)
