"""A sweep's ``search:`` section: Optuna draws each trial's values when its job begins, and hears what came of it.

A trial keeps its values, also when it failed and is started again: they are what its checkpoint was trained with, and
Optuna has it as running until it has a value. One that fails for its values (out of memory, say) would fail again: it
stays failed, and more trials (``search.trials``) take its place.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from callbacks.pruning import PRUNED, VALUE, open_storage
from covidmt.sweeps.folder import Submission, SweepFolder, TrialDraw, TrialFolder
from covidmt.tracking.folders import mlruns_dir
from covidmt.tracking.store import Store, network_file_system, sqlite_path
from experiments.errors import UserError, nearest
from experiments.keys import nest
from experiments.load import override, to_dict
from experiments.paths import absolute
from experiments.schema import Experiment
from experiments.secrets import hide_in_url, hide_in_values
from experiments.sweep_schema import Algorithm, Distribution, Draw, Search

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

log = logging.getLogger(__name__)


def open_study(search: Search, name: str, store: Store) -> dict[str, str]:
    """Make the study, once, before any job; or check that it can be resumed.

    Args:
        search: The sweep's section.
        name: The study's name.
        store: The tracking store, whose database the study must not share.

    Returns:
        ``study``, its name; ``storage``, where it is, for other processes too.

    Raises:
        UserError: Wrong names or options, a storage that cannot be used, or what Optuna cannot change in a study.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = _storage_of(search)
    if storage == store.uri or (store.database and store.database == sqlite_path(storage)):
        raise UserError("search.storage: Optuna and MLflow cannot share a database; leave it out, or name another")

    # a study that exists is loaded
    sampler, pruner = _make_algorithm("sampler", search.sampler), _make_algorithm("pruner", search.pruner)
    try:
        study = optuna.create_study(
            study_name=name,
            storage=open_storage(storage),
            direction=search.direction.value,
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )
        trials = study.get_trials(deepcopy=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"search.storage: {hide_in_url(storage)} cannot be used: {reason}") from error

    # what Optuna cannot change in a search that has begun
    afresh = "set it back, give the sweep another name, or start afresh with --resume never"
    direction = study.direction.name.lower()
    if direction != search.direction.value:
        raise UserError(f"search.direction: this search was begun with {direction}; {afresh}")
    for trial in trials:
        for key, old in trial.distributions.items():
            if key in search.space:
                try:
                    optuna.distributions.check_distribution_compatibility(old, _distribution(search.space[key]))
                except ValueError as error:
                    reason = f"Optuna cannot change it in a search that has drawn from {old}: {error}"
                    raise UserError(f"search.space.{key}: {reason}; {afresh}") from error
    return {"study": name, "storage": storage}


def draw_trial(sweep: SweepFolder, trial: TrialFolder) -> Experiment:
    """Have Optuna draw a trial's values; from now on they are the trial's, however often it is started.

    Returns:
        What the trial runs.
    """
    submission = sweep.submitted
    search, study = _search_of(submission), _load_study(submission, trial)
    optuna_trial = study.ask({key: _distribution(distribution) for key, distribution in search.space.items()})
    values = {
        key: choice_values(distribution)[optuna_trial.params[key]] if distribution.choices else optuna_trial.params[key]
        for key, distribution in search.space.items()
    }

    # the experiment with these values, and with the callback that reports to Optuna
    experiment = override(sweep.base.experiment(), [("what Optuna drew", nest(values))], trial.id)
    arguments = {
        "storage": submission.storage,
        "study": submission.study,
        "trial": optuna_trial.number,
        "metric": search.metric,
        "pruner": to_dict(search.pruner) if search.pruner else None,
    }
    callback = {"class_path": "callbacks.pruning.OptunaPruning", "init_args": arguments}
    experiment.trainer["callbacks"] = [*(experiment.trainer.get("callbacks") or []), callback]
    label = ", ".join(f"{key.rpartition('.')[2]} {format_value(value)}" for key, value in values.items())
    trial.save_draw(TrialDraw(optuna_trial.number, label, values))
    trial.save_experiment(experiment)

    # the run's tags, as far as the store answers
    overrides = json.dumps(hide_in_values(values))
    tags = {"trial_label": label, "trial_overrides": overrides, "optuna_trial": str(optuna_trial.number)}
    try:
        client, run_id = submission.store.client, trial.record.run_id
        for key, value in tags.items():
            client.set_tag(run_id, key, value)
    except Exception as error:
        log.warning("The run's tags do not say what Optuna drew: %s", error)
    return experiment


