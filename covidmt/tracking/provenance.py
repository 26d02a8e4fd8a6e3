"""What a run was made of: code, environment, settings, data; logged so that another person can make it again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from covidmt.tracking.untracked import RunLogger
from datamodules.reading.many_files import ask_files
from experiments.errors import UserError

CODE = Path(__file__).parents[2]
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "torchmetrics",
    "albumentations",
    "numpy",
    "pillow",
    "pydicom",
)
SNAPSHOT = "git.json"  # in a copy of the code (`covidmt.sweeps.snapshot`): the git state that it was made from


def log_code(logger: RunLogger, experiment_yaml: str) -> None:
    """Log ``experiment.yaml`` (the resolved one), ``environment.txt`` and the code's git state."""
    logger.set_tags(git_tags())
    logger.log_text_file(experiment_yaml, "experiment.yaml")
    logger.log_text_file(environment(), "environment.txt")


def log_datasets(
    logger: RunLogger,
    tables: Mapping[str, pd.DataFrame],
    roots: Mapping[str, str | Path],
    digests: Mapping[str, str] | None = None,
) -> None:
    """Log every source's sample table as an input of the run.

    Args:
        logger: The run.
        tables: Source name -> sample table (`datamodules.sources.table.load_tables`).
        roots: Source name -> its folder.
        digests: Source name -> :func:`dataset_digest`, where they are known already.
    """
    known = digests or {}
    logger.log_inputs([dataset_input(name, table, roots[name], known.get(name)) for name, table in tables.items()])


def git_tags(root: Path = CODE) -> dict[str, str]:
    """Return the code's commit, and whether files differ from it, as tags; empty where nothing tells it.

    An installed package tells the commit that pip installed it from (``pip install git+https://...``).

    Args:
        root: Folder of the code; in a copy of it (`covidmt.sweeps.snapshot`) the state at the time of the copy counts.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from covidmt.tracking.provenance import git_tags
        >>> with TemporaryDirectory() as folder:
        ...     git_tags(Path(folder))
        {}
    """
    if (root / SNAPSHOT).is_file():
        return json.loads((root / SNAPSHOT).read_text())
    try:
        commit, changes = (
            subprocess.run(["git", "-C", root, *command], capture_output=True, text=True, check=True, timeout=30).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return _installed_commit() if root == CODE else {}
    return {"mlflow.source.git.commit": commit.strip(), "git.dirty": str(bool(changes.strip())).lower()}


def _installed_commit() -> dict[str, str]:
    """Return the commit that the package was installed from, by what pip notes of it (PEP 610)."""
    note = json.loads(importlib.metadata.distribution("covidmt").read_text("direct_url.json") or "{}")
    commit = note.get("vcs_info", {}).get("commit_id")
    return {"mlflow.source.git.commit": commit} if commit else {}


@cache
def environment() -> str:
    """Return Python, platform, torch and accelerators as comments, then the installed packages, pinned as for pip.

    The machine's name is left out: the text is equal where the environment is.
    """
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    head = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        "gpus": ", ".join(gpus) or None,
    }

    # each access to a distribution's metadata parses its file
    distributions = [dist.metadata for dist in importlib.metadata.distributions()]
    packages = {f"{metadata['Name']}=={metadata['Version']}" for metadata in distributions if metadata["Name"]}
    return "\n".join([*(f"# {key}: {value}" for key, value in head.items()), *sorted(packages, key=str.lower), ""])


def library_versions() -> str:
    """Return the versions of the libraries that figures may depend on, in one line.

    Example:
        >>> from covidmt.tracking.provenance import library_versions
        >>> library_versions().startswith("torch ")
        True
    """
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)


def file_digest(path: Path) -> str:
    """Return 16 hexadecimal digits of a file's content (SHA-256)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def dataset_digest(table: pd.DataFrame, root: str | Path) -> str:
    """Return 32 hexadecimal digits of a sample table's content: the same on every machine, in whatever folder it lies.

    SHA-256 over the sorted rows: image paths relative to ``root``, patients, splits, labels, boxes, and every image
    file's size. The pixels themselves are not read (42 GB in NIH); a file replaced by one of another size shows.

    Args:
        table: A source's sample table, one row an image.
        root: The source's folder.

    Raises:
        UserError: An image file does not exist.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import pandas as pd
        >>> from covidmt.tracking.provenance import dataset_digest
        >>> digests = set()
        >>> for turn in range(2):
        ...     with TemporaryDirectory() as folder:
        ...         size = (Path(folder) / "a.png").write_bytes(b"film")
        ...         table = pd.DataFrame({"image": [f"{folder}/a.png"], "split": ["train"]})
        ...         digests.add(dataset_digest(table, folder))
        >>> len(digests), len(digests.pop())
        (1, 32)
    """
    rows = table.drop(columns="source", errors="ignore").copy()
    for column in rows.columns.intersection(["image", "received"]):
        rows[f"{column}_bytes"] = ask_files(_file_size, rows[column])
        rows[column] = [_relative_to(path, str(root)) for path in rows[column]]

    # as text, in an order of its own
    if "boxes" in rows:
        rows["boxes"] = [boxes.tolist() for boxes in rows["boxes"]]
    rows = rows.sort_values("image")[sorted(rows.columns)]
    return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()[:32]


def _file_size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError as error:  # a link to nowhere, or deleted meanwhile
        raise UserError(
            f"{error.filename}: this image cannot be read ({error.strerror}); restore it or remove it from the data set"
        ) from error


def _relative_to(path: str, root: str) -> str:
    """Return ``os.path.relpath``, which takes a second for NIH, where there is nothing to work out."""
    plain = path.startswith(f"{root}{os.sep}") and "/." not in path[len(root) :] and "//" not in path[len(root) :]
    return path[len(root) + 1 :] if plain else os.path.relpath(path, root)


def dataset_input(name: str, table: pd.DataFrame, root: str | Path, digest: str | None = None) -> dict[str, Any]:
    """Return a source as an ``inputs`` event: the fields of MLflow's Dataset, and the splits as its context tag.

    The profile counts images and positives a label in every split.

    Args:
        name: Name of the source.
        table: Its sample table, one row an image.
        root: Its folder.
        digest: Its :func:`dataset_digest`, where that is known already.
    """
    labels = [column for column in table if table[column].dtype.kind == "f"]
    counts = {
        split: {"images": len(rows), **{label: int((rows[label] == 1).sum()) for label in labels}}
        for split, rows in table.groupby("split")
    }
    schema = {"mlflow_colspec": [{"name": str(column), "type": _column_type(table[column])} for column in table]}
    return {
        "dataset": {
            "name": name,
            "digest": digest or dataset_digest(table, root),
            "source_type": "local",
            "source": json.dumps({"uri": str(root)}),
            "schema": json.dumps(schema),
            "profile": json.dumps({"num_rows": len(table), **counts}),
        },
        "tags": {"mlflow.data.context": ", ".join(map(str, counts))},
    }


def _column_type(column: pd.Series) -> str:
    return {"f": "double", "i": "long", "b": "boolean"}.get(column.dtype.kind, "string")
