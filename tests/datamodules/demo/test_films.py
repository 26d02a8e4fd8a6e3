from collections import defaultdict
from pathlib import Path

import numpy as np

from tests.helpers.demo_files import covidx, grey


def test_the_file_format_says_nothing_about_the_class(demo):
    for split in ("train", "val", "test"):
        jpeg = defaultdict(list)
        for _, name, label, _ in covidx(demo, split):
            jpeg[label].append(Path(name).suffix != ".png")
        for flags in jpeg.values():
            assert abs(2 * sum(flags) - len(flags)) <= 1


def test_the_printed_page_is_a_shortcut_in_training_and_not_in_test(demo):
    def share(split: str, covid: bool) -> float:
        folder = demo / "covidx" / ("test" if split == "test" else "train")
        rows = [name for _, name, label, _ in covidx(demo, split) if (label == "COVID-19") == covid]
        return float(np.mean([grey(folder / name)[0].mean() > 225 for name in rows]))  # its white frame

    assert share("train", True) - share("train", False) > 0.6
    assert abs(share("test", True) - share("test", False)) < 0.4
