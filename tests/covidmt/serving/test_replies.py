from __future__ import annotations

import pytest
from pydantic import ValidationError

from covidmt.serving.replies import FilmReply


def test_what_is_not_described_is_in_no_answer():
    with pytest.raises(ValidationError, match="patient"):
        FilmReply.model_validate({"patient": "A"})
