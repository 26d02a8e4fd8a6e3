"""Three made-up sources as sample tables, and tasks of them."""

import numpy as np
import pandas as pd
from PIL import Image

from experiments.schema import Task, TaskKind

NAN = float("nan")


def make_tables(root):
    """Three sources of 10 images of 80 x 40 px; the last two images are validation."""
    rng = np.random.default_rng(0)
    tables = {}
    for source in ("chests", "boxed", "findings"):
        paths = []
        for i in range(10):
            paths.append(str(root / f"{source} {i}.png"))
            Image.fromarray(rng.integers(0, 256, (5, 10), np.uint8)).resize((80, 40)).save(paths[-1])
        tables[source] = pd.DataFrame({"image": paths, "patient": paths, "source": source})
        tables[source]["split"] = ["train"] * 8 + ["val"] * 2
    tables["chests"][["a", "b", "c"]] = np.eye(3)[[0, 0, 0, 0, 0, 1, 1, 2, 0, 1]]
    tables["findings"]["x"] = [0, 1] * 5
    tables["findings"]["y"] = [NAN, NAN, 1, 0, 0, 0, 0, 0, NAN, 0]
    tables["findings"].loc[9, "x"] = NAN
    boxes = [np.array([[8, 4, 24, 20], [40, 0, 80, 40]][: i % 3], np.float32).reshape(-1, 4) for i in range(10)]
    tables["boxed"]["boxes"] = pd.Series(boxes, dtype=object)
    return tables


def tasks(**changes):
    made = {
        "first": Task(source="chests", kind=TaskKind.multiclass, labels=["a", "b", "c"], batch_size=3),
        "x": Task(source="findings", labels=["x"], batch_size=2),
        "places": Task(source="boxed", kind=TaskKind.boxes, batch_size=2),
        "y": Task(source="findings", labels=["y"], batch_size=2),
    }
    for name, task in made.items():
        task.name = name
        for key, value in changes.get(name, {}).items():
            setattr(task, key, value)
    return list(made.values())
