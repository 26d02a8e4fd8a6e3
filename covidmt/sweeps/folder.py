"""A sweep on disk, ``mlruns/sweeps/<sweep>/``: what was submitted, and what each job says of itself.

- ``sweep.yaml`` and ``sweep.json``: as submitted; the MLflow store, parent run, code snapshot, trials in order.
- ``<trial>.yaml``: the resolved experiment that runs, whatever becomes of the files that it was made from.
- ``<trial>.json``: written by the submitter alone (`Record`).
- ``<trial>.draw.json``: of a search, written by the job (`Drawn`), before ``<trial>.yaml``.
- ``<trial>.state.json``: written by the job's first process, or for it when it died without a word (`Outcome`).
- ``<trial>.cancelled``: there once a person has cancelled the trial, until it is started again.
- ``<trial>.lock``: held by that process while it lives.
- ``code/<digest>/``: the packages as they were at submission; jobs import these.
- ``jobs/``: submitit's files and SLURM's logs; ``logs/``: those of the local launcher.

Every file is replaced whole, so that a reader never meets half of one.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from covidmt.tracking.folders import mlruns_dir
from experiments.errors import UserError, nearest
from experiments.load import from_dict, to_yaml
from experiments.schema import Experiment

ENDINGS = {"failed": "FAILED", "cancelled": "KILLED"}  # of trials that did not finish: the status of their MLflow runs
LOST = "another of its processes died"  # begins the reason of a process that only saw that


@dataclass
class Record:
    """What the submitter knows of a trial.

    Attributes:
        name: Label and seed.
        label: What varies, without the seed.
        overrides: What the sweep sets.
        run_id: The MLflow run, made at submission.
        job: SLURM's job id (``12_3`` in an array), or the local launcher's ``<host>:<process id>``; None: never
            submitted.
        launcher: ``slurm`` or ``local``.
        log: The first process's log file.
    """

    name: str
    label: str
    overrides: dict[str, Any]
    run_id: str
    job: str | None = None
    launcher: str | None = None
    log: str | None = None


@dataclass
class Drawn:
    """What Optuna drew for a trial of a search.

    Attributes:
        number: Of Optuna's trial.
        label: The values, short.
        overrides: Key of the experiment -> value.
    """

    number: int
    label: str
    overrides: dict[str, Any]


@dataclass
class Outcome:
    """What a job says of itself.

    Attributes:
        state: ``running``, ``finished``, ``failed``, ``preempted`` (checkpointed and left) or ``cancelled``.
        node: Machine.
        pid: Its first process there.
        begin: Of the last start, seconds since 1970.
        end: None while it runs.
        reason: Why it did not finish.
        requeues: So often it has had itself requeued since it was submitted.
    """

    state: str
    node: str
    pid: int
    begin: float = field(default_factory=time.time)
    end: float | None = None
    reason: str | None = None
    requeues: int = 0


def parent_status(states: set[str]) -> str:
    """The status of the sweep's MLflow run when its trials have ended in these states."""
    return "FINISHED" if states == {"finished"} else "FAILED" if "failed" in states else "KILLED"


