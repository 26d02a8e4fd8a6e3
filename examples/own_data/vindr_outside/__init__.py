"""VinDr-CXR as a data set of an outside package: its settings, and its sample table."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidmt import Source, UserError


@dataclass
class VindrOutside(Source):
    """DICOM files in ``train/`` and ``test/``, boxes in ``annotations/annotations_<split>.csv``.

    Attributes:
        readers: How many radiologists must have marked a finding.
    """

    kind: str = "vindr_outside"
    readers: int = 2

    def read(self, name, patients, notes) -> pd.DataFrame:
        """Return a row an image: its file, split, a column a label, its boxes."""
        return pd.concat([self._read_split(split) for split in ("train", "test")], ignore_index=True)

    def _read_split(self, split: str) -> pd.DataFrame:
        path = self.folder / "annotations" / f"annotations_{split}.csv"
        if not path.is_file():
            raise UserError(f"data.sources: {path}: no such file; VinDr-CXR has it there")
        marks = pd.read_csv(path)
        marks, needed = (marks, self.readers) if "rad_id" in marks else (marks.assign(rad_id="consensus"), 1)

        # labels: 1 or 0; an unknown one would be NaN
        counts = marks.groupby(["image_id", "class_name"])["rad_id"].nunique().unstack(fill_value=0)
        rows = (counts.drop(columns="No finding", errors="ignore") >= needed).astype(float)

        # boxes in pixels of the file; an image without any has none
        boxed = marks.dropna(subset="x_min").groupby("image_id")[["x_min", "y_min", "x_max", "y_max"]]
        boxes = {image: corners.to_numpy(np.float32) for image, corners in boxed}
        rows["boxes"] = pd.Series({image: boxes.get(image) for image in rows.index}, dtype=object)
        rows["image"] = pd.Series({image: str(self.folder / split / f"{image}.dicom") for image in rows.index})
        return rows.assign(split=split).reset_index(drop=True)
