"""Chest X-rays with lung masks, for the lung U-Net."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from sklearn.model_selection import StratifiedGroupKFold
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from datamodules.images.augment import seeded, training_transform
from datamodules.images.decode import decode, resize
from datamodules.images.mask_files import Areas, check_fit, join_masks, read_mask
from datamodules.images.sockets import shorten_socket_paths
from datamodules.poses import draw_pose
from datamodules.sources.files import list_images, path_below, read_csv
from experiments.batch import LungBatch
from experiments.errors import UserError
from experiments.lungs.masks import MaskLevels, native_convention
from experiments.lungs_schema import LungData, LungFolder, LungsExperiment
from experiments.schema import Augment

SPLITS = ("train", "val", "test")


class LungDataModule(LightningDataModule):
    """Loaders of :class:`~experiments.batch.LungBatch`.

    Args:
        experiment: The experiment.
        fold: (k, n): of the images that are no test images and whose folder names no split, the k-th of n folds is the
            val split, and the others are trained on; see :func:`deal_folds`.

    Attributes:
        table: After ``setup``: ``image``, ``mask`` (paths), ``truth`` (:class:`LungFiles`), ``patient``, ``split``,
            ``source`` (the folder's name).
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
        self.read_table()
        if self.fold is not None:
            self._hold_out(*self.fold)
        elif not self.data.validate:
            self.table["split"] = self.table["split"].replace("val", "train")

        counts = self.table["split"].value_counts()
        for split in ("train", "val") if self.data.validate or self.fold else ("train",):
            if not counts.get(split):
                raise UserError(f"data.folders: no image is in the {split} split; see data.val_fraction or the tables")

    def read_table(self) -> None:
        """Read the folders, whatever splits they have.

        Raises:
            UserError: A folder, table, image or mask is missing.
        """
        if not self.data.folders:
            raise UserError("data.folders: name at least one folder with images and masks")
        tables = [read_lung_folder(name, folder) for name, folder in self.data.folders.items()]
        self.table = _draw_splits(pd.concat(tables, ignore_index=True), self.data, self.seed)

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
        dataset = self._dataset("train", self.data.augment, self.data.not_upright)
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

    def _dataset(self, split: str, augment: Augment | None = None, not_upright: float = 0.0) -> LungDataset:
        rows = self.table[self.table["split"] == split]
        if split == "train":
            rows = rows.loc[rows.index.repeat(rows["source"].map(lambda name: self.data.folders[str(name)].repeat))]
        rows = rows.assign(folder=rows["source"].map(list(self.data.folders).index))
        return LungDataset(rows, self.data.image_size, augment, not_upright)

    def _share(self, dataset: Dataset) -> Dataset:
        if not self.trainer or self.trainer.world_size == 1:
            return dataset
        return Subset(dataset, range(self.trainer.global_rank, len(dataset), self.trainer.world_size))  # ty: ignore

    def _loader(self, dataset: Dataset, **options) -> DataLoader:
        workers = self.data.num_workers
        if workers:
            shorten_socket_paths()
        return DataLoader(dataset, self.data.batch_size, num_workers=workers, persistent_workers=workers > 0, **options)


class LungFiles(NamedTuple):
    """The files that say where the lungs of an image are.

    Attributes:
        masks: Of the lungs, or of each lung.
        heart: Of the heart; None: it is unknown, or drawn in the masks.
        levels: Which grey levels of the masks are lungs and heart; None: they have two.
        native: The convention that the lungs are drawn in, ``in`` or ``out``.
    """

    masks: tuple[str, ...]
    heart: str | None = None
    levels: MaskLevels | None = None
    native: str = "in"

    def read(self, image: np.ndarray, image_file: str) -> Areas:
        """Return lungs and heart at the masks' own size.

        Raises:
            UserError: A mask that cannot be read, is not plain, or does not lie on the image (H, W).
        """
        areas = join_masks([Path(mask) for mask in self.masks], self.levels)._replace(native=self.native)
        check_fit(areas.lungs, self.masks[0], image, image_file)
        if self.heart is None:
            return areas
        heart = read_mask(self.heart)
        if heart.shape != areas.lungs.shape:
            raise UserError(f"{self.heart}: its size differs from that of the lung mask {self.masks[0]}")
        return areas._replace(heart=heart)


class LungDataset(Dataset[LungBatch]):
    """Images with their lungs and hearts, one a time: the parts of :class:`~experiments.batch.LungBatch` without N.

    Args:
        table: ``image`` (paths), ``truth`` (:class:`LungFiles`) and ``folder`` (index).
        size: Side S.
        augment: Image and masks move together; None: no augmentation.
        not_upright: The share of images that are turned, made negatives or replaced.
    """

    def __init__(
        self, table: pd.DataFrame, size: int, augment: Augment | None = None, not_upright: float = 0.0
    ) -> None:
        self.rows = list(table[["image", "truth", "folder"]].itertuples(index=False, name=None))
        self.size, self.not_upright = size, not_upright
        self.transform = None if augment is None else training_transform(augment)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> LungBatch:
        # the film; lungs and heart are bits of one mask, so that they move together
        image_file, truth, folder = self.rows[index]
        source = decode(image_file)
        areas = truth.read(source, image_file)
        image, mask = resize(source, self.size), self._shrink(areas.lungs)
        if areas.heart is not None:
            mask += 2 * self._shrink(areas.heart)

        # what training changes, drawn from this worker's stream, which Lightning seeds
        pose = 0
        if self.transform is not None:
            seed = int(torch.randint(2**31, ()))
            moved = seeded(self.transform, seed)(image=image, mask=mask, bboxes=np.zeros((0, 4), np.float32))
            image, mask = moved["image"], moved["mask"]
            rng = np.random.default_rng(seed)
            if rng.random() < self.not_upright:
                image, pose = draw_pose(image, rng)

        return LungBatch(
            torch.from_numpy(image.copy())[None],
            torch.from_numpy(mask & 1 > 0),
            torch.tensor(folder),
            torch.from_numpy(mask & 2 > 0),
            torch.tensor(areas.heart is not None),
            torch.tensor(pose),
        )

    def _shrink(self, mask: np.ndarray) -> np.ndarray:
        return (resize(mask.astype(np.uint8) * 255, self.size) > 127).astype(np.uint8)


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


def read_lung_folder(name: str, folder: LungFolder) -> pd.DataFrame:
    """Return the images of a folder that have a mask.

    Args:
        name: What the settings call it.
        folder: Its settings.

    Returns:
        The columns of :attr:`LungDataModule.table`; ``split`` is None where the folder names none.

    Raises:
        UserError: A folder, table, image or mask is missing, or no image has a mask.
    """
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
    truth = [_truth(key, root, folder, Path(mask)) for mask in table["mask"]]
    table["truth"] = pd.Series(truth, table.index, dtype=object)
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


def _truth(key: str, root: Path, folder: LungFolder, mask: Path) -> LungFiles:
    """Return a mask with the files of its name in the folders of the other lung's masks and of hearts."""
    others = [root / other / mask.name for other in folder.other_masks]
    heart = None if folder.hearts is None else root / folder.hearts / mask.name
    for path in [*others, *([] if heart is None else [heart])]:
        if not path.is_file():
            raise UserError(f"{key}: {mask} has no counterpart {path}")
    native = native_convention(folder.levels, folder.drawn)
    return LungFiles((str(mask), *map(str, others)), None if heart is None else str(heart), folder.levels, native)


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
