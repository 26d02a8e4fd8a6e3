"""What a command says, by the level of the loggers."""

from __future__ import annotations

import logging

import pytest

from experiments.trainer.loudness import ROOMS, is_quiet, is_talkative, loudness


@pytest.mark.parametrize(("steps", "said"), [(-1, []), (0, ["a warning"]), (1, ["a note", "a warning"])])
def test_what_is_said(steps: int, said: list[str], caplog: pytest.LogCaptureFixture):
    before = [logging.getLogger(room).level for room in ROOMS]
    with loudness(steps):
        logging.getLogger("datamodules.images").info("a note")
        logging.getLogger("covidmt.training").warning("a warning")
        assert (is_quiet(), is_talkative()) == (steps < 0, steps > 0)
    assert caplog.messages == said
    assert [logging.getLogger(room).level for room in ROOMS] == before
    assert not any(logging.getLogger(room).handlers for room in ROOMS)
