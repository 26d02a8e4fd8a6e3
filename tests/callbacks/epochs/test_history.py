from math import nan

import pytest
import torch

from callbacks.epochs.history import MetricHistory
from tests.helpers.tiny_module import Tiny, TinyData, trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]


class Scored(Tiny):
    """Logs a score in every second validation alone."""

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", torch.tensor(1.0 + self.current_epoch))
        if self.current_epoch % 2 == 0:
            self.log("val/score", torch.tensor(0.5))

    def test_step(self, batch, batch_idx):
        self.log("test/loss", torch.tensor(7.0))


def test_the_best_is_a_number():
    history = MetricHistory()
    assert history.best("val/f1") is None
    history.validations = [(0, {"val/f1": nan}), (1, {"val/f1": 0.5}), (2, {}), (3, {"val/f1": 0.8})]
    assert history.best("val/f1") == (1, {"val/f1": 0.5})
    assert history.best("val/f1", highest=True) == (3, {"val/f1": 0.8})
    assert history.best("val/other") is None


def test_an_epoch_has_what_was_logged_in_it_and_a_resumed_run_all_epochs():
    history, module, data = MetricHistory(), Scored(), TinyData()
    run = trainer(max_epochs=3, num_sanity_val_steps=1, callbacks=[history])
    run.fit(module, data)
    run.test(module, data, verbose=False)
    assert history.validations == [
        (0, {"val/loss": 1.0, "val/score": 0.5}),
        (1, {"val/loss": 2.0}),
        (2, {"val/loss": 3.0, "val/score": 0.5}),
    ]
    assert history.test == {"test/loss": 7.0}
    resumed = MetricHistory()
    resumed.load_state_dict(history.state_dict())
    assert resumed.validations == history.validations
