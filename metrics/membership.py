"""Membership inference by the loss: can an attacker tell which images a network was trained on?

The attack of Yeom, Giacomelli, Fredrikson, Jha, Privacy Risk in Machine Learning (CSF 2018): an image is called a
training image where the network's loss on it is at most the mean training loss.
"""

from __future__ import annotations

import math

import numpy as np

from metrics import weighted


def membership_advantage(weights: np.ndarray, member: np.ndarray, loss: np.ndarray) -> np.ndarray:
    r"""Return the attack's advantage, the share of training images called so minus that of other images.

    .. math:: \text{Adv} = P(\ell \le \tau \mid \text{member}) - P(\ell \le \tau \mid \text{no member}), \quad
        \tau = E(\ell \mid \text{member})

    Args:
        weights: (R, n) float, as of :mod:`metrics.weighted`; each row has a threshold of its own.
        member: (n,) bool, the training images.
        loss: (n,) float, the network's loss on each image.

    Returns:
        (R,) in [-1, 1]; 0 where the loss tells nothing.

    Example:
        Members have a mean loss of 2; two of three lie below, and one of two others.

        >>> member = np.array([True, True, True, False, False])
        >>> membership_advantage(np.ones((1, 5)), member, np.array([1.0, 1.0, 4.0, 2.0, 6.0])).round(3)
        array([0.167])
    """
    threshold = weighted.mean(weights, np.where(member, loss, np.nan))
    called = loss[None] <= threshold[:, None]
    inside, outside = weights * member, weights * ~member
    with np.errstate(invalid="ignore"):
        return (inside * called).sum(axis=1) / inside.sum(axis=1) - (outside * called).sum(axis=1) / outside.sum(axis=1)


def advantage_bound(epsilon: float, delta: float) -> float:
    r"""Return the largest advantage that any attack has on an (epsilon, delta)-private network.

    .. math:: \frac{e^\varepsilon - 1 + 2 \delta}{e^\varepsilon + 1}

    (Humphries et al., Investigating Membership Inference Attacks under Data Dependencies, CSF 2023.)

    Example:
        >>> round(advantage_bound(1.0, 1e-5), 3), advantage_bound(0.0, 0.0)
        (0.462, 0.0)
    """
    return min(1.0, math.tanh(epsilon / 2) + 2 * delta / (math.exp(min(epsilon, 700)) + 1))  # exp stays finite
