"""The predictor as MLflow's pyfunc: what ``mlflow.pyfunc.load_model`` and ``mlflow models serve`` call."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from covidmt.prediction.answer import NOTICE
from covidmt.prediction.predictor import Predictor, open_predictor
from experiments.errors import UserError
from experiments.keys import Values

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

IMAGE = "image"  # the input's column


class PyfuncPredictor:
    """Answer rows of images, each as ``covidmt predict`` does.

    Args:
        predictor: The network, warm.

    Example:
        >>> PyfuncPredictor.content("aGVsbG8="), PyfuncPredictor.content(b"hello")
        (b'hello', b'hello')
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: pd.DataFrame, params: Values | None = None) -> list[Values]:
        """Return an answer for each row.

        Args:
            model_input: A column ``image``: the file's bytes (PNG, JPEG, DICOM, ...), or their base64.
            params: Ignored.

        Returns:
            For each row :meth:`.Prediction.record` with ``notice``; of an image that cannot be read ``error`` alone.
        """
        contents: dict[str, bytes] = {}
        answers: dict[str, Values] = {}
        for row, value in enumerate(model_input[IMAGE], 1):
            try:
                contents[f"image {row}"] = self.content(value)
            except UserError as error:
                answers[f"image {row}"] = {"error": f"image {row}: {error}"}

        for name, result in self.predictor.answer(contents):
            failed = isinstance(result, UserError)
            answers[name] = {"error": str(result)} if failed else result.prediction.record() | {"notice": NOTICE}
        return [answers[f"image {row}"] for row in range(1, len(model_input) + 1)]

    @staticmethod
    def content(value: bytes | str) -> bytes:
        """Return the bytes of an image as given.

        Raises:
            UserError: A text that is no base64.
        """
        if not isinstance(value, str):
            return bytes(value)
        try:
            return base64.b64decode("".join(value.split()), validate=True)  # MLflow's own has line breaks
        except binascii.Error as error:
            raise UserError(f"the text is no base64 of an image file ({error})") from error


def model_signature() -> ModelSignature:
    """Return what goes in and what comes out, as MLflow shows it."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Array, Map, Object, Property

    text, real, true = DataType.string, DataType.double, DataType.boolean
    number, yes, survives = Property("probability", real), Property("positive", true), Property("survives", true)
    channel = Object([Property("answer", text), number, survives])
    task, label = Property("task", text), Property("label", text)
    sent = Property("channels", Map(Object([number, yes, survives])))
    finding = Object([task, label, number, yes, sent])
    box = Array(Object([Property("xyxy", Array(real)), Property("score", real)]))
    value = Object([task, Property("name", text), Property("value", real), Property("channels", Map(real))])
    boxes = Object([task, Property("boxes", box), Property("channels", Map(box))])
    outputs: Values = {
        "image": text, "label": text, "answer": text, "probability": real, "decision": text, "threshold": real,
        "channels": Map(channel), "iol": real, "eta": real, "lung_share": real, "heat_map_found": true,
        "lungs": text, "pose": text, "findings": Array(finding), "boxes": Array(boxes), "values": Array(value),
        "warnings": Array(text), "report": text, "notice": text, "error": text,
    }  # fmt: skip
    columns: list[Any] = [ColSpec(kind, name, required=False) for name, kind in outputs.items()]
    return ModelSignature(inputs=Schema([ColSpec(AnyType(), IMAGE)]), outputs=Schema(columns))


def _load_pyfunc(path: str, model_config: Values | None = None) -> PyfuncPredictor:
    """Return what MLflow calls, by the name that it looks for.

    Args:
        path: The checkpoint among the model's files.
        model_config: ``channels``: a list of names, None: the training's own; ``segmenter``: as in ``covidmt predict``,
            None: lungs are not looked for.
    """
    settings = dict(model_config or {})
    return PyfuncPredictor(
        open_predictor(path, channels=settings.get("channels"), segmenter=settings.get("segmenter", "covidmt"))
    )
