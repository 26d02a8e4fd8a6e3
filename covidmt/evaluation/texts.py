"""The scores of an evaluation in words: a title, and one sentence on what each tells. Table and report read it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from metrics.paired import SIDES


class ScoreText(NamedTuple):
    """A score in words.

    Attributes:
        title: Its name.
        sentence: What it tells.
        control: It stands beside a score to say what that is worth.
        brief: It is in the terminal's table, not only in the report.
    """

    title: str
    sentence: str
    control: bool = False
    brief: bool = True


INSTABILITY = {
    "pi/score": ScoreText("PI score, %", "Pairs whose decision changes on the way through the channel (Eq. 2)."),
    "pi/positive_to_negative": ScoreText(
        "positive to negative, %", "Share of all pairs that lose the positive decision."
    ),
    "pi/negative_to_positive": ScoreText("negative to positive, %", "Share of all pairs that gain it."),
    "pi/labelled_positive": ScoreText(
        "PI of labelled positives, %", "PI among the images that have the label.", brief=False
    ),
    "pi/labelled_negative": ScoreText("PI of labelled negatives, %", "Among those that have not.", brief=False),
    "pi/argmax": ScoreText(
        "most probable label changes, %", "As PI, for the most probable of all labels.", brief=False
    ),
    "pi/probability_change": ScoreText(
        "mean change of the probability", "Moves before PI does: PI is coarse on few pairs."
    ),
    "pi/logit_change": ScoreText(
        "mean |change of logit| / its spread",
        "How far answers move, as a share of how far they differ between images; no threshold is in it.",
    ),
    "pi/noise": ScoreText(
        "control: white noise of equal RMS, %",
        "PI if the same amount of change were structureless: what compression does beyond that is its own.",
        control=True,
    ),
    "pi/inside": ScoreText(
        "control: changed inside the lungs only, %",
        "PI if only the lungs were compressed; images without lungs are left out.",
        control=True,
    ),
    "pi/outside": ScoreText(
        "control: changed outside the lungs only, %",
        "PI if only the surroundings were compressed: answers that move here hang on what is not lung.",
        control=True,
    ),
    "disagreement": ScoreText(
        "decisions that differ between the runs, %",
        "On the same originals, nothing compressed; between two seeds of one experiment it is the noise floor of PI.",
        control=True,
    ),
}

_SALIENCY = {
    "score": ScoreText(
        "OLS score, %", "Images whose heat-map region lies mostly outside the lungs, IOL < eta (Eq. 4)."
    ),
    "mean_iol": ScoreText("mean IOL", "Share of the region inside the lungs (Eq. 3)."),
    "energy": ScoreText("heat inside the lungs, share", "Of the whole heat map: needs no region threshold."),
    "labelled_positive": ScoreText(
        "OLS of labelled positives, %", "OLS among the images that have the label.", brief=False
    ),
    "labelled_negative": ScoreText("OLS of labelled negatives, %", "OLS among those that have not.", brief=False),
    "shuffled": ScoreText(
        "control: other patients' maps, %",
        "OLS if every image had another patient's heat map: as high as the score means that the score says where maps "
        "lie on average, not why this image was called so.",
        control=True,
    ),
    "score_minus_shuffled": ScoreText(
        "control: score minus shuffled, points",
        "Below zero with its whole interval: the maps follow the individual image's lungs. No interval where all "
        "images score alike.",
        control=True,
    ),
    "centre_disc": ScoreText(
        "control: centre disc of equal area, %",
        "OLS of a disc in the middle of the image that never looks at it.",
        control=True,
    ),
    "whole_image": ScoreText("control: the whole image, %", "OLS of a map that is hot everywhere.", control=True),
    "lung_area": ScoreText(
        "control: lungs' share of the image", "IOL and heat share of a map that is hot everywhere.", control=True
    ),
    "region_area": ScoreText("region's share of the image", "Small regions make extreme IOLs.", control=True),
    "no_region": ScoreText(
        "left out: heat map zero, %", "No evidence for the explained answer anywhere; not in the score."
    ),
    "no_lung": ScoreText("left out: no lung found, %", "Not in the score."),
}

_DECISION = {
    "accuracy": ScoreText("accuracy", "At the decision threshold."),
    "sensitivity": ScoreText("sensitivity", "Share of labelled positives found."),
    "specificity": ScoreText("specificity", "Share of labelled negatives left alone."),
    "ppv": ScoreText("PPV", "Share of positive decisions that are right."),
    "npv": ScoreText("NPV", "Share of negative decisions that are right.", brief=False),
    "f1": ScoreText("F1", "Harmonic mean of sensitivity and PPV."),
    "auroc": ScoreText("AUROC", "Chance that a positive scores above a negative."),
    "ap": ScoreText("average precision", "Area under precision over recall.", brief=False),
    "ece": ScoreText("calibration error (ECE)", "Mean gap between probability and frequency, 15 bins."),
    "map": ScoreText("mAP, IoU 0.5-0.95", "COCO's mean average precision."),
    "map_50": ScoreText("mAP at IoU 0.5", "COCO's, one threshold."),
    "rsna_map": ScoreText(
        "RSNA mean AP, IoU 0.4-0.75", "The challenge's score of detections of confidence 0.5 and above."
    ),
}

SHORTCUTS = {
    "shortcut/lungs_removed/accuracy": ScoreText(
        "accuracy, lungs blacked out", "Well above chance: the label can be told without the lungs.", control=True
    ),
    "shortcut/lungs_removed/auroc": ScoreText(
        "AUROC, lungs blacked out",
        "0.5 is chance; above it, the surroundings or the lungs' outline tell it.",
        control=True,
    ),
    "shortcut/border_only/accuracy": ScoreText(
        "accuracy, border only",
        "With nothing but a frame of a tenth of the side, without the lungs in it.",
        control=True,
    ),
    "shortcut/border_only/auroc": ScoreText(
        "AUROC, border only", "0.5 is chance; above it, markers, letters or crops give the label away.", control=True
    ),
}


_TASK_BRIEF = ("accuracy", "auroc", "map", "rsna_map")


def sections(keys: Collection[str]) -> dict[str, dict[str, ScoreText]]:
    """Return the scores that there are in the order of a report: heading -> key -> text.

    Args:
        keys: Of the scores.

    Example:
        >>> {heading: list(texts) for heading, texts in sections(["channel/jpeg:5", "pi/score"]).items()}
        {'Prediction instability': ['pi/score'], 'PI per channel': ['channel/jpeg:5']}
    """
    # every score of the pairs that there can be
    texts: dict[str, dict[str, ScoreText]] = {"Prediction instability": INSTABILITY}
    channels = [key for key in keys if key.startswith("channel/")]
    texts["PI per channel"] = {key: ScoreText(f"{key.removeprefix('channel/')}, %", "") for key in channels}
    for side in SIDES:
        texts[f"Out-of-lung saliency, {side}"] = {f"ols/{side}/{name}": text for name, text in _SALIENCY.items()}
    for side in SIDES:
        texts[f"The decision, {side}"] = {f"decision/{side}/{name}": text for name, text in _DECISION.items()}
    texts["Shortcuts"] = SHORTCUTS

    # the tasks, whatever their names
    for key in keys:
        if key.startswith("task/"):
            _, task, *label, name = key.split("/")
            title = ": ".join(["/".join(label), _DECISION[name].title]) if label else _DECISION[name].title
            text = _DECISION[name]._replace(title=title, brief=name in _TASK_BRIEF)
            texts.setdefault(f"Task {task}", {})[key] = text

    rows = {heading: {key: row[key] for key in row if key in keys} for heading, row in texts.items()}
    return {heading: row for heading, row in rows.items() if row}
