r"""How often the intervals hold, and how often a verdict is wrong: simulated pairs through the product's own functions.

``python benchmarks/coverage.py --quick`` prints for every number of patients, images a patient, seeds, and spread of
the trainings how often the 95 % interval of a difference of two PI scores has the true one in it, how often two
configurations that do not differ (7 % both) are called "clear"ly different, and how often 4.2 against 7 % is found. A
second table is of one network's scores on small sets.

A pair flips where a normal number lies below the quantile of the training's PI score. That number is the sum of what is
the patient's and the pair's for all trainings, what is the patient's for one training, and chance (variances 0.3, 0.15,
0.3 and 0.25: at a PI score of 7 % two trainings' flips of a pair correlate by 0.19, a training's flips of two images
of a patient by 0.30). The PI score of a training is lognormal around its configuration's, with the given standard
deviation of the logarithm.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from metrics.inference.auroc import auroc_interval
from metrics.inference.calibration import calibration_slope
from metrics.inference.differences import PairedDifference, paired_difference
from metrics.intervals import Estimate, mean_interval, share_interval

PATIENT, PAIR, PATIENT_OF_TRAINING = 0.3, 0.15, 0.3  # shares of the variance; the rest is chance
SAME, BETTER = 7.0, 4.2  # PI scores, percent: the paper's


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3,000 simulations a row in place of 20,000")
    parser.add_argument("--simulations", type=int, help="simulations a row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the first table's rows")
    given = parser.parse_args()
    n, start = given.simulations or (3_000 if given.quick else 20_000), time.monotonic()

    # two configurations
    rows = []
    print(
        "patients images seeds  sd   coverage  also at -2.8  false clear  false likely   power  of them clear",
        flush=True,
    )
    with ProcessPoolExecutor(given.processes) as pool:
        futures = [pool.submit(compare_configurations, given.seed, n, *cell) for cell in cells()]
        for future in futures:
            row = future.result()
            rows.append(row)
            print(
                f"{row['patients']:8d} {row['images_per_patient']:6d} {row['seeds']:5d} {row['seed_sd']:4.1f} "
                f"{row['coverage']:9.3f} {row['coverage_of_difference']:13.3f} {row['false_clear']:12.4f} "
                f"{row['false_likely']:13.3f} {row['power']:7.3f} {row['power_clear']:14.3f}",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")

    # one network
    print(f"\n{'one network':60s} coverage  no interval  narrowest")
    for name, coverage, none, narrowest in small_sets(given.seed, n):
        print(f"{name:60s} {coverage:8.3f} {none:12.3f} {narrowest:10.4f}", flush=True)
    print(f"\n{n} simulations a row, {time.monotonic() - start:.0f} s")


def cells() -> Iterator[tuple[int, int, int, float]]:
    """Yield patients, images a patient, seeds of each configuration, and their spread."""
    for patients in (50, 200, 1000):
        for images in (1, 2, 3):
            for seeds in (1, 2, 3, 5):
                for spread in (0.0, 0.1, 0.3):
                    yield patients, images, seeds, spread


def compare_configurations(
    seed: int, n: int, patients: int, images: int, seeds: int, spread: float
) -> dict[str, float]:
    """Return the figures of one row: patients, images a patient, seeds of each configuration, and their spread.

    With one seed coverage and power are of these two trainings, not of others. A
    verdict counts as found where the interval leaves out zero on the right side, whatever it is called.
    """
    rng = np.random.default_rng([seed, patients, images, seeds, int(10 * spread)])
    patient = np.repeat(np.arange(patients), images)
    null, other = [], []
    for _ in range(n):
        null.append(_simulated_difference(rng, patient, seeds, spread, (SAME, SAME)))
        other.append(_simulated_difference(rng, patient, seeds, spread, (SAME, BETTER)))
    found = [row for row, _ in other if row.high < 0]
    return {
        "patients": patients,
        "images_per_patient": images,
        "seeds": seeds,
        "seed_sd": spread,
        "coverage": _share(row.low <= truth <= row.high for row, truth in null),
        "false_clear": _share(row.verdict == "clear" for row, _ in null),
        "power": len(found) / n,
        "coverage_of_difference": _share(row.low <= truth <= row.high for row, truth in other),
        "false_likely": _share(row.verdict in ("clear", "likely") for row, _ in null),
        "power_clear": sum(row.verdict == "clear" for row in found) / n,
    }


def _simulated_difference(
    rng: np.random.Generator, patient: np.ndarray, seeds: int, spread: float, scores: tuple[float, float]
) -> tuple[PairedDifference, float]:
    """Return one simulated comparison, and the true difference: of the configurations, or of two single trainings."""
    shared = np.sqrt(PATIENT) * _normal(rng, patient, ()) + np.sqrt(PAIR) * rng.standard_normal(
        len(patient), np.float32
    )
    chance = np.sqrt(1 - PATIENT - PAIR - PATIENT_OF_TRAINING)
    flips, true = [], []
    for score in scores:
        shares = np.minimum(score / 100 * np.exp(spread * rng.standard_normal(seeds) - spread**2 / 2), 0.99)
        own = np.sqrt(PATIENT_OF_TRAINING) * _normal(rng, patient, (seeds,))
        own += chance * rng.standard_normal((seeds, len(patient)), np.float32)
        flips.append((shared + own < ndtri(shares)[:, None]).astype(float))
        true.append(100 * shares[0] if seeds == 1 else score)
    return paired_difference(flips[0], flips[1], patient, scale=100), true[1] - true[0]


def _normal(rng: np.random.Generator, patient: np.ndarray, trainings: tuple[int, ...]) -> np.ndarray:
    """Draw a number a patient, and repeat it for the patient's images."""
    return rng.standard_normal((*trainings, patient[-1] + 1), np.float32)[..., patient]


