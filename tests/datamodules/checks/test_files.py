from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from datamodules.checks.files import find_boxes_outside, find_duplicates, open_files


def test_what_files_tell(tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((40, 30))
    for name in ("a.png", "same.bmp"):
        image.save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no image")
    names = [str(tmp_path / name) for name in ("a.png", "same.bmp", "broken.png")]
    boxes = [np.array([[0, 0, 39, 29]]), np.array([[0, 0, 80, 29]]), np.zeros((0, 4))]
    table = pd.DataFrame({"image": names, "split": ["train", "test", "train"], "boxes": boxes, "sick": 1.0})

    files = open_files({"own": table}, None, lambda items, total: items)
    assert files["format"].tolist() == ["PNG", "BMP", ""]
    assert files["size"].tolist() == ["40x30", "40x30", ""]
    assert "broken.png" in files["problem"][2]
    assert find_duplicates(files).iloc[0].tolist() == [
        "across splits", 2, "own", "test, train", ["own/a.png", "own/same.bmp"],
    ]  # fmt: skip
    assert find_boxes_outside({"own": table}, files) == [names[1]]
    framed = table.assign(frame=[(80, 60)] * 3)  # 40x30 is a scaled copy of it
    assert find_boxes_outside({"own": framed}, files) == []
    assert find_boxes_outside({"own": table.assign(frame=[(60, 60)] * 3)}, files) == names[:2]