class SweepFolder:
    """One sweep's files.

    Args:
        path: ``mlruns/sweeps/<sweep>``.
    """

    def __init__(self, path: Path):
        self.path = path.absolute()

    @classmethod
    def named(cls, name: str) -> SweepFolder:
        """A sweep that has been submitted in this working folder, by its name or its YAML file.

        Raises:
            UserError: There is none.
        """
        name = Path(name).stem if name.endswith((".yaml", ".yml")) else name
        if not (cls.root() / name / "sweep.json").is_file():
            known = nearest(name, [sweep.name for sweep in cls.all()])
            raise UserError(f"no sweep {name!r} in {cls.root()}{known}; start in the folder that it was started in")
        return cls(cls.root() / name)

    @classmethod
    def all(cls) -> list[SweepFolder]:
        """Every sweep of this working folder that has not been set aside."""
        return [cls(path.parent) for path in sorted(cls.root().glob("[!.]*/sweep.json"))]

    @property
    def aside(self) -> list[SweepFolder]:
        """Earlier starts of the sweep, put aside by ``--resume``."""
        return [SweepFolder(path.parent) for path in sorted(self.path.parent.glob(f".{self.name}-*/sweep.json"))]

    def move(self, path: Path) -> None:
        """All of its files to another folder, but for locks, which processes hold."""
        path.mkdir(parents=True, exist_ok=True)
        for file in self.path.iterdir():
            if not file.name.endswith(".lock"):
                file.rename(path / file.name)

    @staticmethod
    def root() -> Path:
        """Where this working folder's sweeps are."""
        return mlruns_dir() / "sweeps"

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.path.name

    @property
    def settings(self) -> dict[str, Any]:
        """``sweep.json``; empty where nothing has been submitted."""
        return _read(self.path / "sweep.json") or {}

    def save_settings(self, settings: dict[str, Any]) -> None:
        """Replaces ``sweep.json``."""
        _write(self.path / "sweep.json", json.dumps(settings, indent=1))

    @property
    def trials(self) -> dict[str, Record]:
        """Trial id -> what was submitted, in the sweep's order."""
        return {trial: self.record(trial) for trial in self.settings.get("trials", [])}

    def record(self, trial: str) -> Record:
        """What the submitter wrote of a trial; in a search with what Optuna drew for it."""
        record = Record(**json.loads((self.path / f"{trial}.json").read_text()))
        if drawn := self.drawn(trial):
            record.name = record.label = drawn.label
            record.overrides = drawn.overrides
        return record

    def save_record(self, trial: str, record: Record) -> None:
        """Replaces the trial's record."""
        _write(self.path / f"{trial}.json", json.dumps(asdict(record), indent=1))

    def drawn(self, trial: str) -> Drawn | None:
        """What Optuna drew for it; None: nothing yet, or the sweep is no search."""
        values = _read(self.path / f"{trial}.draw.json")
        return Drawn(**values) if values else None

    def save_draw(self, trial: str, drawn: Drawn) -> None:
        """What it was."""
        _write(self.path / f"{trial}.draw.json", json.dumps(asdict(drawn), indent=1))

    def outcome(self, trial: str) -> Outcome | None:
        """What the trial's job last said; None: it has not begun."""
        values = _read(self.path / f"{trial}.state.json")
        return Outcome(**values) if values else None

    def save_outcome(self, trial: str, outcome: Outcome) -> None:
        """Replaces it."""
        _write(self.path / f"{trial}.state.json", json.dumps(asdict(outcome), indent=1))

    def forget(self, trial: str) -> None:
        """Before a trial is made anew: all but its record, which is replaced."""
        self.forget_outcome(trial)
        for ending in ("draw.json", "yaml"):
            (self.path / f"{trial}.{ending}").unlink(missing_ok=True)

    def forget_outcome(self, trial: str) -> None:
        """Before a trial is started again."""
        for ending in ("state.json", "cancelled"):
            (self.path / f"{trial}.{ending}").unlink(missing_ok=True)

    def cancel(self, trial: str) -> None:
        """Has the trial's job end as cancelled when it is told to go."""
        (self.path / f"{trial}.cancelled").touch()

    def cancelled(self, trial: str) -> bool:
        """Whether a person has cancelled it since it was started."""
        return (self.path / f"{trial}.cancelled").exists()

    def has_experiment(self, trial: str) -> bool:
        """Whether it is settled what the trial runs: in a search, Optuna has drawn."""
        return (self.path / f"{trial}.yaml").exists()

    def experiment(self, trial: str) -> Experiment:
        """What the trial runs, as submitted."""
        return from_dict(Experiment, self.experiment_values(trial))

    def experiment_values(self, trial: str) -> dict[str, Any]:
        """The same as it was written, maybe by an older covidmt."""
        return yaml.safe_load((self.path / f"{trial}.yaml").read_text())

    def save_experiment(self, trial: str, experiment: Experiment) -> None:
        """Replaces ``<trial>.yaml``; for its owner alone, since the tracking URI in it may hold a password."""
        _write(self.path / f"{trial}.yaml", to_yaml(experiment))

    def lock(self, name: str) -> FileLock:
        """``<name>.lock``: a trial's, or ``submit`` and ``launcher``; freed by the kernel when its holder dies."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / f"{name}.lock")

    def locked(self, name: str) -> bool:
        """Whether a live process holds that lock."""
        if not (self.path / f"{name}.lock").exists():
            return False
        try:
            with self.lock(name).acquire(timeout=0):
                return False
        except Timeout:
            return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
