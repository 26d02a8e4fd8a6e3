"""Decision thresholds that are chosen on labelled images: where is a label positive?"""

from __future__ import annotations

import numpy as np

from experiments.schema import ThresholdRule


def choose_threshold(
    probability: np.ndarray, truth: np.ndarray, rule: ThresholdRule, sensitivity: float = 0.9
) -> float:
    """Return the probability at and above which a label is positive.

    ``youden`` takes the largest sensitivity + specificity - 1 (Youden, Cancer 1950), and of several the highest
    threshold; ``sensitivity`` the highest threshold that finds at least this share of the images with the label. It
    lies in the middle between the lowest probability that is positive by it and the highest that is not: at an image's
    own probability its decision would turn at the slightest change.

    Args:
        probability: (N,) in [0, 1]; NaN where there is none.
        truth: (N,) 1, 0, or NaN where the label is unknown; these count for nothing.
        rule: How it is chosen; ``fixed``: it is 0.5.
        sensitivity: In (0, 1].

    Returns:
        In (0, 1); 0.5 where the images tell nothing: all known ones have the label or none has, or no threshold is
        better than chance.

    Example:
        >>> p, y = np.array([0.1, 0.2, 0.3, 0.7]), np.array([0, 0, 1, 1])
        >>> choose_threshold(p, y, ThresholdRule.youden), choose_threshold(p, y, ThresholdRule.sensitivity, 0.5)
        (0.25, 0.5)
    """
    from sklearn.metrics import roc_curve  # takes a second to import, and most commands choose no threshold

    known = np.isfinite(probability) & ~np.isnan(truth)
    p, y = np.asarray(probability, float)[known], truth[known] == 1
    if rule is ThresholdRule.fixed or not y.any() or y.all():
        return 0.5

    # rates at every probability that occurs, the highest first; the first entry calls nothing positive
    false_positive, true_positive, thresholds = roc_curve(y, p, drop_intermediate=False)
    if rule is ThresholdRule.youden:
        gain = (true_positive - false_positive)[1:]
        if gain.max() <= 0:
            return 0.5
        place = 1 + int(np.argmax(np.isclose(gain, gain.max())))
    else:
        place = 1 + int(np.argmax(true_positive[1:] >= min(sensitivity, 1.0) - 1e-9))

    # halfway to the next lower one, where a number lies between them
    upper, lower = thresholds[place], thresholds[place + 1] if place + 1 < len(thresholds) else 0.0
    middle = (upper + lower) / 2
    return float(np.clip(middle if middle > lower else upper, 1e-6, 1 - 1e-6))