def small_sets(seed: int, n: int) -> Iterator[tuple[str, float, float, float]]:
    """Yield score and set, coverage of the intervals that are given, share that is not, and the narrowest."""
    for patients, images, correlation in ((47, 3, 0.75), (47, 1, 0.0), (200, 2, 0.5)):
        patient = np.repeat(np.arange(patients), images)
        size = f"{patients} patients, {images} images each" + (f", correlation {correlation}" if correlation else "")
        for percent in (2, 7, 30, 85):
            draw = _share_draw(patient, correlation, percent / 100)
            yield f"share of {percent} %, {size}", *_coverage(draw, percent / 100, seed, n)

    # scores of probabilities, of a logistic truth: AUROC, Brier score, calibration
    for patients, images, prevalence in ((60, 1, 0.5), (200, 1, 0.1), (100, 3, 0.3), (1000, 1, 0.1)):
        patient = np.repeat(np.arange(patients), images)
        size = f"{patients} patients, {images} images each, {100 * prevalence:.0f} % positive"
        for separation in (0.5, 2.0):
            truth = _probability_truth(prevalence, separation)
            for name, value in truth.items():
                draw = _probability_draw(patient, prevalence, separation, name)
                yield f"{name} {value:.3f}, {size}", *_coverage(draw, value, seed, max(n // 4, 100))


Draw = Callable[[np.random.Generator], Estimate]


def _share_draw(patient: np.ndarray, correlation: float, share: float) -> Draw:
    def draw(rng: np.random.Generator) -> Estimate:
        value = np.sqrt(correlation) * _normal(rng, patient, ())
        value = value + np.sqrt(1 - correlation) * rng.standard_normal(len(patient))
        return share_interval((value < ndtri(share)).astype(float), patient)

    return draw


def _probability_draw(patient: np.ndarray, prevalence: float, separation: float, name: str) -> Draw:
    """Draw labels of patients, and logits of images, half of whose spread is the patient's, of a calibrated network."""

    def draw(rng: np.random.Generator) -> Estimate:
        truth, logit = _labels_and_logits(rng, patient, prevalence, separation)
        probability = 1 / (1 + np.exp(-logit))
        if name == "AUROC":
            return auroc_interval(truth, probability, patient)
        if name == "Brier score":
            return mean_interval((probability - truth) ** 2, patient, whole=1.0)
        if name == "probability minus frequency":
            return mean_interval(probability - truth, patient)
        return calibration_slope(truth, probability, patient)

    return draw


def _labels_and_logits(
    rng: np.random.Generator, patient: np.ndarray, prevalence: float, separation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, and the logits of Bayes' rule for two normal scores whose means are ``separation`` apart."""
    truth = (rng.random(patient[-1] + 1) < prevalence)[patient]
    score = (
        separation * truth + np.sqrt(0.5) * _normal(rng, patient, ()) + np.sqrt(0.5) * rng.standard_normal(len(patient))
    )
    return truth, separation * score - separation**2 / 2 + np.log(prevalence / (1 - prevalence))


def _probability_truth(prevalence: float, separation: float) -> dict[str, float]:
    """Return the true scores, from half a million images."""
    from scipy.special import ndtr

    truth, logit = _labels_and_logits(np.random.default_rng(1), np.arange(500_000), prevalence, separation)
    brier = float(np.mean((1 / (1 + np.exp(-logit)) - truth) ** 2))
    return {
        "AUROC": float(ndtr(separation / np.sqrt(2))),
        "Brier score": brier,
        "calibration slope": 1.0,
        "probability minus frequency": 0.0,
    }


def _coverage(draw: Draw, value: float, seed: int, n: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(seed)
    drawn = [draw(rng) for _ in range(n)]
    given = [estimate for estimate in drawn if not np.isnan(estimate.low)]
    if not given:
        return float("nan"), 1.0, float("nan")
    holds = _share(low <= value <= high for _, low, high in given)
    return holds, 1 - len(given) / n, min(high - low for _, low, high in given)


def _share(events: Iterator[bool]) -> float:
    return float(np.mean(list(events)))


if __name__ == "__main__":
    main()
