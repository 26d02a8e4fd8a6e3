"""Made-up sweeps in a real tracking store: child runs below a parent, as the sweep's submitter and the trials log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from mlflow.entities import Metric, Param

from covidmt.tracking.store import Store as TrackingStore
from experiments.keys import merge, nest
from metrics.paired import PAIR_COLUMNS

TASKS = ["covidx", "rsna_boxes", "infiltration", "effusion", "atelectasis", "nodule"]


CLASSES = ["normal", "pneumonia", "COVID-19"]
_KEYS = {"lr": "optimizer.lr", "image_size": "data.image_size", "channel": "data.pairs.channel", "view": "data.view"}


def resolved(params: dict[str, Any], overrides: dict[str, Any]) -> str:
    """The experiment.yaml of a run of the paper's tasks and data, as far as a report reads it."""
    kinds = {"covidx": "covidx", "rsna": "rsna", "nih": "nih", "wacxr": "wacxr"}
    tasks = {name: {"source": "nih", "labels": [name]} for name in TASKS[2:]}
    tasks |= {"covidx": {"source": "covidx", "labels": CLASSES}, "rsna_boxes": {"source": "rsna", "kind": "boxes"}}
    values: dict[str, Any] = {"name": "made-up", "tasks": tasks, "model": {"backbone": params["backbone"]}}
    values |= {"seed": params["seed"], "active_tasks": str(params["tasks"]).split(",")}
    values["data"] = {"sources": {name: {"kind": kind, "root": f"data/{name}"} for name, kind in kinds.items()}}
    merge(values, nest({_KEYS[key]: value for key, value in params.items() if key in _KEYS}))
    merge(values, nest(overrides))
    return yaml.safe_dump(values)


def pairs_table(flips: np.ndarray, out_original: np.ndarray, out_received: np.ndarray, per_patient: int = 1):
    """A table of pairs with these events (bool arrays); every second pair is COVID-19, and the originals are told."""
    n = len(flips)
    label = np.arange(n) % 2
    p = np.where(label == 1, 0.9, 0.1)
    columns = {
        "id": [f"{i:05d}.png" for i in range(n)],
        "patient": [f"p:{i // per_patient}" for i in range(n)],
        "label": label.astype(float),
        "p_original": p,
        "p_received": np.where(flips, 1 - p, p),
        "iol_original": np.where(out_original, 0.2, 0.8),
        "iol_received": np.where(out_received, 0.2, 0.8),
    }
    return pd.DataFrame(columns)[[name for name in PAIR_COLUMNS if name in columns]]  # as before `positive_`


N = 40


def flipped(*which: int) -> pd.DataFrame:
    """Forty pairs of which these change their answer; these look outside the lungs too."""
    events = np.isin(np.arange(N), which)
    return pairs_table(events, events, events)


def scores(pi: float, ols: float = 50.0, **more: float) -> dict[str, float]:
    """What a test logs of these scores."""
    return {"test/pi_score": pi, "test/ols_score/original": ols, "test/ols_score/received": ols} | more


