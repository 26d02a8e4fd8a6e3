"""Few-shot classification: the nearest class mean of a few images, on frozen features.

Snell, Swersky, Zemel, Prototypical Networks for Few-shot Learning (NeurIPS 2017), without their training: features of
length 1 (Wang et al., SimpleShot, 2019), the means of k images a class, and the nearest one for every test image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import normalize

from covidmt.probing.classes import frequent_classes

DRAWS = 200


class Shots(NamedTuple):
    """The accuracy with k images a class, over the draws of these images.

    Attributes:
        k: Images a class.
        accuracy: Mean share of the test images told right, classes weighted alike.
        low: 2.5 % of the draws lie below.
        high: 2.5 % of the draws lie above.
        draws: Number of draws.
        test: Test images.
        classes: Number of classes; 1 / classes is chance.
    """

    k: int
    accuracy: float
    low: float
    high: float
    draws: int
    test: int
    classes: int


def few_shot(
    features: np.ndarray, classes: np.ndarray, split: np.ndarray, k: int, *, draws: int = DRAWS, seed: int = 0
) -> Shots | None:
    """Classify the test images by the nearest mean of k training images a class, again and again.

    Args:
        features: (n, channels) float.
        classes: (n,) str; "" is unknown.
        split: (n,) str, train, val or test.
        k: Images a class, drawn without replacement.
        draws: How often they are drawn.
        seed: Of the draws; draw i is the same whatever their number.

    Returns:
        None where fewer than two classes have enough images, or a class has fewer than k.

    Example:
        >>> classes = np.array(["PA", "AP"] * 20)
        >>> split = np.array(["train"] * 20 + ["test"] * 20)
        >>> one_hot = np.stack([classes == "PA", classes == "AP"], axis=1).astype(float)
        >>> few_shot(one_hot, classes, split, k=1, draws=3)
        Shots(k=1, accuracy=1.0, low=1.0, high=1.0, draws=3, test=20, classes=2)
    """
    classes = frequent_classes(classes, split)
    names = sorted(set(classes.tolist()) - {""})
    members = [np.flatnonzero((classes == name) & (split == "train")) for name in names]
    if len(names) < 2 or min(map(len, members)) < k:
        return None

    directions, test = normalize(features), (split == "test") & (classes != "")
    truth = classes[test]
    scores = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, k, draw])
        means = np.stack([directions[rng.choice(rows, k, replace=False)].mean(axis=0) for rows in members])
        answers = np.array(names)[pairwise_distances_argmin(directions[test], means)]
        scores.append(np.mean([(answers[truth == name] == name).mean() for name in names]))
    low, high = np.percentile(scores, [2.5, 97.5])
    return Shots(k, float(np.mean(scores)), float(low), float(high), draws, len(truth), len(names))
