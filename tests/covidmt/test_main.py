"""The end of the process: what was said, what libraries registered, the status."""

import subprocess
import sys

import pytest

COMMAND = """
import atexit, sys
import covidmt.__main__, covidmt.cli

def command():
    atexit.register(print, "a library's own end")
    print("said", "x" * 100_000)
    {end}

covidmt.cli.main = command
covidmt.__main__.main()
"""


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        ("sys.exit()", 0, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit(143)", 143, ""),
        ("sys.exit(True)", 1, ""),
        ("sys.exit('a word')", 1, "a word"),
        ("print('an error', file=sys.stderr); sys.exit(3)", 3, "an error"),
        ("raise ValueError('a fault')", 1, "ValueError: a fault"),
        ("pass", 0, ""),
    ],
)
def test_nothing_is_lost_at_the_end(end: str, status: int, error: str):
    done = subprocess.run([sys.executable, "-c", COMMAND.format(end=end)], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert done.stdout == f"said {'x' * 100_000}\na library's own end\n"
    assert error in done.stderr
    assert bool(error) == bool(done.stderr)
