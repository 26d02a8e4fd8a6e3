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
        group: Heading of the rows of a table that it stands among; empty: the first rows, which need none.
    """

    title: str
    sentence: str
    control: bool = False
    brief: bool = True
    group: str = ""

    def scale(self, whole: float | None) -> float | None:
        """Return the ``whole`` of :func:`covidmt.pages.numbers.number`: points have the digits of percentages.

        Args:
            whole: Of the score: 100 for a percentage.

        Example:
            >>> ScoreText("score minus shuffled, points", "").scale(None), ScoreText("slope", "").scale(None)
            (100.0, None)
        """
        return 100.0 if self.title.endswith(", points") else whole


MOST_FREQUENT = "{most_frequent}"  # where the report writes the accuracy of always giving the more frequent answer

# Headings within a table.
_TARGETS = "The same score, were another answer explained"
_CONTROLS = "Controls: what the score is worth"
_LEFT_OUT = "Images that count in no OLS"

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
        "mean |change of probability|", "Mean of the absolute change; no threshold is in it."
    ),
    "pi/logit_change": ScoreText(
        "mean |change of logit| / its spread",
        "How far answers move, as a share of how far they differ between images; no threshold is in it.",
    ),
    "pi/noise": ScoreText(
        "control: white noise of equal RMS, %",
        "White noise of equal RMS (root mean square of the change), for comparison.",
        control=True,
        group=_CONTROLS,
    ),
    "pi/inside": ScoreText(
        "control: changed inside the lungs only, %",
        "PI if only the lungs were compressed; images without lungs are left out.",
        control=True,
        group=_CONTROLS,
    ),
    "pi/outside": ScoreText(
        "control: changed outside the lungs only, %",
        "Decisions that change when only the surroundings are compressed; near the threshold any small change does "
        "that.",
        control=True,
        group=_CONTROLS,
    ),
    "disagreement": ScoreText(
        "decisions that differ between the runs, %",
        "On the same originals, nothing compressed; between two trainings of one experiment, to compare PI with.",
        control=True,
        group=_CONTROLS,
    ),
}

_DRAWS = {
    "sd": ScoreText("spread over draws, points", "Standard deviation of PI over the draws of the random channel."),
    "any": ScoreText("changes in some draw, %", "Pairs whose decision changes in at least one draw."),
}

_SALIENCY = {
    "score": ScoreText(
        "OLS score, %", "Images with less than eta of the heat map's region inside the lungs, IOL < eta (Eq. 4)."
    ),
    "heart_in": ScoreText(
        "OLS with the part behind the heart, %",
        "Lung fields as V7 Labs draws them; none where the masks do not know this convention.",
    ),
    "heart_out": ScoreText(
        "OLS with lungs that stop at the heart, %",
        "As JSRT and Montgomery draw them; none where the masks do not know this convention.",
    ),
    "mean_iol": ScoreText("mean IOL", "Share of the region inside the lungs (Eq. 3)."),
    "energy": ScoreText("heat inside the lungs, share", "Of the whole heat map: needs no region threshold."),
    "labelled_positive": ScoreText(
        "OLS of labelled positives, %", "OLS among the images that have the label.", brief=False
    ),
    "labelled_negative": ScoreText("OLS of labelled negatives, %", "OLS among those that have not.", brief=False),
    "target_decision": ScoreText(
        "OLS explaining the decision, %", "The evidence for the decision made, positive or not.", group=_TARGETS
    ),
    "target_positive": ScoreText(
        "OLS explaining the positive answer, %", "The evidence for the label, also where it is denied.", group=_TARGETS
    ),
    "target_predicted": ScoreText(
        "OLS explaining the predicted class, %", "The evidence for the most probable class.", group=_TARGETS
    ),
    "shuffled": ScoreText(
        "control: other patients' maps, %",
        "OLS if every image had another patient's heat map. The interval is over other lungs and other maps.",
        control=True,
        group=_CONTROLS,
    ),
    "score_minus_shuffled": ScoreText(
        "control: score minus shuffled, points",
        "If its interval lies below zero, the maps go with this image's lungs; above zero, they lie less in them than "
        "others' maps do. That the network decides by them is not shown. No interval where all images score alike.",
        control=True,
        group=_CONTROLS,
    ),
    "centre_disc": ScoreText(
        "control: centre disc of equal area, %",
        "OLS of a disc in the middle of the image, whatever the image.",
        control=True,
        group=_CONTROLS,
    ),
    "whole_image": ScoreText(
        "control: the whole image, %", "OLS of a map that is hot everywhere.", control=True, group=_CONTROLS
    ),
    "lung_area": ScoreText(
        "control: lungs' share of the image",
        "IOL and heat share of a map that is hot everywhere.",
        control=True,
        group=_CONTROLS,
    ),
    "region_area": ScoreText(
        "region's share of the image", "Small regions make extreme IOLs.", control=True, group=_CONTROLS
    ),
    "no_region": ScoreText(
        "left out: heat map zero, %",
        "No evidence for the explained answer anywhere; not in the score.",
        group=_LEFT_OUT,
    ),
    "no_lung": ScoreText("left out: no lung found, %", "Not in the score.", group=_LEFT_OUT),
}

_DECISION = {
    "accuracy": ScoreText("accuracy", "Of the decisions."),
    "sensitivity": ScoreText("sensitivity", "Share of labelled positives found."),
    "specificity": ScoreText("specificity", "Share of labelled negatives left alone."),
    "ppv": ScoreText("PPV", "Positive predictive value: share of positive decisions that are right."),
    "npv": ScoreText("NPV", "Negative predictive value: share of negative decisions that are right.", brief=False),
    "f1": ScoreText("F1", "Harmonic mean of sensitivity and PPV; n: images with the label or a positive decision."),
    "auroc": ScoreText("AUROC", "Area under the ROC curve: chance that a positive scores above a negative."),
    "ap": ScoreText("average precision", "Area under precision over recall.", brief=False),
    "brier": ScoreText("Brier score", "Mean of (probability - label) squared: lower is better.", brief=False),
    "probability_minus_frequency": ScoreText(
        "probability minus frequency", "0: on average, as many have the label as the probabilities say."
    ),
    "calibration_slope": ScoreText(
        "calibration slope", "1: spread as it should be; below: too extreme, above: too timid.", brief=False
    ),
    "map": ScoreText("mAP, IoU 0.5-0.95", "COCO's mean average precision."),
    "map_50": ScoreText("mAP at IoU 0.5", "COCO's, one threshold."),
    "rsna_map": ScoreText(
        "RSNA mean AP, IoU 0.4-0.75", "The challenge's score of detections of confidence 0.5 and above."
    ),
}

SHORTCUTS = {
    "shortcut/lungs_removed/accuracy": ScoreText(
        "accuracy, lungs blacked out",
        f"Always giving the more frequent answer would reach {MOST_FREQUENT}. Higher is no merit.",
        control=True,
    ),
    "shortcut/lungs_removed/auroc": ScoreText(
        "AUROC, lungs blacked out",
        "0.5 is chance; markers, crops, contrast, the lungs' outline or the source's processing may put it above. "
        "Higher is no merit.",
        control=True,
    ),
    "shortcut/border_only/accuracy": ScoreText(
        "accuracy, border only",
        "With nothing but a frame of a tenth of the side, without the lungs in it. Always giving the more frequent "
        f"answer would reach {MOST_FREQUENT}. Higher is no merit.",
        control=True,
    ),
    "shortcut/border_only/auroc": ScoreText(
        "AUROC, border only",
        "0.5 is chance; markers, letters, crops or the source's processing may put it above. Higher is no merit.",
        control=True,
    ),
}


_STABILITY = {
    "pi": ScoreText(
        "PI, any label, %", "Pairs (of the deciding task: those above) in which any label's decision changes."
    ),
    "noise": ScoreText("control: white noise of equal RMS, %", "PI if the change were structureless.", control=True),
    "probability_change": ScoreText("mean |change of probability|", "Mean of the absolute change, over labels."),
    "label": ScoreText("PI of {}, %", "Pairs in which this label's decision changes.", brief=False),
    "ols": ScoreText("OLS, {}, %", "Heat maps, or predicted boxes, with less than eta of them inside the lungs."),
    "ols_shuffled": ScoreText(
        "control: other patients' maps, {}, %", "OLS of maps that know nothing of the image.", True
    ),
    "ols_disc": ScoreText(
        "control: centre disc, {}, %", "OLS of a disc in the middle, whatever the image.", True, False
    ),
    "mean_iol": ScoreText("mean IOL, {}", "Share of the region inside the lungs.", brief=False),
    "li": ScoreText("LI at IoU {}, %", "Pairs with a true box that is found on one side only."),
    "li_lost": ScoreText("lost at IoU {}, %", "Found on the original, not on the received image.", brief=False),
    "li_gained": ScoreText("gained at IoU {}, %", "Found on the received image, not on the original.", brief=False),
    "localised": ScoreText("control: found on the original at IoU {}, %", "LI is 0 where nothing is ever found.", True),
    "li_noise": ScoreText("control: LI under white noise at IoU {}, %", "LI if the change were structureless.", True),
    "iou": ScoreText(
        "overlap of both sides' boxes", "Each box's best IoU with the other side's, their mean; 1: the same."
    ),
    "score_change": ScoreText("mean |change of highest score|", "Mean of the absolute change."),
}

MEMBERSHIP = {
    "membership/advantage": ScoreText(
        "advantage of a loss-threshold attack",
        "Training images with a loss below the mean training loss, minus other images below it (Yeom et al. 2018): 0 "
        "tells nothing of who was trained on, 1 all.",
    ),
    "membership/auroc": ScoreText("AUROC of the loss for membership", "At all thresholds; 0.5 tells nothing."),
    "membership/loss_trained": ScoreText("mean loss on training images", "Not augmented."),
    "membership/loss_new": ScoreText("mean loss on test images", "Above it by as much as the network overfits."),
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
    for key in keys:
        if key.startswith("draws/"):
            _, name, what = key.split("/")
            texts["PI per channel"][key] = _DRAWS[what]._replace(title=f"{name}: {_DRAWS[what].title}")
    for side in SIDES:
        texts[f"Out-of-lung saliency, {side}"] = {f"ols/{side}/{name}": text for name, text in _SALIENCY.items()}
    for side in SIDES:
        texts[f"The decision, {side}"] = {f"decision/{side}/{name}": text for name, text in _DECISION.items()}
    for key in keys:
        if key.startswith("stability/"):
            _, task, name, *rest = key.split("/")
            text = _STABILITY[name]._replace(title=_STABILITY[name].title.format("/".join(rest)))
            texts.setdefault(f"Stability of {task}", {})[key] = text
    texts["Shortcuts"] = SHORTCUTS
    texts["Membership"] = MEMBERSHIP

    # the tasks, whatever their names
    for key in keys:
        if key.startswith("task/"):
            _, task, *label, name = key.split("/")
            known = _DECISION.get(name, ScoreText(name.replace("_", " "), "Mean over the images, of the task's class."))
            title = ": ".join(["/".join(label), known.title]) if label else known.title
            if key == f"task/{task}/accuracy" and any(_is_of_label(other, task) for other in keys):
                title = "accuracy of the most probable label"
            text = known._replace(title=title, brief=name in _TASK_BRIEF or name not in _DECISION)
            texts.setdefault(f"Task {task}", {})[key] = text

    rows = {heading: {key: row[key] for key in row if key in keys} for heading, row in texts.items()}
    return {heading: row for heading, row in rows.items() if row}


def _is_of_label(key: str, task: str) -> bool:
    """Return whether a score is of one of a task's several labels: ``task/<task>/<label>/<score>``."""
    return key.startswith(f"task/{task}/") and key.count("/") > 2
