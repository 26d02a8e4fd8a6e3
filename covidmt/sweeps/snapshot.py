"""The code as it was at submission: a sweep's jobs import this copy, whatever happens to the files meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

PACKAGES = ("callbacks", "covidmt", "datamodules", "experiments", "explain", "lightning_modules", "metrics")


def snapshot(folder: Path) -> Path:
    """Copies the packages to ``folder/<digest of their content>``, with the git state; there already: nothing to do.

    Returns:
        The copy, to be put before everything else on the jobs' path (`job_environment`).
    """
    from covidmt.tracking.provenance import CODE, SNAPSHOT, git_tags  # imports torch

    files = sorted(path for package in PACKAGES for path in (CODE / package).rglob("*") if _is_code(path))
    git = json.dumps(git_tags())
    digest = sha256(git.encode())
    for path in files:
        digest.update(f"{path.relative_to(CODE)}\0".encode() + path.read_bytes())
    copy = folder / digest.hexdigest()[:12]
    if copy.exists():
        return copy
    new = copy.with_suffix(f".{os.getpid()}")
    for path in files:
        target = new / path.relative_to(CODE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (new / SNAPSHOT).write_text(git)
    new.rename(copy)
    return copy


def job_environment(code: Path) -> dict[str, str]:
    """Environment variables under which Python imports the snapshot, also from a working folder with the packages."""
    path = [str(code), os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)), "PYTHONUNBUFFERED": "1"}


def code_diff() -> str:
    """How the tracked files differ from the commit; empty: not at all, or no git checkout."""
    from covidmt.tracking.provenance import CODE

    command = ["git", "-C", str(CODE), "diff", "HEAD", "--", *PACKAGES]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError) as error:
        print(f"covidmt: no git state is recorded: {error}", file=sys.stderr)
        return ""


def _is_code(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
