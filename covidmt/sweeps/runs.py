"""A sweep's MLflow runs, which `covidmt report` reads: made at submission, closed where a job can no longer do it.

- The parent run has the tags ``covidmt.kind=sweep`` and ``sweep=<sweep>``, and the artifacts ``sweep.yaml``,
  ``trials/<trial>.yaml`` and, where files differed from the commit, ``code.diff``.
- Each trial is a child (``mlflow.parentRunId``) with the tags ``sweep=<sweep>``, ``trial=<trial id>``,
  ``trial_label`` (what varies, without the seed: ``resnet50, 3 tasks``), ``trial_overrides`` (JSON of what the sweep
  sets in it, the seed included), and what `covidmt.training.train` logs; ``failure`` is why it did not finish, if it
  did not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from covidmt.sweeps.folder import ALIVE, ENDINGS, Submission, SweepFolder, TrialRecord
from covidmt.sweeps.snapshot import code_diff
from covidmt.tracking.folders import RunFolder
from covidmt.tracking.sender import sync_run
from covidmt.tracking.store import Store, author
from experiments.load import to_yaml
from experiments.secrets import hide_in_values, hide_secrets
from experiments.sweep_schema import Sweep
from experiments.trials import Trial

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger(__name__)


def open_parent(store: Store, sweep: str, run_id: str | None, experiment_id: str) -> str:
    """Return the id of the sweep's parent run, which is RUNNING from now on.

    Args:
        store: The tracking store.
        sweep: The sweep's name.
        run_id: The run of an earlier submission: used again if it exists; None: make one.
        experiment_id: MLflow experiment.
    """
    client = store.client
    if run_id is not None and store.lifecycle(run_id) == "active":  # it is not where the store was deleted
        client.update_run(run_id, status="RUNNING")
        return run_id

    tags = {**author(), "covidmt.kind": "sweep", "sweep": sweep}
    return client.create_run(experiment_id, run_name=sweep, tags=tags).info.run_id


def make_trial_run(submission: Submission, sweep: str, trial: Trial) -> TrialRecord:
    """Make a trial's run under the parent run; SCHEDULED until its job begins."""
    client = submission.store.client
    tags = {
        **author(),
        **trial.experiment.tracking.tags,
        "mlflow.parentRunId": submission.run_id,
        "sweep": sweep,
        "trial": trial.id,
        "trial_label": trial.label,
        "trial_overrides": json.dumps(hide_in_values(trial.overrides)),
    }
    run = client.create_run(submission.experiment_id, run_name=hide_secrets(trial.name), tags=hide_in_values(tags))
    client.update_run(run.info.run_id, status="SCHEDULED")
    return TrialRecord(trial.name, trial.label, trial.overrides, run.info.run_id)


def log_parent(folder: SweepFolder, sweep: Sweep, submission: Submission, todo: Iterable[str]) -> None:
    """Log what was submitted as artifacts: the sweep, the trials, how the code differs from the commit.

    Args:
        folder: The sweep's folder; ``sweep.yaml`` is written to it too.
        sweep: What was submitted.
        submission: Its runs.
        todo: Ids of the trials that are started.
    """
    client, parent = submission.store.client, submission.run_id
    text = hide_secrets(to_yaml(sweep))
    (folder.path / "sweep.yaml").write_text(text)
    client.log_text(parent, text, "sweep.yaml")
    for trial in map(folder.trial, todo):
        if trial.has_experiment:
            client.log_text(parent, hide_secrets(to_yaml(trial.experiment())), f"trials/{trial.id}.yaml")

    git = json.loads((Path(submission.code) / "git.json").read_text())
    for key, value in {**git, "code_snapshot": Path(submission.code).name}.items():
        client.set_tag(parent, key, value)
    diff = code_diff()
    if diff:
        client.log_text(parent, hide_secrets(diff), "code.diff")


def children(submission: Submission) -> list[Run]:
    """Return the MLflow runs under the sweep's parent run."""
    return list(submission.store.children(submission.run_id, submission.experiment_id))


def write_end(store: Store, run_id: str, state: str, reason: str | None) -> None:
    """Write to an MLflow run how its trial ended.

    Args:
        store: The tracking store.
        run_id: The trial's run.
        state: ``finished`` (the logger has set the status then), ``failed`` or ``cancelled``.
        reason: Why it did not finish.
    """
    client = store.client
    if state in ENDINGS:
        client.set_terminated(run_id, ENDINGS[state])
        client.set_tag(run_id, "failure", hide_secrets(str(reason)))
    elif "failure" in client.get_run(run_id).data.tags:  # of an earlier start
        client.delete_tag(run_id, "failure")


def close_run(store: Store, record: TrialRecord, state: str, reason: str) -> None:
    """Write the end of a trial whose job can no longer do it, as far as the store answers.

    What the job had logged is sent first.
    """
    try:
        spool = RunFolder(record.run_id).spool
        if spool.exists():
            sync_run(spool)
        write_end(store, record.run_id, state, reason)
    except Exception as error:
        log.warning("The tracking store does not know that %s has %s: %s", record.name, state, error)


def write_parent_end(submission: Submission, states: set[str]) -> None:
    """Set the status of the parent run whose trials have ended in these states."""
    submission.store.client.set_terminated(submission.run_id, parent_status(states))


def close_parent(sweep: SweepFolder, states: set[str]) -> None:
    """Set the parent run's status, unless a trial waits or runs, as far as the store answers."""
    if states & {*ALIVE}:
        return
    try:
        write_parent_end(sweep.submitted, states)
    except Exception as error:
        status = parent_status(states)
        log.warning("The tracking store does not know that sweep %s is %s: %s", sweep.name, status, error)


def parent_status(states: set[str]) -> str:
    """Return the status of the parent run when the trials have ended in these states.

    Example:
        >>> from covidmt.sweeps.runs import parent_status
        >>> parent_status({"finished"}), parent_status({"finished", "failed"}), parent_status({"finished", "cancelled"})
        ('FINISHED', 'FAILED', 'KILLED')
    """
    if states == {"finished"}:
        return "FINISHED"
    return "FAILED" if "failed" in states else "KILLED"
