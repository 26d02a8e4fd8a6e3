import numpy as np
import pytest

from covidmt.probing.linear import linear_probe, mean_recall


def test_it_scores_what_the_features_tell_and_no_more():
    """Four classes, of which the features tell only the pair: right on half of the test images."""
    rng = np.random.default_rng(0)
    classes = rng.permutation(np.repeat(["a1", "a2", "b1", "b2"], 200))
    features = np.stack([np.char.startswith(classes, "a"), rng.normal(size=800)], axis=1).astype(float)
    split = np.array((["train"] * 2 + ["val"] + ["test"]) * 200)
    probe = linear_probe(features, classes, split, np.arange(800), 200)
    assert probe is not None
    assert (probe.train, probe.test) == (400, 200)
    assert probe.accuracy.low < 0.5 < probe.accuracy.high
    assert probe.accuracy.value == pytest.approx(0.5, abs=0.1)
    assert probe.most_frequent == pytest.approx(0.25, abs=0.08)


def test_features_of_noise_are_at_chance():
    rng = np.random.default_rng(1)
    classes = np.array(["x", "y"] * 200)
    split = np.array(["train"] * 200 + ["test"] * 200)
    probe = linear_probe(rng.normal(size=(400, 3)), classes, split, np.arange(400), 200)
    assert probe is not None
    assert probe.balanced.low < 0.5 < probe.balanced.high


def test_one_class_is_no_question():
    split = np.array(["train"] * 10 + ["test"] * 10)
    assert linear_probe(np.zeros((20, 1)), np.array(["x"] * 20), split, np.arange(20)) is None


def test_balanced_accuracy_of_a_resample():
    """Class a is right in 1 of 2, counted 1 and 3 times: 3/4; class b always: (3/4 + 1) / 2."""
    weights, hit = np.array([[1.0, 3.0, 2.0], [1.0, 1.0, 0.0]]), np.array([0.0, 1.0, 1.0])
    assert mean_recall(weights, hit, np.array(["a", "a", "b"])).tolist() == [0.875, 0.5]
