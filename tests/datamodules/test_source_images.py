from pathlib import Path

import numpy as np

from datamodules.images.decode import decode
from datamodules.source_images import SourceImages
from experiments.load import SHIPPED, load_experiment


def test_every_image_of_the_table_once_in_its_order(demo_data: Path):
    settings = [f"data.root={demo_data}", "data.image_size=32", "data.num_workers=0"]
    data = SourceImages(load_experiment(SHIPPED / "demo.yaml", settings), "covidx")
    data.setup()
    images = np.concatenate([batch.images.numpy() for batch in data.loader(batch_size=7)])
    assert len(images) == len(data.table) == data.table["image"].nunique()
    assert set(data.table["split"]) == {"train", "val", "test"}
    first = data.dataset.input(decode(data.table["image"][3]), "")
    np.testing.assert_array_equal(images[3, 0], first)
    assert data.images(["test"]) == []  # no masks are needed

    data.leave_out(data.table["image"].tolist()[:2])
    assert len(np.concatenate([batch.images.numpy() for batch in data.loader(8)])) == len(images) - 2
