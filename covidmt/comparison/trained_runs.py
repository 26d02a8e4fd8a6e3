"""What the tracking store holds of a sweep's runs, or of single runs: figures, settings, the table of pairs."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from covidmt.tracking.charts.cards import logged_parameters
from covidmt.tracking.charts.scores import scores_file
from covidmt.tracking.identity import TASKS, identity
from covidmt.tracking.runs.naming import NoSuchRun, find_run
from covidmt.tracking.store import Store
from experiments.errors import UserError, nearest
from experiments.keys import Values, parse_yaml
from experiments.load import from_dict
from experiments.schema import Robustness
from explain.cam import engine_title
from explain.decision import Decision
from metrics.paired import PAIR_COLUMNS, SIDES, TEST_PAIRS, VAL_PAIRS, decide
from metrics.tasks.localisation import LOCALISED_IOU

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

UNKNOWN = "experiment.yaml"  # among a run's settings where it has no such artifact: what it was trained with is unknown
LARGEST = 1e300  # MLflow keeps an infinity as the largest float
_MADE_OF = {"mask_source": "data.masks.source", "weights": "model.weights.content"}  # tag -> key among the settings


# Of the robustness section: what a score is a score of. Runs that differ in one are not compared without a word.
DEFINITIONS = ("label", "decision", "threshold", "target", "engine", "layer", "region_threshold", "eta")


@dataclass(frozen=True)
class TrainedRun:
    """One training, as it was logged.

    Attributes:
        run_id: MLflow run.
        name: Its name.
        status: MLflow's: SCHEDULED, RUNNING, FINISHED, FAILED, KILLED.
        params: Parameters and what else runs are compared by, as logged.
        tags: Tags, as logged.
        settings: What makes its configuration (:func:`.identity`), and what the data, masks and weights were made of
            (``data.sources.<name>.content``, a digest). A run without ``experiment.yaml`` has
            its parameters and :data:`UNKNOWN`, which no other run shares: it is nobody's seed.
        metrics: Newest value of every metric; of ``val/`` metrics the best epoch's.
        pairs: The table of the split's pairs by id, in ``val`` of the best epoch; or None.
        robustness: The definitions that hold for ``pairs``.
        left_out: Why the report does not count it; empty: it does.

    Example:
        >>> from covidmt.comparison.trained_runs import TrainedRun
        >>> run = TrainedRun(
        ...     "4f2a", "resnet50, 1 task", "FINISHED", {"backbone": "resnet50", "seed": "3", "git_commit": "a"}, {},
        ...     {"model.backbone": "resnet50", "optimizer.lr": "0.1"}, {"test/pi_score": 4.2}, None, Robustness(), "",
        ... )
        >>> run.seed, run.is_known
        ('3', True)
    """

    run_id: str
    name: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    settings: Mapping[str, str]
    metrics: Mapping[str, float]
    pairs: pd.DataFrame | None
    robustness: Robustness
    left_out: str

    @property
    def seed(self) -> str:
        """The seed, as logged."""
        return self.params.get("seed", "")

    @property
    def is_known(self) -> bool:
        """Whether the run tells what it was trained with."""
        return UNKNOWN not in self.settings


@dataclass(frozen=True)
class TrainedRuns:
    """Everything that a report is made of.

    Attributes:
        title: The sweep's name, or the runs' names.
        split: ``test``, or ``val`` where no run has been tested.
        runs: All of them, also those that are left out.
        parents: Ids of the sweeps' parent runs.
        notes: What a reader must know about the choice of runs.
    """

    title: str
    split: str
    runs: tuple[TrainedRun, ...]
    parents: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def counted(self) -> list[TrainedRun]:
        """The runs that have figures."""
        return [run for run in self.runs if not run.left_out]


def collect_runs(names: Sequence[str], store: Store) -> TrainedRuns:
    """Read the runs of sweeps, and single runs.

    Args:
        names: Sweep names (the newest of a name), ids of their parent runs, or ids of runs.
        store: The tracking store.

    Raises:
        UserError: No store, no such sweep or run, or not one finished run with a PI score.
    """
    store.require(f"no runs yet: {store.database} is not there; start in the folder of the sweep, or name a --uri")
    with store.explaining():
        return _collect(store, names)


def define_scores(runs: Sequence[TrainedRun]) -> str:
    """Return what PI and OLS of these runs are scores of, in words; for a figure's caption.

    Args:
        runs: One or more.
    """
    names_by_words: dict[str, list[str]] = {}
    for run in runs:
        names_by_words.setdefault(_definition_words(run.robustness), []).append(run.name)
    if len(names_by_words) == 1:
        return next(iter(names_by_words))
    return " ".join(f"{', '.join(names)}: {words}" for words, names in names_by_words.items())


def stability_key(score: str, task: str) -> str:
    """Return the metric of a task's PI or LI, without the split.

    Example:
        >>> stability_key("pi", "nodule"), stability_key("li", "rsna_boxes")
        ('pi/nodule', 'li/rsna_boxes/0.5')
    """
    return f"pi/{task}" if score == "pi" else f"li/{task}/{LOCALISED_IOU[1]:g}"


def stability_keys(tasks: Iterable[str]) -> list[str]:
    """Return the metrics of all that some tasks may have."""
    return [stability_key(score, task) for task in tasks for score in ("pi", "li")]


def _definition_words(robustness: Robustness) -> str:
    decision = Decision(robustness.label, 0, threshold=robustness.threshold, rule=robustness.decision)
    layer = f" of {robustness.layer}" if robustness.layer else ""
    return (
        f"PI: {decision.words}. OLS: {engine_title(robustness.engine)}{layer} explains "
        f"{decision.explained(robustness.target)} (robustness.target: {robustness.target.value}); region from "
        f"{robustness.region_threshold:g} of its maximum; out of the lungs: IOL below {robustness.eta:g}."
    )


def _collect(store: Store, names: Sequence[str]) -> TrainedRuns:
    # a sweep's name stands for its children, a run for itself
    logged: dict[str, Run] = {}
    parents, titles, notes = [], [], []
    for name in names:
        run, note = _resolve(store, name)
        notes += note
        titles.append(run.data.tags.get("sweep", run.info.run_name) or run.info.run_id)
        children = list(store.children(run.info.run_id, run.info.experiment_id))
        if children or run.data.tags.get("covidmt.kind") == "sweep":
            parents.append(run.info.run_id)
        else:
            children = [run]
        logged |= {child.info.run_id: child for child in children}

    # the test's figures, or else the validation's
    ordered = sorted(logged.values(), key=lambda run: (run.info.start_time, run.info.run_id))
    split = "test" if any("test/pi_score" in run.data.metrics for run in ordered) else "val"
    runs = _without_repeats([_read_run(store.client, run, split) for run in ordered])

    collected = TrainedRuns(", ".join(dict.fromkeys(titles)), split, tuple(runs), tuple(parents), tuple(notes))
    if not collected.counted:
        reasons = "; ".join(f"{run.name}: {run.left_out}" for run in runs) or "it has no trials"
        raise UserError(
            f"{collected.title}: no finished trial with a PI score yet ({reasons}); report it when one has ended"
        )
    return collected


def _resolve(store: Store, name: str) -> tuple[Run, list[str]]:
    """Return the run that an argument means, and a note where several sweeps have the name."""
    client = store.client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    sweeps = list(store.search_runs(experiments, "tags.`covidmt.kind` = 'sweep'"))
    named = [run for run in sweeps if run.data.tags.get("sweep") == name]
    if named:
        newest = max(named, key=lambda run: run.info.start_time)
        note = f"{len(named)} sweeps are called {name}; this is the newest, {newest.info.run_id}."
        return newest, [note] if len(named) > 1 else []
    try:
        return find_run(name, store), []
    except NoSuchRun:
        sweep_names = {run.data.tags.get("sweep", "") for run in sweeps} - {""}
        raise UserError(f"{name!r}: no sweep and no run of {store}{nearest(name, sweep_names)}") from None


def _read_run(client: MlflowClient, run: Run, split: str) -> TrainedRun:
    data, run_id = run.data, run.info.run_id
    best_epoch = int(data.tags.get("best_epoch", -1))

    # figures, of a validation those of the best epoch
    metrics = dict(data.metrics)
    if split == "val" and run.info.status == "FINISHED" and best_epoch >= 0:
        keys = [key for key in metrics if key.startswith("val/")]
        metrics |= _metrics_at(client, run_id, keys, best_epoch)
    elif run.info.status == "FINISHED" and best_epoch >= 0:
        named = [f"val/{key}" for key in stability_keys(logged_parameters(run).get("tasks", "").split(","))]
        metrics |= _metrics_at(client, run_id, [key for key in named if key in metrics], best_epoch)
    metrics = _read_scores(client, run_id, scores_file(split, best_epoch)) | metrics
    left_out = _why_left_out(client, run, metrics, split)

    # settings
    resolved = parse_yaml(_artifact(client, run_id, "experiment.yaml") or "{}", f"run {run_id}: experiment.yaml")
    if not isinstance(resolved, dict):
        raise UserError(f"run {run_id}: its experiment.yaml is no mapping of keys to values, so no experiment")
    chosen = resolved.get("robustness", {})
    robustness = from_dict(Robustness, {key: chosen[key] for key in DEFINITIONS if key in chosen})

    # what happened to each pair
    path = TEST_PAIRS if split == "test" else VAL_PAIRS.format(best_epoch)
    pairs = None if left_out else _read_pairs(client, run_id, path, robustness.threshold)
    if pairs is not None:
        metrics |= _shares_of_pairs(pairs, split)
    return TrainedRun(
        run_id=run_id,
        name=run.info.run_name or run_id,
        status=run.info.status,
        params=logged_parameters(run),
        tags=data.tags,
        settings=_settings(run, resolved),
        metrics=metrics,
        pairs=pairs,
        robustness=robustness,
        left_out=left_out,
    )


def _read_scores(client: MlflowClient, run_id: str, path: str) -> dict[str, float]:
    """Return all scores of an epoch, also those that are no metrics; none of a run from before that table."""
    text = _artifact(client, run_id, path)
    if text is None:
        return {}
    table = pd.read_csv(io.StringIO(text)).dropna()
    return dict(zip(table["metric"], table["value"].astype(float), strict=True))


def _settings(run: Run, resolved: Values) -> dict[str, str]:
    """Return what makes the run's configuration, with the content of what it read."""
    params, tags = logged_parameters(run), run.data.tags
    if not resolved:
        given = {key: value for key, value in params.items() if key not in ("seed", "git_commit")}
        overrides = {key: str(value) for key, value in json.loads(tags.get("trial_overrides", "{}")).items()}
        names = {"model.backbone": params.get("backbone", ""), TASKS: ", ".join(params.get("tasks", "").split(","))}
        return overrides | given | names | {UNKNOWN: f"not logged by run {run.info.run_id}"}

    # what was read, by its content
    settings = identity(resolved, int(tags["processes"]) if "processes" in tags else None)
    settings |= {key: tags[tag] for tag, key in _MADE_OF.items() if tag in tags}
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return settings | {f"data.sources.{entry.dataset.name}.content": entry.dataset.digest for entry in inputs}