class Store(TrackingStore):
    """A project's own store below ``folder``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"sqlite:///{folder}/mlruns/mlflow.db")
        self.prepare()

    @cached_property
    def experiment(self) -> str:
        return self.open_experiment("covidmt")

    def sweep(self, name: str) -> str:
        tags = {"covidmt.kind": "sweep", "sweep": name}
        run = self.client.create_run(self.experiment, run_name=name, tags=tags)
        self.client.set_terminated(run.info.run_id)
        return run.info.run_id

    def trial(
        self,
        *,
        parent: str | None = None,
        sweep: str = "ablation",
        backbone: str = "resnet50",
        n_tasks: int = 1,
        seed: int = 0,
        pairs: pd.DataFrame | None = None,
        metrics: dict[str, float] | None = None,
        params: dict[str, Any] | None = None,
        overrides: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
        status: str = "FINISHED",
        known: bool = True,
    ) -> str:
        """One run; PI and OLS are those of its pairs, unless ``metrics`` says so; ``known``: with experiment.yaml."""
        label = f"{backbone}, {n_tasks} tasks, seed {seed}"
        if parent:
            changed = {"model.backbone": backbone, "active_tasks": TASKS[:n_tasks], "seed": seed} | (overrides or {})
            own = {"mlflow.parentRunId": parent, "sweep": sweep, "trial_label": label.rpartition(",")[0]}
            tags = own | {"trial_overrides": json.dumps(changed)} | (tags or {})
        run_id = self.client.create_run(self.experiment, run_name=label, tags=tags or {}).info.run_id
        given = {
            "backbone": backbone, "tasks": ",".join(TASKS[:n_tasks]), "n_tasks": n_tasks, "seed": seed, "lr": 2e-4,
            "image_size": 512, "channel": "whatsapp", "git_commit": f"commit{seed}",
        } | (params or {})  # fmt: skip
        if status != "SCHEDULED":
            self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in given.items()])
        if known:
            self.client.log_text(run_id, resolved(given, overrides or {}), "experiment.yaml")
        values = dict(metrics or {})
        if pairs is not None:
            flips = (pairs["p_original"] >= 0.5) != (pairs["p_received"] >= 0.5)
            values = {
                "test/pi_score": 100 * flips.mean(),
                "test/ols_score/original": 100 * (pairs["iol_original"] < 0.4).mean(),
                "test/ols_score/received": 100 * (pairs["iol_received"] < 0.4).mean(),
            } | values
            self.client.log_text(run_id, pairs.to_csv(index=False), "robustness/test_pairs.csv")
        self.client.log_batch(run_id, metrics=[Metric(key, value, 0, 3) for key, value in values.items()])
        if status in ("FINISHED", "FAILED", "KILLED"):
            self.client.set_terminated(run_id, status)
        else:
            self.client.update_run(run_id, status)
        return run_id


def ablation(folder: Path, n_pairs: int = 1200, seeds: int = 3, counts: Sequence[int] = range(1, 7)) -> Store:
    """A whole ablation with invented numbers near the paper's: two bases, one to six tasks, a control."""
    store, name = Store(folder), "ablation_task_count"
    parent = store.sweep(name)
    rng = np.random.default_rng(0)
    hard = rng.beta(0.35, 1.0, n_pairs)  # some images are fragile for every network

    def one(backbone: str, n: int, seed: int, gain: float, **more: Any) -> None:
        own = np.random.default_rng([len(backbone), n, seed, len(more)])
        pi = (0.075 if backbone == "resnet50" else 0.065) * (1 - gain) * own.normal(1, 0.1)
        ols = (0.62 if backbone == "resnet50" else 0.68) - 0.36 * gain / 0.42 + own.normal(0, 0.02)
        flips = own.random(n_pairs) < np.clip(pi * hard / hard.mean(), 0, 1)
        out = own.random(n_pairs) < ols
        table = pairs_table(flips, out, out | (own.random(n_pairs) < 0.03), per_patient=2)
        wrong = own.random(n_pairs) < 0.06
        table.loc[wrong, ["p_original", "p_received"]] = 1 - table.loc[wrong, ["p_original", "p_received"]]
        scores = {"test/covidx/accuracy": 0.93 + 0.01 * gain + own.normal(0, 0.004)}
        scores["test/covidx/auroc"] = 0.972 + 0.01 * gain + own.normal(0, 0.002)
        store.trial(
            parent=parent, sweep=name, backbone=backbone, n_tasks=n, seed=seed, pairs=table, metrics=scores, **more
        )

    for backbone in ("resnet50", "resnext50_32x4d"):
        for n in counts:
            for seed in range(seeds):
                one(backbone, n, seed, 0.42 * (n - 1) / 5)
        for seed in range(seeds):
            one(backbone, 1, seed, 0.03, overrides={"tasks.covidx.batch_size": 12})
    store.trial(parent=parent, sweep=name, backbone="vgg19", seed=0, status="FAILED", tags={"failure": "out of memory"})
    store.trial(parent=parent, sweep=name, backbone="vgg19", seed=1, status="SCHEDULED")
    return store