def tell_result(submission: Submission, trial: TrialFolder) -> None:
    """Tell Optuna a trained trial's value, or that it was pruned."""
    from optuna.trial import TrialState

    study, draw = _load_study(submission, trial), trial.draw
    assert draw is not None
    attributes = study.trials[draw.number].user_attrs
    if PRUNED in attributes:
        study.tell(draw.number, state=TrialState.PRUNED, skip_if_finished=True)
    elif VALUE in attributes:
        study.tell(draw.number, attributes[VALUE], skip_if_finished=True)
    else:  # it was NaN at every epoch
        study.tell(draw.number, state=TrialState.FAIL, skip_if_finished=True)


def _search_of(submission: Submission) -> Search:
    assert submission.search is not None
    return submission.search


def _load_study(submission: Submission, trial: TrialFolder) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = _search_of(submission)
    sampler = search.sampler
    if "seed" in sampler.options:  # jobs that draw at once must not draw the same
        shifted = sampler.options["seed"] + int(trial.id.rpartition("-")[2])
        sampler = Algorithm(sampler.name, {**sampler.options, "seed": shifted})
    return optuna.load_study(
        study_name=submission.study,
        storage=open_storage(submission.storage),
        sampler=_make_algorithm("sampler", sampler),
        pruner=_make_algorithm("pruner", search.pruner),
    )


def _storage_of(search: Search) -> str:
    """Return where the study is, for any process."""
    if search.storage is None:
        kind = network_file_system(mlruns_dir())
        return str(mlruns_dir() / "optuna.journal") if kind else f"sqlite:///{mlruns_dir() / 'optuna.db'}"
    if "://" not in search.storage:
        if not search.storage.endswith(".journal"):
            raise UserError(f"search.storage: takes a URL or a file *.journal, not {search.storage!r}")
        return str(absolute(search.storage))
    path = sqlite_path(search.storage)
    return f"sqlite:///{absolute(path)}" if path else search.storage


def _make_algorithm(key: str, algorithm: Algorithm | None) -> Any:
    """Return a ``sampler`` or ``pruner`` by its name in Optuna."""
    import optuna

    module, algorithm = getattr(optuna, f"{key}s"), algorithm or Algorithm("NopPruner")
    names = [name for name in dir(module) if name.endswith(key.capitalize()) and not name.startswith("Base")]
    if algorithm.name not in names:
        raise UserError(f"search.{key}.name: Optuna has no {algorithm.name!r}{nearest(algorithm.name, names)}")
    try:
        return getattr(module, algorithm.name)(**algorithm.options)
    except (TypeError, ValueError) as error:
        raise UserError(f"search.{key}.options: {algorithm.name} refuses them: {error}") from error


def _distribution(distribution: Distribution) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if distribution.choices is not None:
        return CategoricalDistribution(list(choice_values(distribution)))
    low, high, step = distribution.low, distribution.high, distribution.step
    assert low is not None
    assert high is not None
    if distribution.type is Draw.int:
        return IntDistribution(int(low), int(high), step=int(step or 1), log=distribution.log)
    return FloatDistribution(low, high, step=step, log=distribution.log)


def choice_values(distribution: Distribution) -> dict[Any, Any]:
    """Return what Optuna draws -> the value: its storages keep plain values alone, so lists go by their JSON.

    Example:
        >>> from covidmt.sweeps.search import choice_values
        >>> from experiments.sweep_schema import Distribution
        >>> choice_values(Distribution(choices=["resnet50", ["covidx", "nodule"]]))
        {'resnet50': 'resnet50', '["covidx", "nodule"]': ['covidx', 'nodule']}
    """
    return {
        json.dumps(value) if isinstance(value, list | dict) else value: value for value in distribution.choices or ()
    }


def format_value(value: Any) -> str:
    """Return a drawn value as a label has it.

    Example:
        >>> from covidmt.sweeps.search import format_value
        >>> format_value(0.000123456), format_value("resnet50"), format_value(["covidx"])
        ('0.000123', 'resnet50', '["covidx"]')
    """
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value)