def _why_left_out(client: MlflowClient, run: Run, metrics: Mapping[str, float], split: str) -> str:
    if run.info.status != "FINISHED":
        traceback = (_artifact(client, run.info.run_id, "traceback.txt") or "").strip()
        last_line = traceback.splitlines()[-1].removeprefix(f"{UserError.__module__}.UserError: ") if traceback else ""
        return run.data.tags.get("failure") or last_line or run.info.status.lower()
    broken = [key for key, value in metrics.items() if key.startswith(f"{split}/") and not abs(value) < LARGEST]
    if broken:
        return f"its network gives no finite numbers ({broken[0]} is {metrics[broken[0]]:g})"
    if f"{split}/pi_score" not in metrics:
        return f"has no {split}/pi_score"
    if not {"backbone", "tasks"} <= logged_parameters(run).keys():
        return "has no parameters backbone and tasks"
    return ""


def _metrics_at(client: MlflowClient, run_id: str, keys: list[str], step: int) -> dict[str, float]:
    """Return the metrics at one step, of those that have it."""
    points = {key: client.get_metric_history(run_id, key) for key in keys}
    return {key: point.value for key, history in points.items() for point in history if point.step == step}


def _read_pairs(client: MlflowClient, run_id: str, path: str, threshold: float) -> pd.DataFrame | None:
    text = _artifact(client, run_id, path)
    if text is None:
        return None
    table = pd.read_csv(io.StringIO(text), dtype={"id": str, "patient": str})
    table["patient"] = table["patient"].fillna(table["id"])
    for side in SIDES:
        if f"positive_{side}" not in table:  # of runs from before the rule `argmax`
            table[f"positive_{side}"] = decide(table[f"p_{side}"].to_numpy(), threshold)
    return table[PAIR_COLUMNS].drop_duplicates("id").set_index("id")


