from pathlib import Path

import numpy as np
import pytest

from datamodules.reading.boxes import fits, merge_readers, outside, read_frame, refuse_outside
from experiments.errors import UserError


def test_frames() -> None:
    assert read_frame(None, "data.sources.x") is None
    assert read_frame([640, 480], "data.sources.x") == (640, 480)
    for wrong in ([1024], [0, 10], [1, 2, 3]):
        with pytest.raises(UserError, match=r"^data\.sources\.x\.frame: takes \[width, height\]"):
            read_frame(wrong, "data.sources.x")


def test_scaled_copies() -> None:
    assert fits((1000, 500), 200, 100)
    assert fits((1000, 500), 201, 100)  # a rounding
    assert not fits((1000, 500), 100, 200)
    assert not fits((1000, 500), 500, 500)


def test_boxes_outside_of_their_frame_are_refused() -> None:
    boxes = np.array([[0, 0, 1024, 1024], [np.nan] * 4, [10, 10, 2000, 30]])
    assert outside(boxes, 1024, 1024).tolist() == [False, False, True]
    refuse_outside(boxes, None, Path("t.csv"), "data.sources.x")
    refuse_outside(boxes[:2], (1024, 1024), Path("t.csv"), "data.sources.x")
    with pytest.raises(UserError, match=r"t\.csv, line 4: the box 10, 10, 2000, 30 lies outside of the 1024x1024"):
        refuse_outside(boxes, (1024, 1024), Path("t.csv"), "data.sources.x")


def test_boxes_by_which_several_readers_mean_one_place() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 14], [2, 0, 12, 10], [0, 0, 10, 10], [100, 0, 110, 10]], float)
    merged = merge_readers(boxes, ["R1", "R2", "R3", "R1", "R2"], agreement=2)
    assert merged.dtype == np.float32
    np.testing.assert_allclose(merged, [[2 / 3, 0, 32 / 3, 34 / 3]], rtol=1e-6)  # R1's second box is another place
    assert len(merge_readers(boxes, ["R1", "R2", "R3", "R1", "R2"], agreement=1)) == 3
    assert merge_readers(boxes[:0], [], agreement=1).shape == (0, 4)
