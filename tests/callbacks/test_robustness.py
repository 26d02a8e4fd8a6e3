import csv
import inspect
import json
import os
import random
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from callbacks.overlays import GradCamOverlays
from callbacks.robustness import RobustnessCallback
from experiments.errors import UserError
from experiments.schema import Robustness, Target, ThresholdRule
from metrics.paired import PAIR_COLUMNS
from tests.helpers.tiny_module import (
    FINDINGS,
    TASK,
    Texts,
    Tiny,
    TinyData,
    TinyTaskData,
    task_callback,
    trainer,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by_hand(module, pairs, robustness):
    """PI and OLS pair by pair, with autograd through a copy of the head's arithmetic and loops."""
    module.eval()
    p, iols, no_region = [], [], 0
    for row in range(len(pairs)):
        for image in (pairs.original[row], pairs.received[row]):
            feature = module.features(image[None])[-1].detach().requires_grad_()
            logits = module.head("covidx")(feature)[0]
            z = logits[2]
            p.append(torch.sigmoid(z).item())
            score = {
                Target.positive: z,
                Target.decision: z if p[-1] >= 0.5 else -z,
                Target.predicted: logits.max(),
            }[robustness.target]
            (gradient,) = torch.autograd.grad(score, feature)
            raw = (gradient.mean((2, 3), keepdim=True) * feature).sum(1, keepdim=True).clamp(min=0)
            heat = torch.nn.functional.interpolate(raw, image.shape[-2:], mode="bilinear")[0, 0]
            region = heat >= 0.5 * heat.max()
            if heat.max() <= 0:
                no_region += 1
            elif pairs.lung[row].any():
                iols.append(((region & pairs.lung[row]).sum() / region.sum()).item())
            else:
                iols.append(None)
    flips = [(a >= 0.5) - (b >= 0.5) for a, b in zip(p[::2], p[1::2], strict=True)]
    return p, flips, iols, no_region


@pytest.mark.parametrize("target", list(Target))
def test_figures_are_those_computed_by_hand(target):
    robustness = Robustness(target=target)
    callback, module, data = RobustnessCallback(robustness, TASK), Tiny(), TinyData()
    run = trainer(callbacks=[callback])
    run.validate(module, data, verbose=False)
    p, flips, iols, no_region = by_hand(module, data.pairs["val"], robustness)
    got = callback.last
    assert any(flips), "the example should have a flip"
    assert got["val/pairs"] == 5
    assert got["val/pi_score"] == pytest.approx(20 * sum(map(abs, flips)))
    assert (got["val/pi/flips_pos_to_neg"], got["val/pi/flips_neg_to_pos"]) == (flips.count(1), flips.count(-1))
    assert got["val/pi/mean_abs_change"] == pytest.approx(np.abs(np.diff(np.reshape(p, (5, 2)))).mean(), abs=1e-6)
    assert no_region == got["val/ols/original/no_region"] + got["val/ols/received/no_region"]
    for side, name in enumerate(("original", "received")):
        assert got[f"val/ols/{name}/no_lung"] == 1
        if not no_region:
            values = [v for v in iols[side::2] if v is not None]
            assert got[f"val/iol/{name}/mean"] == pytest.approx(np.mean(values))
            assert got[f"val/ols_score/{name}"] == pytest.approx(100 * np.mean([v < 0.4 for v in values]))
    assert got == pytest.approx({k: v.item() for k, v in run.callback_metrics.items()})


def test_fit_and_test_log_to_the_logger_and_for_the_checkpoint(tmp_path):
    callback = RobustnessCallback(Robustness(), TASK)
    best = ModelCheckpoint(tmp_path / "ckpt", monitor="val/ols_score/original", mode="min")
    run = trainer(
        max_epochs=2, logger=CSVLogger(tmp_path), callbacks=[callback, best], enable_checkpointing=True,
        num_sanity_val_steps=1, log_every_n_steps=1,
    )  # fmt: skip
    module, data = Tiny(), TinyData(test=3)
    run.fit(module, data)
    assert best.best_model_score is not None
    run.test(module, data, verbose=False)
    with open(next(tmp_path.rglob("metrics.csv"))) as file:
        rows = list(csv.DictReader(file))
    assert len([row for row in rows if row["val/pi_score"]]) == 2  # nothing from the sanity check
    assert len([row for row in rows if row["test/pi_score"]]) == 1
    names = set(rows[0])
    for split in ("val", "test"):
        assert not [name for name in names if "hist" in name]  # the table of pairs has every IOL
        assert {
            f"{split}/pi/ci_low",
            f"{split}/ols/received/ci_high",
            f"{split}/ols/original/no_lung",
            f"{split}/ols_score/received",
        } <= names
    assert callback.last["val/pairs"] == 5
    assert callback.last["test/pairs"] == 3


def test_every_test_pair_is_a_row_by_hand(tmp_path):
    callback, module, data = RobustnessCallback(Robustness(), TASK), Tiny(), TinyData(test=5)
    data.pairs["test"].ids.reverse()
    data.pairs["test"].patients = list("edcba")
    logger = Texts(tmp_path, name=None)
    run = trainer(callbacks=[callback], logger=logger)
    run.validate(module, data, verbose=False)
    (validated,) = tmp_path.glob("*.csv")  # the epoch's
    assert validated.name == "000.csv"
    assert pd.read_csv(validated)["id"].tolist() == sorted(data.pairs["val"].ids)
    run.test(module, data, verbose=False)
    table = pd.read_csv(tmp_path / "test_pairs.csv")
    assert list(table.columns) == PAIR_COLUMNS
    assert table["id"].tolist() == sorted(data.pairs["test"].ids)
    assert table["patient"].tolist() == list("abcde")
    table = table[::-1].reset_index(drop=True)  # the data set's own order
    p, flips, iols, _ = by_hand(module, data.pairs["test"], Robustness())
    assert table[["p_original", "p_received"]].to_numpy().ravel() == pytest.approx(p, abs=1e-6)
    decisions = table[["p_original", "p_received"]] >= 0.5
    assert table["positive_original"].tolist() == decisions["p_original"].astype(float).tolist()
    assert (decisions["p_original"] ^ decisions["p_received"]).sum() == sum(map(abs, flips))
    assert np.isnan(table["label"][0])
    assert table["iol_original"].isna().tolist() == [False] * 4 + [True]  # no lung
    assert table["iol_original"][:4].tolist() == pytest.approx(iols[:8:2])


class WandbLike(CSVLogger):
    """Has W&B's methods, as Lightning's ``WandbLogger`` does."""

    def log_text(self, key: str, columns: list[str] | None = None, data: list[list[str]] | None = None) -> None:
        raise AssertionError("a table of texts, which nobody gave")


def test_a_logger_whose_log_text_is_another_one_is_no_hindrance(tmp_path):
    parameters = list(inspect.signature(WandbLogger.log_text).parameters)
    assert parameters[:4] == list(inspect.signature(WandbLike.log_text).parameters)
    own, other = Texts(tmp_path, name=None), WandbLike(tmp_path / "other", name=None)
    fit = trainer(max_epochs=1, logger=[other, own], callbacks=[RobustnessCallback(Robustness("covidx"), TASK)])
    fit.fit(Tiny(), TinyData())
    assert (tmp_path / "000.csv").is_file()


def test_training_is_the_same_with_and_without_it():
    """Mode, gradients, and every random state are left alone: dropout, shuffling and BatchNorm go on as they would."""
    weights = []
    for callbacks in ([], [RobustnessCallback(Robustness(), TASK)]):
        L.seed_everything(3, verbose=False)
        module = Tiny()
        trainer(max_epochs=3, callbacks=callbacks, val_check_interval=1).fit(module, TinyData())
        weights.append(
            (module.state_dict(), torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate())
        )
    for left, right in zip(*(w[0].values() for w in weights), strict=True):
        assert torch.equal(left, right)
    assert torch.equal(weights[0][1], weights[1][1])
    assert str(weights[0][2]) == str(weights[1][2])
    assert weights[0][3] == weights[1][3]


def test_gradients_stay():
    module = Tiny()

    class Gradients(L.Callback):  # set here, because Lightning zeroes them before it validates
        def on_validation_epoch_start(self, trainer, pl_module):
            for parameter in pl_module.parameters():
                parameter.grad = torch.full_like(parameter, 7.0)

    trainer(callbacks=[Gradients(), RobustnessCallback(Robustness(), TASK)]).validate(module, TinyData(), verbose=False)
    assert all(torch.equal(p.grad, torch.full_like(p, 7.0)) for p in module.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_under_the_trainers_precision(precision):
    callback = RobustnessCallback(Robustness(), TASK)
    seen = []
    module = Tiny()
    module.head("covidx")[0].register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
    trainer(precision=precision, callbacks=[callback]).test(module, TinyData(test=5), verbose=False)
    assert set(seen) == {torch.float64 if precision == "64-true" else torch.bfloat16}
    assert callback.last["test/pairs"] == 5
    assert "test/iol/original/mean" in callback.last


def test_what_is_undefined_is_not_logged():
    callback, data = RobustnessCallback(Robustness(), TASK), TinyData()
    data.pairs["val"].lung[:] = False
    with pytest.warns(UserWarning, match="OLS and IOL are not measured: all 5 masks are empty"):
        trainer(callbacks=[callback]).validate(Tiny(), data, verbose=False)
    assert callback.last["val/ols/original/no_lung"] == 5
    assert callback.last["val/ols/original/n"] == 0
    assert "val/pi_score" in callback.last
    assert not any(key.startswith(("val/ols_score", "val/iol")) for key in callback.last)


@pytest.mark.parametrize("bar", [RichProgressBar, TQDMProgressBar])
def test_with_a_progress_bar(bar, capsys):
    callback = RobustnessCallback(Robustness(), TASK)
    trainer(max_epochs=1, callbacks=[callback, bar()], enable_progress_bar=True).fit(Tiny(), TinyData())
    captured = capsys.readouterr()
    assert callback.last["val/pairs"] == 5
    assert bar is RichProgressBar or "Pairs" in captured.out + captured.err  # rich draws on a terminal only


@pytest.mark.slow
def test_two_processes_score_an_odd_number_of_pairs_like_one(tmp_path):
    """5 validation pairs: 3 + 2; 1 test pair: the second process has none and must neither hang nor differ."""
    callback = task_callback()
    run = trainer(callbacks=[callback])
    module, data = Tiny(), TinyTaskData()
    run.validate(module, data, verbose=False)
    run.test(module, data, verbose=False)
    single = callback.last

    out = tmp_path / "two.json"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "SLURM"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.tiny_module", str(out), "2"],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sync_dist" not in done.stderr
    assert len(pd.read_csv(tmp_path / "test_pairs.csv")) == 1
    double, every = json.loads(out.read_text())
    assert double == every  # each process has the same figures
    assert single["val/pairs"] == double["val/pairs"] == 5
    assert single["test/pairs"] == double["test/pairs"] == 1
    assert single["val/pi/findings/pairs"] == single["val/li/places/pairs"] + single["val/li/places/no_box"] == 5
    assert single["val/li/places/0.5/ci_high"] > 0
    rounded = (
        "mean_abs_change",
        "/mean",
        "mean_iol",
        "places/iou",
        "score_change",
    )  # a convolution rounds by batch size; everything else is a count
    assert {k: v for k, v in single.items() if not k.endswith(rounded)} == {
        k: v for k, v in double.items() if not k.endswith(rounded)
    }
    assert single == pytest.approx(double, abs=1e-6)


def test_says_what_is_missing():
    with pytest.raises(UserError, match="LightningModule needs the methods features"):
        RobustnessCallback(Robustness(), TASK).setup(trainer(), L.LightningModule(), "fit")
    with pytest.raises(UserError, match="no datamodule"):
        RobustnessCallback(Robustness(), TASK).setup(trainer(), Tiny(), "fit")
    with pytest.raises(UserError, match=r"robustness\.region_threshold: 0"):
        RobustnessCallback(Robustness(region_threshold=0.0), TASK)
    with pytest.raises(UserError, match=r"robustness\.eta: 40"):
        RobustnessCallback(Robustness(eta=40), TASK)


def test_the_interval_counts_patients_and_not_pairs():
    """All five pairs are of two patients: as wide as of two."""
    last = []
    for patients in (list("abcde"), list("aabbb")):
        callback, data = RobustnessCallback(Robustness(), TASK), TinyData()
        data.pairs["val"].patients = patients
        trainer(callbacks=[callback]).validate(Tiny(), data, verbose=False)
        last.append(callback.last)
    five, two = (figures["val/pi/ci_high"] - figures["val/pi/ci_low"] for figures in last)
    assert last[0]["val/pi_score"] == last[1]["val/pi_score"]
    assert two > five
    assert (
        last[0]["val/ols/original/ci_low"] <= last[0]["val/ols_score/original"] <= last[1]["val/ols/original/ci_high"]
    )


def test_every_task_is_scored_on_its_own_pairs():
    """The decision's figures stay; a task's are those of its metrics alone on the same answers."""
    plain, callback = RobustnessCallback(Robustness(), TASK), task_callback()
    module, data = Tiny(), TinyTaskData()
    trainer(callbacks=[plain]).validate(module, data, verbose=False)
    trainer(callbacks=[callback]).validate(module, data, verbose=False)
    got = callback.last
    assert plain.last.items() <= got.items()
    assert got["val/pi/covidx/COVID-19"] == got["val/pi_score"]
    assert got["val/ols/covidx/original"] == got["val/ols_score/original"]

    # a task of two labels, by hand
    pairs = data.pairs["val"]
    module.eval()
    with torch.no_grad():
        sides = [module.heads["findings"](module.features(side)[-1]) for side in (pairs.original, pairs.received)]
    flips = (sides[0] >= 0) != (sides[1] >= 0)
    assert flips.any(), "the example should have a flip"
    assert got["val/pi/findings"] == pytest.approx(20 * flips.any(dim=1).sum().item())
    for index, label in enumerate(FINDINGS.labels):
        assert got[f"val/pi/findings/{label}"] == pytest.approx(20 * flips[:, index].sum().item())
    assert got["val/pi/findings/ci_low"] <= got["val/pi/findings"] <= got["val/pi/findings/ci_high"]

    # boxes: four pairs have a true one
    assert (got["val/li/places/pairs"], got["val/li/places/no_box"]) == (4, 1)
    assert 0 < got["val/li/places/iou"] <= 1
    assert got["val/ols/places/received/n"] == 4  # a box each; one image has no lungs


def test_thresholds_are_chosen_before_the_pairs_are_scored():
    """All findings turn negative under a threshold that none reaches: nothing is lost or gained."""

    class Choosing(Tiny):
        def choose_thresholds(self):
            self.label_thresholds = {"findings": dict.fromkeys(FINDINGS.labels, 1 - 1e-6)}

    callback = task_callback()
    trainer(callbacks=[callback]).validate(Tiny(), TinyTaskData(), verbose=False)
    assert callback.last["val/pi/findings"] > 0
    callback.task_maps.robustness = replace(callback.robustness, thresholds=ThresholdRule.youden)
    trainer(callbacks=[callback]).validate(Choosing(), TinyTaskData(), verbose=False)
    assert callback.last["val/pi/findings"] == 0
    assert callback.last["val/pi_score"] > 0


class Items(list):
    """Pairs, with what a data set of them has besides."""


class Unmasked(TinyData):
    """Gives pairs without lung masks, or with empty ones."""

    empty = False

    def masked(self, pair):
        return pair._replace(lung=torch.zeros_like(pair.lung) if self.empty else None)

    def pair_dataset(self, split):
        pairs = self.pairs[split]
        items = Items(self.masked(pairs[index]) for index in range(len(pairs)))
        items.labels, items.ids = pairs.labels, pairs.ids
        return items

    def pair_dataloader(self, split):
        return [self.masked(pair) for pair in super().pair_dataloader(split)]


@pytest.mark.parametrize(("empty", "words"), [(False, "have no lung masks"), (True, "all 5 masks are empty")])
def test_missing_masks_are_said_once_and_measured_as_nothing(tmp_path, empty: bool, words: str):
    callback, data = RobustnessCallback(Robustness(), TASK, [TASK]), Unmasked()
    data.empty = empty
    overlays = GradCamOverlays(Robustness(overlays=2), TASK)
    run = trainer(callbacks=[callback, overlays], logger=CSVLogger(tmp_path))
    with pytest.warns(UserWarning, match=words):
        run.validate(Tiny(), data, verbose=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*OLS and IOL.*")
        run.validate(Tiny(), data, verbose=False)
    assert "val/pi_score" in callback.last
    assert "val/ols_score/original" not in callback.last
    assert ("val/ols/original/no_lung" in callback.last) == empty
    assert ("val/ols/covidx/original/n" in callback.last) == empty
    assert len(list(tmp_path.rglob("gradcam/*/*.png"))) == 2
