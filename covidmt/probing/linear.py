"""A linear probe: how much of a question a linear classifier reads out of frozen features.

Alain & Bengio, Understanding intermediate layers using linear classifier probes (ICLR workshop 2017). Logistic
regression on standardised features, classes weighted alike; its regularisation is chosen on the validation split.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from covidmt.probing.classes import frequent_classes
from metrics import weighted
from metrics.bootstrap import PatientBootstrap
from metrics.intervals import Estimate, share_interval

STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C, the inverse of the regularisation


class LinearProbe(NamedTuple):
    """What a linear probe reads out.

    Attributes:
        classes: Names of the K classes.
        train: Training images.
        test: Test images.
        accuracy: Share of the test images that are told right, with a 95 % interval over patients.
        balanced: Mean over the classes of that share, likewise; 1 / K is chance.
        most_frequent: Share of the test images in the most frequent class: what is right without looking.
    """

    classes: list[str]
    train: int
    test: int
    accuracy: Estimate
    balanced: Estimate
    most_frequent: float


def linear_probe(
    features: np.ndarray, classes: np.ndarray, split: np.ndarray, patients: np.ndarray, resamples: int = 2000
) -> LinearProbe | None:
    """Fit a probe on the training images and score it on the test images.

    Args:
        features: (n, channels) float.
        classes: (n,) str; "" is unknown.
        split: (n,) str, train, val or test.
        patients: (n,) ids.
        resamples: Of the bootstrap over the test images' patients.

    Returns:
        None where fewer than two classes have enough images (:func:`.frequent_classes`).

    Example:
        >>> classes = np.array(["PA", "AP"] * 20)
        >>> split = np.array(["train"] * 20 + ["val"] * 10 + ["test"] * 10)
        >>> probe = linear_probe((classes == "PA")[:, None].astype(float), classes, split, np.arange(40), 100)
        >>> probe.classes, probe.accuracy.value, probe.most_frequent
        (['AP', 'PA'], 1.0, 0.5)
    """
    classes = frequent_classes(classes, split)
    names = sorted(set(classes.tolist()) - {""})
    if len(names) < 2:
        return None

    # fit
    rows = {name: (split == name) & (classes != "") for name in ("train", "val", "test")}
    probe = _fit(*((features[rows[name]], classes[rows[name]]) for name in ("train", "val")))

    # score
    truth = classes[rows["test"]]
    hit = (probe.predict(features[rows["test"]]) == truth).astype(float)
    bootstrap = PatientBootstrap(patients[rows["test"]], resamples)
    accuracy = share_interval(hit, bootstrap.patient_of_image)
    balanced = bootstrap.estimate(partial(mean_recall, hit=hit, truth=truth), whole=1.0)
    shares = np.array([(truth == name).mean() for name in names])
    return LinearProbe(
        classes=names,
        train=int(rows["train"].sum()),
        test=len(truth),
        accuracy=accuracy,
        balanced=accuracy if balanced.value in (0, 1) else balanced,
        most_frequent=float(shares.max()),
    )


def mean_recall(weights: np.ndarray, hit: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the balanced accuracy: the mean over the classes of the share of their images that are told right.

    Args:
        weights: (R, n) float, as of :mod:`metrics.weighted`.
        hit: (n,) 1 / 0.
        truth: (n,) classes; one without weight is left out of a resample's mean.

    Example:
        >>> mean_recall(np.ones((1, 4)), np.array([1.0, 1.0, 1.0, 0.0]), np.array(["a", "a", "b", "b"]))
        array([0.75])
    """
    recalls = [weighted.mean(weights, np.where(truth == name, hit, np.nan)) for name in np.unique(truth)]
    return np.nanmean(np.stack(recalls), axis=0)


def _fit(train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray]) -> Pipeline:
    """Return the probe of the strength that is best on the validation images; without any of the second smallest."""
    if not len(val[1]):
        return _probe(STRENGTHS[1]).fit(*train)
    probes = [_probe(strength).fit(*train) for strength in STRENGTHS]
    scores = [balanced_accuracy_score(val[1], probe.predict(val[0])) for probe in probes]
    return probes[int(np.argmax(scores))]


def _probe(strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=5000))
