import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger

from callbacks.overlays import GradCamOverlays
from experiments.schema import Robustness
from explain.picture import HEIGHT, WIDTH
from tests.helpers.tiny_module import TASK, Tiny, TinyData, trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]


class NumbersAlone(Logger):
    """Takes no pictures."""

    name = version = "numbers"

    def log_metrics(self, metrics, step=None):
        pass

    log_hyperparams = log_metrics


class Album(CSVLogger):
    """A logger that keeps its images."""

    def __init__(self, root):
        super().__init__(root)
        self.images = []

    def log_pictures(self, pictures, at):
        self.images += [(key, at.epoch, picture) for key, picture in pictures.items()]


def test_same_keys_every_epoch_and_no_effect_on_training(tmp_path):
    weights = []
    for number in (0, 4):
        L.seed_everything(3, verbose=False)
        album, module, data = Album(tmp_path), Tiny(), TinyData(test=1)
        callback = GradCamOverlays(Robustness(overlays=number), TASK)
        run = trainer(max_epochs=2, callbacks=[callback], logger=[CSVLogger(tmp_path), album], log_every_n_steps=1)
        run.fit(module, data)
        weights.append(module.state_dict())
        run.test(module, data, verbose=False)
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))
    shown = [(key, step) for key, step, _ in album.images]
    assert shown == [(f"gradcam/{i:02d}", epoch) for epoch in (0, 1) for i in range(4)] + [("gradcam/test/00", 2)]
    assert {(image.shape, image.dtype.name) for *_, image in album.images} == {((HEIGHT, WIDTH, 3), "uint8")}


def test_pairs_are_fixed_and_balanced(tmp_path):
    chosen = []
    for seed in range(2):
        L.seed_everything(seed, verbose=False)  # the run's, which does not matter
        callback = GradCamOverlays(Robustness(overlays=3), TASK, seed=1)
        trainer(callbacks=[callback], logger=Album(tmp_path)).validate(Tiny(), TinyData(val=9), verbose=False)
        chosen.append(callback._chosen["val"])
    assert chosen[0].id == chosen[1].id
    assert len(set(chosen[0].id)) == 3
    labels = chosen[0].label.tolist()  # one each of unknown, 0 and 1
    assert {0.0, 1.0} < set(labels)


def test_a_logger_without_pictures_costs_nothing():
    callback = GradCamOverlays(Robustness(), TASK)
    trainer(callbacks=[callback], logger=NumbersAlone()).validate(Tiny(), TinyData(), verbose=False)
    assert not callback._chosen
