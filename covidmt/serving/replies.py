"""What the service answers, as its OpenAPI description says it: nothing more is in an answer, and nothing less."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ChannelReply(BaseModel):
    """The answer after a channel."""

    answer: str
    probability: float
    survives: bool


class FindingSentReply(BaseModel):
    """A finding after a channel."""

    probability: float
    positive: bool
    survives: bool


class FindingReply(BaseModel):
    """A label of a task besides the decision."""

    task: str
    label: str
    probability: float
    positive: bool
    channels: dict[str, FindingSentReply]


class BoxReply(BaseModel):
    """A box, in pixels of the film: left, top, right, bottom."""

    xyxy: list[float]
    score: float


class BoxesReply(BaseModel):
    """The boxes of a task, on the film and after each channel."""

    task: str
    boxes: list[BoxReply]
    channels: dict[str, list[BoxReply]]


class ValueReply(BaseModel):
    """A number of a task of a class of the user's own, on the film and after each channel."""

    task: str
    name: str
    value: float | None
    channels: dict[str, float | None]


class FilmReply(BaseModel):
    """A film's answer.

    Example:
        >>> {"probability", "channels", "findings", "boxes", "warnings"} <= FilmReply.model_fields.keys()
        True
    """

    model_config = ConfigDict(extra="forbid")

    label: str
    answer: str
    probability: float
    decision: str
    threshold: float
    channels: dict[str, ChannelReply]
    lungs: str
    pose: str | None
    iol: float | None
    eta: float
    lung_share: float | None
    heat_map_found: bool
    findings: list[FindingReply]
    boxes: list[BoxesReply]
    values: list[ValueReply]
    warnings: list[str]
    report: str
    notice: str
    pictures: dict[str, str] | None = None  # by title, a JPEG's base64


class MessageReply(BaseModel):
    """The doctor's message, and its picture: a JPEG's base64."""

    text: str
    picture: str


class Failure(BaseModel):
    """What is wrong with a request."""

    error: str
