"""What the tracking store holds of a sweep's trials, or of single runs: figures, settings, the table of pairs."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from covidmt.tracking.store import make_client, prepare_store, sqlite_path, store_error, without_password
from experiments.errors import UserError, nearest
from experiments.keys import flatten
from experiments.schema import Robustness
from metrics.paired import PAIR_COLUMNS, SIDES, TEST_PAIRS, VAL_PAIRS

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


@dataclass
class Trial:
    """One training.

    Attributes:
        run_id: MLflow run.
        name: Its name.
        status: MLflow's: SCHEDULED, RUNNING, FINISHED, FAILED, KILLED.
        params: Parameters, as logged.
        tags: Tags, as logged.
        overrides: The value of every key that a sweep of the report sets, also where the run is of no sweep.
        metrics: Newest value of every metric; of ``val/`` metrics the best epoch's.
        pairs: The table of the split's pairs by id, in ``val`` of the best epoch; or None.
        robustness: Eta and threshold that hold for ``pairs``.
        left_out: Why the report does not count it; empty: it does.
    """

    run_id: str
    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    overrides: dict[str, str]
    metrics: dict[str, float]
    pairs: pd.DataFrame | None
    robustness: Robustness
    left_out: str

    @property
    def seed(self) -> str:
        """The seed, as logged."""
        return self.params.get("seed", self.overrides.get("seed", ""))

    @property
    def settings(self) -> dict[str, str]:
        """What makes the configuration: parameters and overrides, without the seed and the code's version.

        ``backbone`` and ``tasks`` are parameters; the overrides that made them are the same once more.
        """
        both = self.params | self.overrides
        twice = ("model.backbone", "active_tasks")
        return {key: value for key, value in both.items() if key not in ("seed", "git_commit", *twice)}


@dataclass
class Results:
    """Everything that a report is made of.

    Attributes:
        title: The sweep's name, or the runs' names.
        split: ``test``, or ``val`` where no trial has been tested.
        trials: All of them, also those that are left out.
        parents: Ids of the sweeps' parent runs.
        notes: What a reader must know about the choice of trials.
    """

    title: str
    split: str
    trials: list[Trial]
    parents: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def counted(self) -> list[Trial]:
        """The trials that have figures."""
        return [trial for trial in self.trials if not trial.left_out]


def collect(names: Sequence[str], uri: str) -> Results:
    """Read the trials of sweeps and single runs.

    Args:
        names: Sweep names (the newest of a name), ids of their parent runs, or ids of runs.
        uri: Tracking URI.

    Raises:
        UserError: No store, no such sweep or run, or not one finished trial with a PI score.
    """
    from mlflow.exceptions import MlflowException

    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise UserError(f"no runs yet: {database} is not there; start in the folder of the sweep, or name a --uri")
    prepare_store(uri)
    client = make_client(uri)
    try:
        return _collect(client, names, without_password(uri))
    except MlflowException as error:
        raise store_error(uri, error) from error


def _collect(client: MlflowClient, names: Sequence[str], store: str) -> Results:
    runs: dict[str, Run] = {}
    parents, titles, notes = [], [], []
    for name in names:
        run, note = _find(client, name, store)
        notes += note
        titles.append(run.data.tags.get("sweep", run.info.run_name) or run.info.run_id)
        children = list(_children(client, run))
        if children or run.data.tags.get("covidmt.kind") == "sweep":
            parents.append(run.info.run_id)
        else:
            children = [run]
        runs |= {child.info.run_id: child for child in children}
    ordered = sorted(runs.values(), key=lambda run: (run.info.start_time, run.info.run_id))
    split = "test" if any("test/pi_score" in run.data.metrics for run in ordered) else "val"
    varied = {key for run in ordered for key in _overrides(run)}
    trials = [_trial(client, run, split, varied) for run in ordered]
    results = Results(", ".join(dict.fromkeys(titles)), split, trials, parents)
    _leave_out_repeats(results.trials)
    if not results.counted:
        seen = "; ".join(f"{trial.name}: {trial.left_out}" for trial in results.trials) or "it has no trials"
        raise UserError(
            f"{results.title}: no finished trial with a PI score yet ({seen}); report it when one has ended"
        )
    results.notes += notes
    return results


def _find(client: MlflowClient, name: str, store: str) -> tuple[Run, list[str]]:
    """The run that an argument means, and a note where it was not alone."""
    from mlflow.exceptions import MlflowException

    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    sweeps = list(_search(client, experiments, "tags.`covidmt.kind` = 'sweep'"))
    named = [run for run in sweeps if run.data.tags.get("sweep") == name]
    if named:
        newest = max(named, key=lambda run: run.info.start_time)
        note = f"{len(named)} sweeps are called {name}; this is the newest, {newest.info.run_id}."
        return newest, [note] if len(named) > 1 else []
    try:
        return client.get_run(name), []
    except MlflowException:
        known = {run.data.tags.get("sweep", "") for run in sweeps} - {""}
        raise UserError(f"{name!r}: no sweep and no run of {store}{nearest(name, known)}") from None


def _children(client: MlflowClient, run: Run) -> Iterable[Run]:
    return _search(client, [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")


def _search(client: MlflowClient, experiments: list[str], condition: str) -> Iterable[Run]:
    token = None
    while page := client.search_runs(experiments, condition, page_token=token):
        yield from page
        token = page.token
        if not token:
            return


def _overrides(run: Run) -> dict[str, Any]:
    return json.loads(run.data.tags.get("trial_overrides", "{}"))


def _trial(client: MlflowClient, run: Run, split: str, varied: set[str]) -> Trial:
    data, run_id = run.data, run.info.run_id
    finished = run.info.status == "FINISHED"
    metrics = dict(data.metrics)
    if split == "val" and finished and "best_epoch" in data.tags:
        metrics |= _at(client, run_id, [key for key in metrics if key.startswith("val/")], int(data.tags["best_epoch"]))
    left_out = ""
    if not finished:
        left_out = data.tags.get("failure") or _last_words(client, run_id) or run.info.status.lower()
    elif f"{split}/pi_score" not in metrics:
        left_out = f"has no {split}/pi_score"
    elif not {"backbone", "tasks"} <= data.params.keys():
        left_out = "has no parameters backbone and tasks"
    resolved = yaml.safe_load(_artifact(client, run_id, "experiment.yaml") or "{}")
    overrides = {key: value for key, value in (_overrides(run) | flatten(resolved)).items() if key in varied}
    best = int(data.tags.get("best_epoch", -1))
    pairs = None if left_out else _pairs(client, run_id, TEST_PAIRS if split == "test" else VAL_PAIRS.format(best))
    robustness = _robustness(resolved)
    if pairs is not None:
        metrics |= _on_pairs(pairs, robustness.threshold, split)
    return Trial(
        run_id=run_id,
        name=run.info.run_name or run_id,
        status=run.info.status,
        params=data.params,
        tags=data.tags,
        overrides={key: str(value) for key, value in overrides.items()},
        metrics=metrics,
        pairs=pairs,
        robustness=robustness,
        left_out=left_out,
    )


def _at(client: MlflowClient, run_id: str, keys: list[str], step: int) -> dict[str, float]:
    """The metrics at one step, of those that have it."""
    points = {key: client.get_metric_history(run_id, key) for key in keys}
    return {key: point.value for key, history in points.items() for point in history if point.step == step}


def _last_words(client: MlflowClient, run_id: str) -> str:
    text = _artifact(client, run_id, "traceback.txt")
    return text.strip().splitlines()[-1] if text and text.strip() else ""


def _pairs(client: MlflowClient, run_id: str, path: str) -> pd.DataFrame | None:
    text = _artifact(client, run_id, path)
    if text is None:
        return None
    table = pd.read_csv(io.StringIO(text), dtype={"id": str, "patient": str})
    table["patient"] = table["patient"].fillna(table["id"])
    return table[PAIR_COLUMNS].drop_duplicates("id").set_index("id")


def _on_pairs(pairs: pd.DataFrame, threshold: float, split: str) -> dict[str, float]:
    """How often the decision is right on the pairs whose label is known, and how often it is positive; shares."""
    figures = {}
    for side in SIDES:
        rows = pairs.dropna(subset=["label", f"p_{side}"])
        positive = rows[f"p_{side}"] >= threshold
        if len(rows):
            figures[f"{split}/pairs/accuracy/{side}"] = float((positive == (rows["label"] == 1)).mean())
            figures[f"{split}/pairs/positive/{side}"] = float(positive.mean())
    return figures


def _robustness(resolved: dict[str, Any]) -> Robustness:
    chosen = resolved.get("robustness", {})
    return Robustness(**{key: chosen[key] for key in ("eta", "threshold") if key in chosen})


def _artifact(client: MlflowClient, run_id: str, path: str) -> str | None:
    folder = str(Path(path).parent) if "/" in path else None
    if path not in {file.path for file in client.list_artifacts(run_id, folder)}:
        return None
    with tempfile.TemporaryDirectory() as place:
        return Path(client.download_artifacts(run_id, path, place)).read_text()


def _leave_out_repeats(trials: list[Trial]) -> None:
    """Of several runs of one configuration and seed the newest counts: they are no independent seeds."""
    newest: dict[Any, Trial] = {}
    for trial in trials:  # in the order of their start
        if trial.left_out:
            continue
        key = frozenset((trial.settings | {"seed": trial.seed}).items())
        if key in newest:
            newest[key].left_out = f"run again as {trial.run_id}"
        newest[key] = trial
