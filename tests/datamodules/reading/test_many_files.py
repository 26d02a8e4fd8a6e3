import os
import threading
from pathlib import Path

import pytest

from datamodules.reading.many_files import ask_files
from experiments.errors import UserError


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 1000])
def test_answers_are_in_the_order_of_the_files(tmp_path: Path, count: int) -> None:
    files = [str(tmp_path / f"{number}") for number in range(count)]
    for file in files[::3]:
        Path(file).touch()
    assert ask_files(os.path.isfile, files) == [number % 3 == 0 for number in range(count)]
    assert ask_files(os.path.basename, iter(files)) == [str(number) for number in range(count)]


def test_many_files_are_asked_by_several_threads() -> None:
    """Two chunks wait for each other: one thread alone would wait for ever."""
    meeting = threading.Barrier(2, timeout=20)

    def ask(name: str) -> int:
        return meeting.wait() if name in ("0", "128") else 0

    assert sorted(ask_files(ask, map(str, range(256))))[-1] == 1


@pytest.mark.parametrize("count", [1, 300])
def test_what_a_file_raises_is_raised(count: int) -> None:
    def refuse(name: str) -> None:
        raise UserError(f"{name}: cannot be read")

    with pytest.raises(UserError, match="0: cannot be read"):
        ask_files(refuse, map(str, range(count)))
