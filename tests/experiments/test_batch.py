import torch
from torch.utils.data import default_collate

from experiments.batch import Pair


def test_pairs_of_a_data_set_become_a_batch_of_pairs():
    images = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2)
    lung = torch.tensor([[True, False], [False, True]])
    items = [Pair(image, image + 1, torch.tensor(n), lung, f"{n}.png") for n, image in enumerate(images)]
    batch = default_collate(items)
    assert isinstance(batch, Pair)
    assert torch.equal(batch.received, images + 1)
    assert (batch.label.tolist(), batch.lung.shape, list(batch.id)) == ([0, 1], (2, 2, 2), ["0.png", "1.png"])
