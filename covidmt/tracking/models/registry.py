"""A LoggedModel's version in MLflow's registry, and the alias of the best one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from experiments.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

BEST = "best"  # the alias
SCORE, MONITOR = "covidmt.score", "covidmt.monitor"  # tags of a version: what it is compared by
MODEL = "covidmt.model"  # tag of a version: the LoggedModel, which MLflow's own list of versions leaves out


class Candidate(NamedTuple):
    """A model that becomes a version.

    Attributes:
        model_id: Of the LoggedModel.
        run_id: The run that trained it.
        source: Where its files are.
        card: Its model card, Markdown.
        monitor: The metric that versions are compared by; the lowest is the best.
        score: Its value; None: it is not known.
    """

    model_id: str
    run_id: str
    source: str
    card: str
    monitor: str
    score: float | None


def register_version(client: MlflowClient, name: str, candidate: Candidate) -> int:
    """Make a version of a model under a name, unless it is there; set the alias ``best``; return the version's number.

    The alias goes to the version with the lowest score. A version whose score is of another metric, or unknown, is not
    compared: the alias stays where it is, or goes to the first.

    Args:
        client: Of the store.
        name: The registered model; made where it does not exist.
        candidate: The model.

    Raises:
        UserError: The registry refuses the name.
        MlflowException: The store does not answer.
    """
    from mlflow.exceptions import MlflowException

    # the name
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise UserError(f"tracking.register: the registry refuses the name {name!r} ({error.message})") from error
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise

    # the version, once
    versions = client.search_model_versions(f"name = '{name}'", max_results=1000)
    version = next((each for each in versions if each.tags.get(MODEL) == candidate.model_id), None)
    if version is None:
        tags = {MODEL: candidate.model_id, MONITOR: candidate.monitor}
        if candidate.score is not None:
            tags[SCORE] = repr(candidate.score)
        version = client.create_model_version(
            name,
            candidate.source,
            run_id=candidate.run_id,
            tags=tags,
            description=candidate.card,
            await_creation_for=0,
            model_id=candidate.model_id,
        )

    if _is_best(client, name, candidate):
        client.set_registered_model_alias(name, BEST, str(version.version))
    return int(version.version)


def _is_best(client: MlflowClient, name: str, candidate: Candidate) -> bool:
    """Return whether a model has a lower score than the version that is called the best."""
    aliases = client.get_registered_model(name).aliases
    if BEST not in aliases:
        return True
    best: ModelVersion = client.get_model_version(name, str(aliases[BEST]))
    if candidate.score is None or best.tags.get(MONITOR) != candidate.monitor or SCORE not in best.tags:
        return False
    return candidate.score < float(best.tags[SCORE])
