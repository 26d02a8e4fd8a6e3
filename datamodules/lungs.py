"""Chest X-rays with lung masks, for the lung U-Net."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from datamodules.images.augment import seeded, training_transform
from datamodules.images.decode import decode, resize
from datamodules.images.masks import check_fit, read_mask
from datamodules.sources.files import list_images, path_below, read_csv
from experiments.errors import UserError
from experiments.lungs_schema import LungData, LungFolder, LungsExperiment
from experiments.schema import Augment

SPLITS = ("train", "val", "test")


class LungDataModule(LightningDataModule):
    """Loaders of (images (N, 1, S, S) uint8, masks (N, S, S) bool, folder indices (N,) int64).

    Args:
        experiment: The experiment.
        fold: (k, n): of the images that are no test images and whose folder names no split, the k-th of n folds is the
            val split, and the others are trained on; see :func:`deal_folds`.

    Attributes:
        table: After ``setup``: ``image``, ``mask`` (paths), ``patient``, ``split``, ``source`` (the folder's name).
    """

    table: pd.DataFrame

    def __init__(self, experiment: LungsExperiment, fold: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.data = experiment.data
        self.seed = experiment.seed
        self.fold = fold

    def setup(self, stage: str = "fit") -> None:
        """Read the folders.

        Raises:
            UserError: A folder, table, image or mask is missing, or a split that is needed is empty.
        """
        if not self.data.folders:
            raise UserError("data.folders: name at least one folder with images and masks")

        tables = [_read_folder(name, folder) for name, folder in self.data.folders.items()]
        self.table = _draw_splits(pd.concat(tables, ignore_index=True), self.data, self.seed)
        if self.fold is not None:
            self._hold_out(*self.fold)
        elif not self.data.validate:
            self.table["split"] = self.table["split"].replace("val", "train")

        counts = self.table["split"].value_counts()
        for split in ("train", "val") if self.data.validate or self.fold else ("train",):
            if not counts.get(split):
                raise UserError(f"data.folders: no image is in the {split} split; see data.val_fraction or the tables")

    def _hold_out(self, fold: int, count: int) -> None:
        held_out = deal_folds(self.table, self.data, count, self.seed) == fold
        patients = self.table.loc[held_out, "patient"]
        trained = (self.table["split"] != "test") & ~self.table["patient"].isin(patients)
        self.table["split"] = np.select([held_out, trained], ["val", "train"], "test")

    @property
    def has_test(self) -> bool:
        """Whether there is a test split."""
        return bool((self.table["split"] == "test").any())

    def train_dataloader(self) -> DataLoader:
        """Augmented, shuffled; dealt out to the processes."""
        dataset = self._dataset("train", self.data.augment)
        world = self.trainer.world_size if self.trainer else 1
        sampler = DistributedSampler(dataset, world, self.trainer.global_rank) if self.trainer and world > 1 else None
        # batch normalisation cannot learn from what is left over if that is a single image of a batch
        drop = self.data.batch_size > 1 and len(dataset) > self.data.batch_size
        return self._loader(dataset, sampler=sampler, shuffle=sampler is None, drop_last=drop)

    def val_dataloader(self) -> DataLoader:
        """Every image once, whatever the number of processes."""
        return self._loader(self._share(self._dataset("val")))

    def test_dataloader(self) -> DataLoader:
        """Every image once, whatever the number of processes."""
        return self._loader(self._share(self._dataset("test")))

    def _dataset(self, split: str, augment: Augment | None = None) -> LungDataset:
        rows = self.table[self.table["split"] == split]
        if split == "train":
            rows = rows.loc[rows.index.repeat(rows["source"].map(lambda name: self.data.folders[str(name)].repeat))]
        indices = rows["source"].map(list(self.data.folders).index)
        return LungDataset([*rows["image"]], [*rows["mask"]], [*indices], self.data.image_size, augment)

    def _share(self, dataset: Dataset) -> Dataset:
        if not self.trainer or self.trainer.world_size == 1:
            return dataset
        return Subset(dataset, range(self.trainer.global_rank, len(dataset), self.trainer.world_size))  # ty: ignore

    def _loader(self, dataset: Dataset, **options) -> DataLoader:
        workers = self.data.num_workers
        return DataLoader(dataset, self.data.batch_size, num_workers=workers, persistent_workers=workers > 0, **options)


class LungDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """Images with their lungs: ((1, S, S) uint8 image, (S, S) bool mask, folder index).

    Args:
        images: Paths.
        masks: Paths, one an image.
        folders: Index of each image's folder.
        size: Side S.
        augment: Image and mask move together; None: no augmentation.
    """

    def __init__(
        self, images: list[str], masks: list[str], folders: list[int], size: int, augment: Augment | None = None
    ) -> None:
        self.images, self.masks, self.folders, self.size = images, masks, folders, size
        self.transform = None if augment is None else training_transform(augment)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        source, mask = decode(self.images[index]), read_mask(self.masks[index])
        check_fit(mask, self.masks[index], source, self.images[index])
        image = resize(source, self.size)
        lungs = (resize(mask.astype(np.uint8) * 255, self.size) > 127).astype(np.uint8)
        if self.transform is not None:
            seed = int(torch.randint(2**31, ()))  # of this worker's stream, which Lightning seeds
            moved = seeded(self.transform, seed)(image=image, mask=lungs, bboxes=np.zeros((0, 4), np.float32))
            image, lungs = moved["image"], moved["mask"]
        return torch.from_numpy(image.copy())[None], torch.from_numpy(lungs > 0), self.folders[index]


def deal_folds(table: pd.DataFrame, data: LungData, count: int, seed: int) -> np.ndarray:
    """Return folds of whole patients, each with its share of every folder's images.

    Args:
        table: Of :class:`LungDataModule`.
        data: Its settings: a folder that names its split is in no fold, and neither is a test image.
        count: Number of folds.
        seed: Of the draw.

    Returns:
        (rows,) int: 0 to ``count - 1``, or -1 for a row in no fold.

    Raises:
        UserError: Fewer patients than folds, or a single fold.

    Example:
        >>> table = pd.DataFrame({"patient": [*"aabbcc"], "split": ["train"] * 4 + ["test"] * 2, "source": "jsrt"})
        >>> folds = deal_folds(table, LungData(), count=2, seed=0)
        >>> bool(folds[0] == folds[1] != folds[2] == folds[3]), folds[4:].tolist()
        (True, [-1, -1])
    """
    pinned = [name for name, folder in data.folders.items() if folder.split is not None]
    rows = np.flatnonzero((table["split"] != "test") & ~table["source"].isin(pinned))
    patients = table["patient"].iloc[rows]
    if not 2 <= count <= patients.nunique():
        raise UserError(
            f"--folds: {count} folds of {patients.nunique()} patients; at least 2 folds, and a patient for each"
        )

    folds = np.full(len(table), -1)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # a folder with few images
        for fold, (_, held_out) in enumerate(splitter.split(rows, table["source"].iloc[rows], patients)):
            folds[rows[held_out]] = fold
    return folds


def _read_folder(name: str, folder: LungFolder) -> pd.DataFrame:
    key, root = f"data.folders.{name}", folder.folder
    if not root.is_dir():
        raise UserError(f"{key}.root: no folder {root}; set it, or data.root, to where the data set lies")
    if folder.repeat < 1:
        raise UserError(f"{key}.repeat: must be 1 or more, is {folder.repeat}")
    if folder.split is not None and folder.split not in SPLITS:
        raise UserError(f"{key}.split: takes {', '.join(SPLITS)} or null, not {folder.split!r}")

    read = _match_by_name if folder.table is None else _read_pairs
    table = read(key, root, folder)
    if table.empty:
        raise UserError(f"{key}: no image in {root / folder.images} has a mask in {root / folder.masks}")
    if folder.split is not None:
        table["split"] = folder.split
    return table.assign(source=name)


def _match_by_name(key: str, root: Path, folder: LungFolder) -> pd.DataFrame:
    suffix = folder.mask_suffix
    masks = {Path(name).stem: path for name, path in list_images(root / folder.masks).items()}
    masks = {stem.removesuffix(suffix): path for stem, path in masks.items() if stem.endswith(suffix)}
    images = sorted((Path(name).stem, path) for name, path in list_images(root / folder.images).items())
    if folder.variants:
        images = [(re.sub(r"_\d+$", "", stem), path) for stem, path in images]
    rows = [(path, masks[stem], f"{key}/{stem}", None) for stem, path in images if stem in masks]
    return pd.DataFrame(rows, columns=["image", "mask", "patient", "split"])


def _read_pairs(key: str, root: Path, folder: LungFolder) -> pd.DataFrame:
    path = root / str(folder.table)
    if not path.is_file():
        raise UserError(f"{key}.table: no file {path}")
    rows = read_csv(path, ["image", "mask"], optional=["split", "patientid"])
    for column in ("image", "mask"):
        blank = rows[column].isna()
        if blank.any():
            raise UserError(f"{path}, line {int(blank.to_numpy().argmax()) + 2}: {column} is blank")
    rows = rows[[Path(image).is_relative_to(folder.images) for image in rows["image"]]].copy()
    lines = rows.index.to_numpy() + 2
    unknown = key + "/" + rows["image"].astype("str")  # each a patient of its own, wherever the root lies

    # files
    for column in ("image", "mask"):
        rows[column] = [
            str(path_below(root, name, f"{path}, line {line}")) for line, name in zip(lines, rows[column], strict=True)
        ]
        missing = [name for name in rows[column] if not Path(name).is_file()]
        if missing:
            raise UserError(
                f"{path}: {len(missing)} files of column {column!r} do not exist, the first is {missing[0]}"
            )

    # split and patient, where the table names them
    split = rows.get("split", pd.Series(None, rows.index, dtype=object))
    wrong = split[split.notna() & ~split.isin(SPLITS)]
    if len(wrong):
        raise UserError(
            f"{path}: column 'split', line {wrong.index[0] + 2}: takes {', '.join(SPLITS)}, not {wrong.iloc[0]!r}"
        )
    patient = rows.get("patientid", unknown).fillna(unknown)
    return pd.DataFrame({"image": rows["image"], "mask": rows["mask"], "patient": patient, "split": split})


def _draw_splits(table: pd.DataFrame, data: LungData, seed: int) -> pd.DataFrame:
    """Give the rows without a split one, patient by patient."""
    for name in ("val_fraction", "test_fraction"):
        if not 0 <= getattr(data, name) < 1:
            raise UserError(f"data.{name}: must be at least 0 and below 1, is {getattr(data, name)}")

    # a patient that has a split somewhere keeps it everywhere
    open_rows = table["split"].isna()
    splits = table[~open_rows].drop_duplicates("patient").set_index("patient")["split"].to_dict()
    patients = np.array(sorted(set(table.loc[open_rows, "patient"]) - splits.keys()), dtype=object)

    # the others are shuffled: the first are val, then test, then train
    np.random.default_rng(seed).shuffle(patients)
    val, test = (round(len(patients) * share) for share in (data.val_fraction, data.test_fraction))
    drawn = ["val"] * val + ["test"] * test
    splits |= dict(zip(patients, drawn + ["train"] * max(0, len(patients) - len(drawn)), strict=False))
    table.loc[open_rows, "split"] = table.loc[open_rows, "patient"].map(splits)
    return table
