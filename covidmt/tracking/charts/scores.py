"""Which scores MLflow gets as metrics, and which as rows of a table: its UI draws a chart for every metric."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import pandas as pd

from callbacks.loggers.contracts import LoggedAt, table_file, to_csv

_SIDE = "(original|received)"
_DETAILS = re.compile(
    "|".join(
        (
            r"[^/]+/confusion/.+",  # a cell of a confusion matrix
            r"[^/]+/ap/.+",  # a label's average precision
            r"pi/(undefined|flips_\w+_percent)",
            r"pi/[^/]+/(pairs|undefined|mean_abs_change|ci_low|ci_high)",  # of a task
            r"pi/[^/]+/[^/]+/.+",  # of a label
            r"li/[^/]+/(pairs|no_box|undefined|score_change)",
            r"li/[^/]+/[^/]+/.+",  # directions and ends of an interval
            rf"ols/{_SIDE}/.+",
            rf"ols/[^/]+/{_SIDE}/.+",  # of a task
        )
    )
)


def details(keys: Collection[str]) -> set[str]:
    """Return the scores of a validation or test that a table holds: counts, directions, intervals of single tasks.

    Args:
        keys: All that was logged at once, such as ``val/pi_score``; what is of neither split is no score.

    Example:
        >>> sorted(details(["val/pi_score", "val/t/auroc", "val/t/confusion/a/b", "val/pi/t", "val/pi/t/pairs"]))
        ['val/pi/t/pairs', 'val/t/confusion/a/b']
    """
    names = {key: name for key in keys for split, _, name in [key.partition("/")] if split in ("val", "test")}
    return {key for key, name in names.items() if _DETAILS.fullmatch(name)}


def scores_file(split: str, epoch: int) -> str:
    """Return the artifact that holds all scores of a validation, or of the test.

    Example:
        >>> scores_file("val", 3), scores_file("test", 3)
        ('scores/val/003.csv', 'scores/test.csv')
    """
    return table_file(f"scores/{split}", LoggedAt(split, epoch, 0))


def score_tables(metrics: Mapping[str, float], epoch: int) -> dict[str, str]:
    r"""Return the tables of what was logged at once: file -> CSV of a split's scores, where some are no metrics.

    Example:
        >>> score_tables({"val/pi_score": 2.5, "val/pi/undefined": 0, "lr": 0.1}, epoch=3)
        {'scores/val/003.csv': 'metric,value\nval/pi/undefined,0\nval/pi_score,2.5\n'}
    """
    tables = {}
    for split in sorted({key.partition("/")[0] for key in details(metrics)}):
        scores = {clean_key(key): float(value) for key, value in metrics.items() if key.startswith(f"{split}/")}
        table = pd.DataFrame(sorted(scores.items()), columns=["metric", "value"])
        tables[scores_file(split, epoch)] = to_csv(table)
    return tables


def clean_key(key: str) -> str:
    """Return the key with an underscore for each character that MLflow does not take.

    Example:
        >>> clean_key("val/No Lung Opacity / Not Normal (AP), %")
        'val/No Lung Opacity / Not Normal _AP__ _'
    """
    return re.sub(r"[^\w/.:\- ]", "_", key, flags=re.ASCII)


def cut_value(value: str) -> str:
    """Return a parameter's value, cut with a note where it is longer than MLflow takes."""
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    note = f" ... (cut, {len(value)} characters)"
    return value if len(value) <= MAX_PARAM_VAL_LENGTH else value[: MAX_PARAM_VAL_LENGTH - len(note)] + note
