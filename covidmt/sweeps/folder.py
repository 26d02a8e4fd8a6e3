"""A sweep on disk, ``mlruns/sweeps/<sweep>/``: what was submitted, and what each job says of itself.

- ``sweep.yaml`` and ``sweep.json``: as submitted (`Submission`).
- ``<trial>.yaml``: the resolved experiment that runs, whatever becomes of the files that it was made from.
- ``<trial>.json``: written by the submitter alone (`TrialRecord`).
- ``<trial>.draw.json``: of a search, written by the job (`TrialDraw`), before ``<trial>.yaml``.
- ``<trial>.state.json``: written by the job's first process, or for it when it died without a word (`TrialOutcome`).
- ``<trial>.cancelled``: there once a person has cancelled the trial, until it is started again.
- ``<trial>.lock``: held by that process while it lives; ``<trial>.worker.lock``: by the worker that started it.
- ``code/<digest>/``: the packages as they were at submission; jobs import these.
- ``jobs/``: submitit's files and SLURM's logs; ``logs/``: those of the local launcher.

Every file is replaced whole, so that a reader never meets half of one.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from covidmt.tracking.folders import mlruns_dir
from covidmt.tracking.store import Store
from experiments.errors import UserError, nearest
from experiments.files import replace_file
from experiments.keys import parse_yaml
from experiments.load import from_dict, to_dict, to_yaml
from experiments.paths import require_name
from experiments.schema import Experiment
from experiments.sweep_schema import Launcher, LauncherKind, Search

ALIVE = ("waiting", "running")  # states of trials that another `covidmt sweep run` leaves alone
ENDINGS = {"failed": "FAILED", "cancelled": "KILLED"}  # of trials that did not finish: the status of their MLflow runs
LOST = "another of its processes died"  # begins the reason of a process that only saw that


@dataclass(frozen=True)
class Submission:
    """What was submitted: ``sweep.json``.

    Attributes:
        uri: URI of the MLflow store.
        experiment_id: MLflow experiment of all runs.
        run_id: The parent run.
        cwd: Working folder of the submission, and of the jobs.
        code: Copy of the code that the jobs import.
        trials: Ids in order.
        launcher: How the trials are started.
        search: The section of that name; None: not a search.
        trainer: ``num_nodes`` and ``devices`` of the first trial's section of that name.
        study: Optuna's name of the study, in a search.
        storage: Where the study is, in a search.
    """

    uri: str
    experiment_id: str
    run_id: str
    cwd: str
    code: str
    trials: list[str]
    launcher: Launcher
    search: Search | None
    trainer: dict[str, int]
    study: str = ""
    storage: str = ""

    @property
    def store(self) -> Store:
        """The MLflow store."""
        return Store(self.uri)


@dataclass(frozen=True)
class TrialRecord:
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


@dataclass(frozen=True)
class TrialDraw:
    """What Optuna drew for a trial of a search.

    Attributes:
        number: Number of Optuna's trial.
        label: The values, short.
        overrides: Key of the experiment -> value.
    """

    number: int
    label: str
    overrides: dict[str, Any]


@dataclass(frozen=True)
class TrialOutcome:
    """What a job says of itself.

    Attributes:
        state: ``running``, ``finished``, ``failed``, ``preempted`` (checkpointed and left) or ``cancelled``.
        node: Machine.
        pid: Its first process there.
        begin: Time of the last start, seconds since 1970.
        end: None while it runs.
        reason: Why it did not finish.
        requeues: How often it has had itself requeued since it was submitted.

    Example:
        >>> from covidmt.sweeps.folder import TrialOutcome
        >>> outcome = TrialOutcome("running", "node7", 4711, begin=100.0)
        >>> outcome.ended("failed", "out of memory", end=160.0)
        TrialOutcome(state='failed', node='node7', pid=4711, begin=100.0, end=160.0, reason='out of memory', requeues=0)
    """

    state: str
    node: str
    pid: int
    begin: float = field(default_factory=time.time)
    end: float | None = None
    reason: str | None = None
    requeues: int = 0

    def ended(self, state: str, reason: str | None, end: float | None = None) -> TrialOutcome:
        """Return the outcome with an end; ``end`` None: now."""
        return replace(self, state=state, reason=reason, end=time.time() if end is None else end)

    @property
    def seconds(self) -> float:
        """How long the last start took, until now or its end."""
        return (self.end or time.time()) - self.begin


class TrialFolder:
    """The files of one trial in a sweep's folder.

    Args:
        path: The sweep's folder.
        trial: The trial's id.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from covidmt.sweeps.folder import SweepFolder, TrialOutcome
        >>> with TemporaryDirectory() as folder:
        ...     trial = SweepFolder(Path(folder)).trial("resnet50-0")
        ...     trial.save_outcome(TrialOutcome("finished", "node7", 4711, begin=0.0, end=60.0))
        ...     print(trial.outcome.state, trial.outcome.seconds, trial.is_cancelled, trial.draw)
        finished 60.0 False None
    """

    def __init__(self, path: Path, trial: str) -> None:
        self.path = path
        self.id = require_name(trial, "trial")

    @property
    def record(self) -> TrialRecord:
        """What the submitter wrote; in a search with what Optuna drew."""
        record = TrialRecord(**json.loads(self._file("json").read_text()))
        draw = self.draw
        return replace(record, name=draw.label, label=draw.label, overrides=draw.overrides) if draw else record

    def save_record(self, record: TrialRecord) -> None:
        """Replace the record."""
        _write(self._file("json"), json.dumps(asdict(record), indent=1))

    @property
    def draw(self) -> TrialDraw | None:
        """What Optuna drew; None: nothing yet, or the sweep is no search."""
        values = _read_json(self._file("draw.json"))
        return TrialDraw(**values) if values else None

    def save_draw(self, draw: TrialDraw) -> None:
        """Replace what Optuna drew."""
        _write(self._file("draw.json"), json.dumps(asdict(draw), indent=1))

    @property
    def outcome(self) -> TrialOutcome | None:
        """What the trial's job last said; None: it has not begun."""
        values = _read_json(self._file("state.json"))
        return TrialOutcome(**values) if values else None

    def save_outcome(self, outcome: TrialOutcome) -> None:
        """Replace the outcome."""
        _write(self._file("state.json"), json.dumps(asdict(outcome), indent=1))

    def forget(self) -> None:
        """Remove all but the record, before the trial is made anew."""
        self.forget_outcome()
        for ending in ("draw.json", "yaml"):
            self._file(ending).unlink(missing_ok=True)

    def forget_outcome(self) -> None:
        """Remove how the trial ended, before it is started again."""
        for ending in ("state.json", "cancelled"):
            self._file(ending).unlink(missing_ok=True)

    def cancel(self) -> None:
        """Have the trial's job end as cancelled when it is told to leave."""
        self._file("cancelled").touch()

    @property
    def is_cancelled(self) -> bool:
        """Whether a person has cancelled it since it was started."""
        return self._file("cancelled").exists()

    @property
    def has_experiment(self) -> bool:
        """Whether it is settled what the trial runs: in a search, Optuna has drawn."""
        return self._file("yaml").exists()

    def experiment(self) -> Experiment:
        """Return what the trial runs, as submitted."""
        return from_dict(Experiment, self.experiment_values())

    def experiment_values(self) -> dict[str, Any]:
        """Return the same as it was written, maybe by an older covidmt."""
        path = self._file("yaml")
        return parse_yaml(path.read_text(), path)

    def save_experiment(self, experiment: Experiment) -> None:
        """Replace ``<trial>.yaml``; for its owner alone, since the tracking URI in it may hold a password."""
        _write(self._file("yaml"), to_yaml(experiment))

    def lock(self) -> FileLock:
        """Return the lock that the trial's first process holds; the kernel releases it when its holder dies."""
        return FileLock(self._file("lock"))

    @property
    def is_locked(self) -> bool:
        """Whether a live process holds the lock."""
        return _is_locked(self._file("lock"))

    def claim(self) -> FileLock:
        """Return the lock that a worker holds from before the trial's job begins until it has ended."""
        return FileLock(self._file("worker.lock"))

    @property
    def is_claimed(self) -> bool:
        """Whether a live worker has taken the trial."""
        return _is_locked(self._file("worker.lock"))

    def _file(self, ending: str) -> Path:
        return self.path / f"{self.id}.{ending}"


