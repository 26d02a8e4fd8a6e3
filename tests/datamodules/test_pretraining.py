from pathlib import Path

import torch

from datamodules.pretraining import PretrainDataModule
from experiments.load import SHIPPED, load_pretrain_experiment


def test_two_different_views_of_each_film_and_the_same_ones_again(demo_data: Path):
    settings = [f"data.root={demo_data}", "data.image_size=32", "data.num_workers=0", "batch_size=4"]
    data = PretrainDataModule(load_pretrain_experiment(SHIPPED / "pretrain.yaml", settings))
    data.setup()
    first, again = (next(iter(data.train_dataloader())) for _ in range(2))
    assert first.shape == (4, 2, 1, 32, 32)
    assert first.dtype is torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first[:, 0], first[:, 1])

    # every image of every source's training split, once; nobody of a test split
    tables = data.tables.values()
    trained = {path.decode() for path in data.group.images[data.group.rows("train")]}
    assert trained == {image for table in tables for image in table.loc[table["split"] == "train", "image"]}
    assert sum(len(batch) for batch in data.val_dataloader()) <= len(data.group.rows("val"))
