from pathlib import Path

import optuna
import pytest
import torch

from callbacks.pruning import PRUNED, VALUE, OptunaPruning, make_pruner, open_storage
from experiments.errors import UserError
from tests.helpers.tiny_module import Tiny, TinyData, trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]
LOSSES = [0.5, 0.3, 0.9, 0.1]


class Losing(Tiny):
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", torch.tensor(LOSSES[self.current_epoch]))


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """With the first trial of a study."""
    place = str(tmp_path / "folder" / "optuna.journal")
    optuna.create_study(study_name="s", storage=open_storage(place)).ask()
    return place


def report(storage: str) -> optuna.trial.FrozenTrial:
    return optuna.load_study(study_name="s", storage=open_storage(storage)).trials[0]


def test_every_epoch_is_reported_and_the_lowest_is_the_value(storage: str):
    callback = OptunaPruning(storage, "s", 0, "val/loss")
    trainer(max_epochs=4, num_sanity_val_steps=1, callbacks=[callback]).fit(Losing(), TinyData())
    trial = report(storage)
    assert trial.intermediate_values == pytest.approx(dict(enumerate(LOSSES)))
    assert trial.user_attrs == {VALUE: pytest.approx(0.1)}
    resumed = OptunaPruning(storage, "s", 0, "val/loss")
    resumed.load_state_dict(callback.state_dict())
    assert resumed.state_dict() == {"lowest": pytest.approx(0.1)}


def test_a_trial_that_its_pruner_gives_up_ends_with_this_epoch(storage: str):
    callback = OptunaPruning(storage, "s", 0, "val/loss", {"name": "ThresholdPruner", "options": {"upper": 0.8}})
    trainer(max_epochs=4, callbacks=[callback]).fit(Losing(), TinyData())
    trial = report(storage)
    assert list(trial.intermediate_values) == [0, 1, 2]
    assert trial.user_attrs == {VALUE: pytest.approx(0.3), PRUNED: 2}


def test_a_metric_that_is_not_logged_is_named(storage: str):
    callback = OptunaPruning(storage, "s", 0, "val/los")
    with pytest.raises(UserError, match="no metric 'val/los' after validation; there are val/loss"):
        trainer(max_epochs=1, callbacks=[callback]).fit(Losing(), TinyData())


def test_no_pruner_never_stops():
    assert isinstance(make_pruner(None), optuna.pruners.NopPruner)
