from __future__ import annotations

import pytest

from covidmt.serving.uploads import decode_base64, parse_json
from experiments.errors import UserError


@pytest.mark.parametrize("body", [b"", b"[1]", b"nonsense", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_object_is_refused(body: bytes):
    with pytest.raises(UserError, match="JSON"):
        parse_json(body)


def test_base64_is_strict_but_for_line_breaks():
    assert decode_base64("aG\nk=\n") == b"hi"
    for text in ("aGk", "!!!!", "aGk=é"):
        with pytest.raises(UserError, match="no base64"):
            decode_base64(text)