def _shares_of_pairs(pairs: pd.DataFrame, split: str) -> dict[str, float]:
    """Return how often the decision is right on pairs of known label, and how often it is positive; in [0, 1]."""
    shares = {}
    for side in SIDES:
        rows = pairs.dropna(subset=["label", f"positive_{side}"])
        positive = rows[f"positive_{side}"] == 1
        if len(rows):
            shares[f"{split}/pairs/accuracy/{side}"] = float((positive == (rows["label"] == 1)).mean())
            shares[f"{split}/pairs/positive/{side}"] = float(positive.mean())
    return shares


def _artifact(client: MlflowClient, run_id: str, path: str) -> str | None:
    """Return an artifact's text; None: there is no such artifact."""
    folder = str(Path(path).parent) if "/" in path else None
    if path not in {file.path for file in client.list_artifacts(run_id, folder)}:
        return None
    with tempfile.TemporaryDirectory() as place:
        return Path(client.download_artifacts(run_id, path, place)).read_text()


def _without_repeats(runs: list[TrainedRun]) -> list[TrainedRun]:
    """Of several runs of one configuration and seed count the newest: they are no independent seeds."""
    newest: dict[frozenset[tuple[str, str]], str] = {}
    kept = []
    for run in reversed(runs):  # in the order of their start
        if not run.left_out:
            repeated = newest.setdefault(frozenset({**run.settings, "seed": run.seed}.items()), run.run_id)
            if repeated != run.run_id:
                run = replace(run, left_out=f"run again as {repeated}")
        kept.append(run)
    return kept[::-1]
