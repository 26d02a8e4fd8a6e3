"""Versions and the alias of the best, in a real registry."""

from __future__ import annotations

import pytest
from mlflow.tracking import MlflowClient

from covidmt.tracking.models.registry import BEST, Candidate, register_version
from covidmt.tracking.store import Store
from experiments.errors import UserError


def candidate(client: MlflowClient, store: Store, score: float | None, monitor: str = "val/loss") -> Candidate:
    experiment = store.open_experiment("registry")
    run = client.create_run(experiment)
    model = client.create_logged_model(experiment, source_run_id=run.info.run_id)
    client.finalize_logged_model(model.model_id, "READY")
    return Candidate(model.model_id, run.info.run_id, model.artifact_location, "card", monitor, score)


def test_the_lowest_score_is_the_best_and_others_are_not_compared(client: MlflowClient, store: Store):
    scores = [(0.5, "val/loss"), (0.7, "val/loss"), (0.1, "val/other"), (None, "val/loss"), (0.4, "val/loss")]
    best = []
    for score, monitor in scores:
        register_version(client, "films", candidate(client, store, score, monitor))
        best.append(int(client.get_model_version_by_alias("films", BEST).version))
    assert best == [1, 1, 1, 1, 5]


def test_a_model_gets_one_version(client: MlflowClient, store: Store):
    model = candidate(client, store, 0.5)
    assert register_version(client, "once", model) == register_version(client, "once", model) == 1
    assert client.get_model_version("once", "1").description == "card"


def test_a_name_that_the_registry_refuses_is_said(client: MlflowClient, store: Store):
    with pytest.raises(UserError, match=r"tracking\.register: the registry refuses the name 'a/b'"):
        register_version(client, "a/b", candidate(client, store, 0.5))
