from __future__ import annotations

from pathlib import Path

import pytest

from covidmt.serving.guards import is_loopback, read_token
from experiments.errors import UserError


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.0.0.1.example.org"])
def test_an_address_that_others_reach_needs_a_token(host: str, tmp_path: Path):
    assert not is_loopback(host)
    with pytest.raises(UserError, match="a token is needed: write one to a file"):
        read_token(None, None, host)
    (tmp_path / "token").write_text("0123456789abcdef\n")
    assert read_token(tmp_path / "token", None, host) == "0123456789abcdef"
    assert read_token(None, "fedcba9876543210", host) == "fedcba9876543210"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_none(host: str):
    assert is_loopback(host)
    assert read_token(None, None, host) is None


def test_a_token_that_is_short_or_missing_is_said(tmp_path: Path):
    with pytest.raises(UserError, match="fewer than 16 characters"):
        read_token(None, "short", "127.0.0.1")
    with pytest.raises(UserError, match=r"--token-file .*absent: cannot be read"):
        read_token(tmp_path / "absent", None, "127.0.0.1")
    (tmp_path / "empty").touch()
    with pytest.raises(UserError, match="a token is needed"):
        read_token(tmp_path / "empty", None, "0.0.0.0")
