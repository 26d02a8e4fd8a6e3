"""The code as it was at submission: a sweep's jobs import this copy, whatever happens to the files meanwhile.

It holds covidmt's packages, and the modules of the user's own that the trials' experiments have imported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from covidmt.rooms import ROOMS
from experiments.plugins.imports import user_files


def snapshot(folder: Path) -> Path:
    """Copy packages, user's modules and git state to ``folder/<digest of their content>``, unless that exists.

    Args:
        folder: Where the copies are, ``mlruns/sweeps/<sweep>/code``.

    Returns:
        The copy, to be put before everything else on the jobs' path (`job_environment`).
    """
    from covidmt.tracking.provenance import CODE, SNAPSHOT, git_tags  # imports torch

    files = {path: str(path.relative_to(CODE)) for room in ROOMS for path in (CODE / room).rglob("*") if _is_code(path)}
    files |= {path: place for path, place in user_files().items() if place.partition("/")[0] not in ROOMS}
    git = json.dumps(git_tags())
    copy = folder / digest_files(files, git)
    if copy.exists():
        return copy

    # whole or not at all: another process may submit at the same time
    new = copy.with_suffix(f".{os.getpid()}")
    for path, place in files.items():
        target = new / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (new / SNAPSHOT).write_text(git)
    new.rename(copy)
    return copy


def digest_files(files: Mapping[Path, str], salt: str) -> str:
    """Return 12 hexadecimal digits of SHA-256 over the files' places in the copy and their contents.

    Args:
        files: Each file and its place, in any order.
        salt: Text that counts too.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from covidmt.sweeps.snapshot import digest_files
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "train.py"
        ...     sizes = path.write_text("epochs = 3")
        ...     before = digest_files({path: "train.py"}, "commit 1")
        ...     sizes = path.write_text("epochs = 4")
        ...     print(len(before), before == digest_files({path: "train.py"}, "commit 1"))
        12 False
    """
    digest = sha256(salt.encode())
    for path, place in sorted(files.items(), key=lambda item: item[1]):
        digest.update(f"{place}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def job_environment(code: Path) -> dict[str, str]:
    """Return environment variables with which Python imports the snapshot, even in a folder with the packages.

    Example:
        >>> from pathlib import Path
        >>> from covidmt.sweeps.snapshot import job_environment
        >>> job_environment(Path("/sweep/code/0f1e"))["PYTHONPATH"].split(":")[0]
        '/sweep/code/0f1e'
    """
    path = [str(code), os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)), "PYTHONUNBUFFERED": "1"}


def code_diff() -> str:
    """Return how the tracked files differ from the commit; empty: not at all, or no git checkout."""
    from covidmt.tracking.provenance import CODE

    command = ["git", "-C", str(CODE), "diff", "HEAD", "--", *ROOMS]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError) as error:
        print(f"covidmt: no git state is recorded: {error}", file=sys.stderr)
        return ""


def _is_code(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
