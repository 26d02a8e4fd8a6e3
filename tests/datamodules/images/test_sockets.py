import os
import subprocess
import sys
from pathlib import Path

import pytest

from datamodules.images import sockets
from experiments.errors import UserError
from tests.conftest import REPO

LOADER = """
if __name__ == "__main__":  # the other processes read this file too, and need nothing of it
    import tempfile, torch
    from datamodules.loaders import JobLoader
    from datamodules.images.processes import in_processes

    loader = JobLoader(torch.arange(10.0), batch_size=5, num_workers=1)
    print([batch.sum().item() for batch in loader], sorted(in_processes(abs, [-1, 2], 2, "")), tempfile.gettempdir())
"""


@pytest.mark.parametrize("length", [sockets.LONGEST, 150])
def test_workers_answer_wherever_temporary_files_are(tmp_path: Path, length: int):
    folder = tmp_path / "x"
    folder /= "l" * (length - len(os.fsencode(folder)) - 1)
    folder.mkdir(parents=True)
    (tmp_path / "script.py").write_text(LOADER)
    ended = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        env=os.environ | {"PYTHONPATH": str(REPO), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.stdout.splitlines()[-1] == f"[10.0, 35.0] [1, 2] {folder}", ended.stderr


def test_without_a_short_folder_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / ("l" * 150)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(sockets, "SHORT", (str(tmp_path / "nowhere"),))
    with pytest.raises(UserError, match=r"TMPDIR=.*lll: is too long for the sockets .*data\.num_workers=0"):
        sockets.shorten_socket_paths()
