"""The answer for one image: what the network says, what was checked about it, and what it must not be taken for."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Any, NamedTuple

import numpy as np

from covidmt.prediction.findings import FoundBoxes, LabelFinding, ValueFinding
from datamodules.images.looks import FEW, FEW_LEVELS, FLAT, NEGATIVE, TURNED, UNLIKE
from experiments.lungs.masks import HEARTS
from experiments.lungs.poses import POSES, pose_sentence
from experiments.schema import DecisionRule
from explain.decision import NEAR, Decision

NOTICE = (
    "Research software, not a medical device. This is not a diagnosis: an answer that passes every check can still be "
    "wrong. A radiologist must read the image."
)

PLAUSIBLE_LUNGS = 0.08, 0.8  # share of a chest X-ray that lungs cover; 0.14 to 0.66 in some 200 images

# What is odd about an image at a glance.
LOOKS = {
    FLAT: "The image is all one grey: there is nothing to see in it.",
    FEW: f"The image uses fewer than {FEW_LEVELS} of 256 grey levels: most of the film may be lost.",
    NEGATIVE: "The image looks like a negative, with black and white exchanged.",
    TURNED: "The image looks turned: by 90 degrees, or upside down.",
    UNLIKE: "The image looks unlike a frontal chest X-ray.",
}


class Sentence(NamedTuple):
    """A sentence of the report.

    Attributes:
        text: The sentence, for a reader who does not know the software.
        warning: The same in a few words if it is a warning, else empty.
    """

    text: str
    warning: str = ""


class ChannelAnswer(NamedTuple):
    """The answer after a channel.

    Attributes:
        probability: Probability of the decision's label, in [0, 1].
        positive: The decision.
    """

    probability: float
    positive: bool


@dataclass(frozen=True)
class Prediction:
    """The answer for one image, and the checks.

    Attributes:
        image: The file as the user named it; nothing else in the output tells where an image is from.
        decision: What was asked.
        probability: Probability of the decision's label, in [0, 1].
        positive: The decision.
        channels: Both after each simulated channel.
        lung_share: Share of the image that the lungs cover, 0: none were found; None: they were not looked for.
        heat_found: The heat map is not zero everywhere.
        iol: Share of the heat-map region inside the lungs, in [0, 1]; NaN where one of them is missing.
        eta: IOL below which the saliency is out of the lungs, in [0, 1].
        size: Width and height of the image, pixels.
        input_size: Width and height of what the network reads, pixels.
        coloured: The file is no grey image.
        notes: What was passed over or is unusual in the file.
        look: What is odd about the image at a glance (`datamodules.images.looks`), "" for nothing.
        heart: The convention of the lungs, ``in`` or ``out``, see :class:`experiments.lungs.masks.Masks`.
        pose: How the picture lies, of :data:`experiments.lungs.poses.POSES`; None: the segmenter does not say.
        findings: All other labels of all tasks.
        boxes: Of every box task.
        values: Of every task of a class of the user's own.
        top: Rows that are cut off at the image's top.

    Example:
        >>> prediction = Prediction(
        ...     image="a.png", decision=Decision("COVID-19", index=2), probability=0.75, positive=True,
        ...     channels={"whatsapp": ChannelAnswer(0.25, positive=False)}, lung_share=0.3, heat_found=True, iol=0.2,
        ...     eta=0.4, size=(1024, 1024), input_size=512, coloured=False)
        >>> prediction.answer
        'COVID-19'
        >>> prediction.survives("whatsapp")
        False
        >>> [sentence.warning for sentence in prediction.sentences() if sentence.warning]
        ['other answer after whatsapp', 'heat map mostly outside the lungs']
    """

    image: str
    decision: Decision
    probability: float
    positive: bool
    channels: dict[str, ChannelAnswer]
    lung_share: float | None
    heat_found: bool
    iol: float
    eta: float
    size: tuple[int, int]
    input_size: int
    coloured: bool
    notes: tuple[str, ...] = ()
    look: str = ""
    heart: str = "in"
    pose: str | None = None
    findings: tuple[LabelFinding, ...] = ()
    boxes: tuple[FoundBoxes, ...] = ()
    values: tuple[ValueFinding, ...] = ()
    top: int = 0

    @property
    def answer(self) -> str:
        """The decision in words: ``COVID-19`` or ``not COVID-19``."""
        return self.decision.answer(self.positive)

    def survives(self, channel: str) -> bool:
        """Return whether the decision is the same after the channel."""
        return self.channels[channel].positive == self.positive

    def is_near(self, channel: str) -> bool:
        """Return whether the probability of the label is near its threshold, on the image or after the channel."""
        return self.decision.is_near(self.probability, self.channels[channel].probability)

    def sentences(self) -> list[Sentence]:
        """Return the report: the answer, then each check."""
        channels = [self._channel_sentence(channel) for channel in self.channels]
        checks = [*self._saliency_sentences(), *self._finding_sentences(), *self._image_sentences()]
        return [self._answer_sentence(), *channels, *checks]

    def warnings(self) -> list[str]:
        """Return the report's warnings in a few words each."""
        return [sentence.warning for sentence in self.sentences() if sentence.warning]

    def record(self) -> dict[str, Any]:
        """Return all of it for JSON; what is not defined is None."""
        sentences = self.sentences()
        return {
            "image": self.image,
            "label": self.decision.label,
            "answer": self.answer,
            "probability": round(self.probability, 6),
            "decision": self.decision.rule.value,
            "threshold": self.decision.threshold,
            "channels": {
                name: {
                    "answer": self.decision.answer(sent.positive),
                    "probability": round(sent.probability, 6),
                    "survives": self.survives(name),
                }
                for name, sent in self.channels.items()
            },
            "lungs": HEARTS[self.heart],
            "pose": self.pose,
            "iol": None if isnan(self.iol) else round(self.iol, 6),
            "eta": self.eta,
            "lung_share": None if self.lung_share is None else round(self.lung_share, 6),
            "heat_map_found": self.heat_found,
            "findings": [finding.record() for finding in self.findings],
            "boxes": [found.record(self.size, self.top) for found in self.boxes],
            "values": [value.record() for value in self.values],
            "warnings": [sentence.text for sentence in sentences if sentence.warning],
            "report": " ".join(sentence.text for sentence in sentences),
        }

    def _answer_sentence(self) -> Sentence:
        label, positive = self.decision.label, self.positive
        rest = "" if positive else f" That does not rule {label} out."
        reason = f"{'at or above' if positive else 'below'} its threshold of {self.decision.threshold:g}"
        if self.decision.rule is DecisionRule.argmax:
            reason = f"{'the highest' if positive else 'not the highest'} of its classes"
        if self.decision.is_near(self.probability):
            reason += f", and within {NEAR:g} of it, where a small change of the image can turn the answer"
        return Sentence(
            f"The network answers {self.answer}: it gives {label} a probability of {self.probability:.3f}, {reason}."
            f"{rest}"
        )

    def _channel_sentence(self, channel: str) -> Sentence:
        probability, positive = self.channels[channel]
        if self.survives(channel):
            return Sentence(
                f"Sent through {channel} (simulated), the image gets the same answer (probability {probability:.3f})."
            )
        return Sentence(
            f"Sent through {channel} (simulated), the image gets another answer: {self.decision.answer(positive)} "
            f"(probability {probability:.3f}). The answer is not stable and should not be relied on.",
            f"other answer after {channel}",
        )

    def _saliency_sentences(self) -> list[Sentence]:
        """What the heat map and the lungs say together."""
        missing = []
        if self.lung_share == 0:
            missing.append(
                Sentence(
                    "No lungs were found in the image, so it is not known whether the network looked at them. It may "
                    "not be a frontal chest X-ray.",
                    "no lungs found",
                )
            )
        if not self.heat_found:
            missing.append(
                Sentence(
                    "The heat map is empty: it points to no part of the image as a reason for the answer.",
                    "empty heat map",
                )
            )
        if missing:
            return missing
        if self.lung_share is None:
            return [Sentence("Whether the network looked at the lungs was not checked.")]

        inside = bool(np.float32(self.iol) >= np.float32(self.eta))
        share = f"{self._iol_percent(inside)} % of the heat map's hottest region lies inside the lungs"
        if inside:
            return [Sentence(f"{share} (expected: {100 * self.eta:g} % or more; {HEARTS[self.heart]}).")]
        return [
            Sentence(
                f"Only {share} (expected: {100 * self.eta:g} % or more; {HEARTS[self.heart]}). The answer may rest on "
                "something other than the lungs.",
                "heat map mostly outside the lungs",
            )
        ]

    def _iol_percent(self, inside: bool) -> str:
        """IOL in percent, with as many digits as tell it from eta: 0.397 is not "40 %", which is what is expected."""
        texts = [f"{100 * self.iol:.{digits}f}" for digits in range(7)]
        fitting = [text for text in texts if (float(text) >= round(100 * self.eta, 6)) == inside]
        return [*fitting, texts[-1]][0]

    def _finding_sentences(self) -> list[Sentence]:
        """Every other finding, and whether it survives the channels."""
        sentences = []
        for finding in self.findings:
            lost = f"{finding.label}: other answer after {', '.join(finding.unstable)}" if finding.unstable else ""
            sentences.append(Sentence(finding.text, lost))
        for found in self.boxes:
            lost = f"{found.task}: found on one side only ({', '.join(found.unstable)})" if found.unstable else ""
            sentences.append(Sentence(found.text, lost))
        return [*sentences, *(Sentence(value.text) for value in self.values)]

    def _image_sentences(self) -> list[Sentence]:
        """Ways in which the image is unlike those that networks are trained on."""
        sentences = []
        if self.pose is not None and self.pose != POSES[0]:
            reason = "The network was trained on upright frontal films: do not rely on the answer."
            sentences.append(Sentence(f"{pose_sentence(self.pose)} {reason}", self.pose))
        if self.lung_share and not PLAUSIBLE_LUNGS[0] <= self.lung_share <= PLAUSIBLE_LUNGS[1]:
            sentences.append(
                Sentence(
                    f"What was taken for lungs covers {100 * self.lung_share:.0f} % of the image, unlike in a chest "
                    "X-ray: the image may not be one, and then the share inside the lungs says nothing.",
                    "odd lungs",
                )
            )

        width, height = self.size
        if min(self.size) < self.input_size:
            sentences.append(
                Sentence(
                    f"The image has {width} x {height} pixels, but the network reads {self.input_size} x "
                    f"{self.input_size}: details may be missing.",
                    "small image",
                )
            )

        if self.coloured:
            sentences.append(
                Sentence(
                    "The image is in colour, unlike the grey X-rays that the network was trained on; only its "
                    "brightness was used.",
                    "image in colour",
                )
            )

        if self.look:
            sentences.append(Sentence(LOOKS[self.look], self.look))
        if self.notes:
            sentences.append(
                Sentence(f"How the file is meant to be shown is not clear: {'; '.join(self.notes)}.", "unclear file")
            )
        return sentences
