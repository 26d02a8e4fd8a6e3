from pathlib import Path

import pytest
import torch

from callbacks.resume import AtomicCheckpointIO
from experiments.errors import UserError


class Unsaveable:
    def __reduce__(self) -> object:
        raise OSError("no space left on device")


def test_a_failed_write_leaves_the_checkpoint_that_was_there(tmp_path: Path):
    path = tmp_path / "folder" / "last.ckpt"
    io = AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, path)
    with pytest.raises(UserError, match="cannot be written"):
        io.save_checkpoint({"step": 2, "more": Unsaveable()}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
