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
from covidmt.sweeps.folder import Drawn, SweepFolder
from covidmt.tracking.folders import mlruns_dir
from covidmt.tracking.store import Store, network_file_system, sqlite_path
from experiments.errors import UserError, nearest
from experiments.load import from_dict, override
from experiments.paths import absolute
from experiments.schema import Experiment
from experiments.sweep_schema import Algorithm, Distribution, Draw, Search

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

log = logging.getLogger(__name__)


def open_study(search: Search, name: str, uri: str) -> dict[str, str]:
    """Makes the study, once, before any job; or checks that it can be gone on with.

    Args:
        search: The sweep's section.
        name: The study's name.
        uri: MLflow's tracking URI, whose database the study must not share.

    Returns:
        ``study``, its name; ``storage``, where it is, for other processes too.

    Raises:
        UserError: Wrong names or options, a storage that cannot be used, or what Optuna cannot change in a study.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = _place(search)
    if place == uri or (sqlite_path(place) and sqlite_path(place) == sqlite_path(uri)):
        raise UserError("search.storage: Optuna and MLflow cannot share a database; leave it out, or name another")
    sampler, pruner = _make("sampler", search.sampler), _make("pruner", search.pruner)
    try:
        study = optuna.create_study(
            study_name=name,
            storage=open_storage(place),
            direction=search.direction.value,
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )
        trials = study.get_trials(deepcopy=False)
    except Exception as error:
        raise UserError(f"search.storage: {place} cannot be used: {' '.join(str(error).split())[:300]}") from error
    afresh = "set it back, give the sweep another name, or start afresh with --resume never"
    if (begun := study.direction.name.lower()) != search.direction.value:
        raise UserError(f"search.direction: this search was begun with {begun}; {afresh}")
    for trial in trials:
        for key, old in trial.distributions.items():
            if key in search.space:
                try:
                    optuna.distributions.check_distribution_compatibility(old, _distribution(search.space[key]))
                except ValueError as error:
                    reason = f"Optuna cannot change it in a search that has drawn from {old}: {error}"
                    raise UserError(f"search.space.{key}: {reason}; {afresh}") from error
    return {"study": name, "storage": place}


def draw(sweep: SweepFolder, trial: str) -> Experiment:
    """Has Optuna draw the trial's values; from now on they are the trial's, however often it is started."""
    settings = sweep.settings
    study, search = _study(settings, trial)
    drawn = study.ask({key: _distribution(distribution) for key, distribution in search.space.items()})
    values = {
        key: _choices(distribution)[drawn.params[key]] if distribution.choices else drawn.params[key]
        for key, distribution in search.space.items()
    }
    experiment = override(sweep.experiment("base"), [f"{key}={json.dumps(values[key])}" for key in values], trial)
    arguments = {
        "storage": settings["storage"],
        "study": settings["study"],
        "trial": drawn.number,
        "metric": search.metric,
        "pruner": settings["search"]["pruner"],
    }
    callback = {"class_path": "callbacks.pruning.OptunaPruning", "init_args": arguments}
    experiment.trainer["callbacks"] = [*(experiment.trainer.get("callbacks") or []), callback]
    label = ", ".join(f"{key.rpartition('.')[2]} {_say(value)}" for key, value in values.items())
    sweep.save_draw(trial, Drawn(drawn.number, label, values))
    sweep.save_experiment(trial, experiment)
    try:
        client, run_id = Store(settings["uri"]).client, sweep.record(trial).run_id
        client.set_tag(run_id, "trial_label", label)
        client.set_tag(run_id, "trial_overrides", json.dumps(values))
        client.set_tag(run_id, "optuna_trial", str(drawn.number))
    except Exception as error:
        log.warning("The run's tags do not say what Optuna drew: %s", error)
    return experiment


def tell(sweep: SweepFolder, trial: str) -> None:
    """A trained trial's value, or that it was pruned."""
    from optuna.trial import TrialState

    study, _ = _study(sweep.settings, trial)
    drawn = sweep.drawn(trial)
    assert drawn is not None
    number = drawn.number
    noted = study.trials[number].user_attrs
    if PRUNED in noted:
        study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
    elif VALUE in noted:
        study.tell(number, noted[VALUE], skip_if_finished=True)
    else:  # it was NaN at every epoch
        study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def _study(settings: dict[str, Any], trial: str) -> tuple[Study, Search]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = from_dict(Search, settings["search"])
    sampler = search.sampler
    if "seed" in sampler.options:  # jobs that draw at once must not draw the same
        shifted = sampler.options["seed"] + int(trial.rpartition("-")[2])
        sampler = Algorithm(sampler.name, {**sampler.options, "seed": shifted})
    study = optuna.load_study(
        study_name=settings["study"],
        storage=open_storage(settings["storage"]),
        sampler=_make("sampler", sampler),
        pruner=_make("pruner", search.pruner),
    )
    return study, search


def _place(search: Search) -> str:
    if search.storage is None:
        kind = network_file_system(mlruns_dir())
        return str(mlruns_dir() / "optuna.journal") if kind else f"sqlite:///{mlruns_dir() / 'optuna.db'}"
    if "://" not in search.storage:
        if not search.storage.endswith(".journal"):
            raise UserError(f"search.storage: takes a URL or a file *.journal, not {search.storage!r}")
        return str(absolute(search.storage))
    path = sqlite_path(search.storage)
    return f"sqlite:///{absolute(path)}" if path else search.storage


def _make(key: str, algorithm: Algorithm | None) -> Any:
    """A sampler or pruner by name."""
    import optuna

    module, algorithm = getattr(optuna, f"{key}s"), algorithm or Algorithm("NopPruner")
    known = [name for name in dir(module) if name.endswith(key.capitalize()) and not name.startswith("Base")]
    if algorithm.name not in known:
        raise UserError(f"search.{key}.name: Optuna has no {algorithm.name!r}{nearest(algorithm.name, known)}")
    try:
        return getattr(module, algorithm.name)(**algorithm.options)
    except (TypeError, ValueError) as error:
        raise UserError(f"search.{key}.options: {algorithm.name} refuses them: {error}") from error


def _distribution(distribution: Distribution) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if distribution.choices is not None:
        return CategoricalDistribution(list(_choices(distribution)))
    low, high, step = distribution.low, distribution.high, distribution.step
    assert low is not None
    assert high is not None
    if distribution.type is Draw.int:
        return IntDistribution(int(low), int(high), step=int(step or 1), log=distribution.log)
    return FloatDistribution(low, high, step=step, log=distribution.log)


def _choices(distribution: Distribution) -> dict[Any, Any]:
    """What Optuna draws -> the value: its storages keep plain values alone, so lists go by their JSON."""
    return {
        json.dumps(value) if isinstance(value, list | dict) else value: value for value in distribution.choices or ()
    }


def _say(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