class SweepFolder:
    """One sweep's files.

    Args:
        path: ``mlruns/sweeps/<sweep>``.
    """

    def __init__(self, path: Path):
        self.path = path.absolute()

    @classmethod
    def named(cls, name: str) -> SweepFolder:
        """Return a sweep that has been submitted in this working folder, by its name or its YAML file.

        Raises:
            UserError: There is none.
        """
        name = Path(name).stem if name.endswith((".yaml", ".yml")) else name
        require_name(name, "sweep")
        if not (cls.root() / name / "sweep.json").is_file():
            hint = nearest(name, [sweep.name for sweep in cls.all()])
            raise UserError(f"no sweep {name!r} in {cls.root()}{hint}; start in the folder that it was started in")
        return cls(cls.root() / name)

    @classmethod
    def all(cls) -> list[SweepFolder]:
        """Return every sweep of this working folder that has not been put aside."""
        return [cls(path.parent) for path in sorted(cls.root().glob("[!.]*/sweep.json"))]

    @property
    def aside(self) -> list[SweepFolder]:
        """Earlier starts of the sweep, put aside by ``--resume``."""
        return [SweepFolder(path.parent) for path in sorted(self.path.parent.glob(f".{self.name}-*/sweep.json"))]

    def move(self, path: Path) -> None:
        """Move all of its files to another folder, but for locks, which processes hold."""
        path.mkdir(parents=True, exist_ok=True)
        for file in self.path.iterdir():
            if not file.name.endswith(".lock"):
                file.rename(path / file.name)

    @staticmethod
    def root() -> Path:
        """Return where this working folder's sweeps are."""
        return mlruns_dir() / "sweeps"

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.path.name

    @property
    def submission(self) -> Submission | None:
        """What was submitted; None: nothing yet."""
        values = _read_json(self.path / "sweep.json")
        if not values:
            return None
        # not by OmegaConf, which would take a shell's ${NAME} in setup or options for one of its interpolations
        launcher = values["launcher"]
        values["launcher"] = Launcher(**launcher | {"kind": LauncherKind[launcher["kind"]]})
        values["search"] = from_dict(Search, values["search"]) if values["search"] else None
        return Submission(**values)

    @property
    def submitted(self) -> Submission:
        """What was submitted, of a sweep that has been."""
        submission = self.submission
        assert submission is not None, f"nothing has been submitted in {self.path}"
        return submission

    def save_submission(self, submission: Submission) -> None:
        """Replace ``sweep.json``."""
        search = to_dict(submission.search) if submission.search else None
        values = vars(submission) | {"launcher": to_dict(submission.launcher), "search": search}
        _write(self.path / "sweep.json", json.dumps(values, indent=1))

    def trial(self, trial: str) -> TrialFolder:
        """Return the files of one trial."""
        return TrialFolder(self.path, trial)

    @property
    def base(self) -> TrialFolder:
        """Of a search: the files of what all its trials are drawn from."""
        return self.trial("base")

    @property
    def trials(self) -> list[TrialFolder]:
        """The submitted trials, in the sweep's order."""
        return [self.trial(trial) for trial in self.submitted.trials]

    def lock(self, name: str) -> FileLock:
        """Return a lock of the sweep: ``submit`` or ``launcher``; the kernel releases it when its holder dies."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / f"{name}.lock")

    @property
    def has_launcher(self) -> bool:
        """Whether a live process is the sweep's local launcher."""
        return _is_locked(self.path / "launcher.lock")


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    with replace_file(path, shared=True, private=True) as new:
        new.write_text(text)
