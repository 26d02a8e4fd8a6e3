import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from datamodules.images.decode import decode
from datamodules.lungs import LungDataModule, read_lung_folder
from experiments.errors import UserError
from experiments.lungs.masks import MaskLevels
from experiments.lungs_schema import LungData, LungFolder, LungsExperiment
from experiments.schema import Augment


def module(folders: dict[str, LungFolder], **data: Any) -> LungDataModule:
    settings: dict[str, Any] = {"image_size": 64, "num_workers": 0, **data}
    return LungDataModule(LungsExperiment(name="test", data=LungData(folders=folders, **settings)))


def write_pairs(root: Path, stems: list[str], size: tuple[int, int] = (40, 48)) -> LungFolder:
    """White rectangles on black, whose mask is the rectangle itself."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i, stem in enumerate(stems):
        image = np.zeros(size, np.uint8)
        image[10:25, 12 : 20 + i % 10] = 255
        cv2.imwrite(str(root / "images" / f"{stem}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{stem}.png"), image)
    return LungFolder(root=str(root))


def test_the_demo_sets_table_gives_its_splits(demo_data):
    data = module({"lungs": LungFolder(root=str(demo_data / "lungs"), table="pairs.csv")}, batch_size=3)
    data.setup()
    assert set(data.table["split"]) == {"train", "val", "test"}
    assert data.has_test
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (3, 1, 64, 64)
    assert batch.lungs.shape == batch.hearts.shape == (3, 64, 64)
    assert str(batch.images.dtype) == "torch.uint8"
    assert str(batch.lungs.dtype) == "torch.bool"
    assert batch.folders.tolist() == batch.poses.tolist() == [0, 0, 0]
    assert not batch.has_heart.any()
    assert 0.1 < batch.lungs.float().mean() < 0.5


def test_image_and_mask_move_together(tmp_path):
    augment = Augment(hflip=0.5, intensity=0.0)
    data = module({"a": write_pairs(tmp_path, [f"{i}" for i in range(30)], (64, 64))}, augment=augment)
    data.setup()
    for batch in data.train_dataloader():
        disagree = ((batch.images[0, 0] > 127) ^ batch.lungs[0]).float().mean()
        assert disagree < 0.02  # interpolation at the rectangle's edge


def test_splits_are_drawn_by_patient_and_by_seed(tmp_path):
    folder = write_pairs(tmp_path, [f"{i}" for i in range(20)])
    lines = [f"images/{i}.png,masks/{i}.png,{i // 2}\n" for i in range(20)]
    (tmp_path / "table.csv").write_text("image,mask,patientid\n" + "".join(lines))
    folder.table = "table.csv"
    data = module({"a": folder}, val_fraction=0.2, test_fraction=0.3)
    data.setup()
    assert data.table["split"].value_counts().to_dict() == {"train": 10, "test": 6, "val": 4}
    assert (data.table.groupby("patient")["split"].nunique() == 1).all()
    again = module({"a": folder}, val_fraction=0.2, test_fraction=0.3)
    again.setup()
    assert again.table.equals(data.table)


def patients(root: Path, count: int, each: int, prefix: str = "") -> LungFolder:
    """A folder with a table: ``each`` images of every patient, the last patient's in the test split."""
    stems = [f"{prefix}{i}-{j}" for i in range(count) for j in range(each)]
    folder = write_pairs(root, stems)
    lines = [
        f"images/{s}.png,masks/{s}.png,{s[:-2]},{'test' if s[:-2] == f'{prefix}{count - 1}' else ''}\n" for s in stems
    ]
    (root / "table.csv").write_text("image,mask,patientid,split\n" + "".join(lines))
    folder.table = "table.csv"
    return folder


def test_folds_hold_every_image_once_and_no_patient_on_both_sides(tmp_path):
    own = patients(tmp_path / "own", 8, 3)
    other = patients(tmp_path / "other", 9, 1, prefix="x")
    made = write_pairs(tmp_path / "made", ["a", "b"])
    made.split = "train"
    held_out: list[str] = []
    for fold in range(4):
        data = module({"own": own, "other": other, "made": made}, test_fraction=0.0)
        data.fold = (fold, 4)
        data.setup()
        sides = data.table.groupby("split")["patient"].agg(set)
        assert not sides["train"] & sides["val"]
        assert not (sides["train"] | sides["val"]) & {"7", "x8"}  # test patients
        assert set(data.table.loc[data.table["source"] == "made", "split"]) == {"train"}
        val = data.table[data.table["split"] == "val"]
        assert set(val["source"]) == {"own", "other"}  # each folder has its share
        held_out += val["image"].tolist()
    assert len(held_out) == len(set(held_out)) == 7 * 3 + 8


def test_a_patient_of_a_pinned_folder_is_not_trained_on_when_held_out(tmp_path):
    own, pinned = patients(tmp_path / "own", 4, 2), patients(tmp_path / "pinned", 4, 2)
    (tmp_path / "pinned/table.csv").write_text((tmp_path / "pinned/table.csv").read_text().replace(",test", ","))
    pinned.split = "train"
    data = module({"own": own, "pinned": pinned}, test_fraction=0.0)
    data.fold = (0, 3)
    data.setup()
    sides = data.table.groupby("split")["patient"].agg(set)
    assert not sides["train"] & sides["val"]


def test_too_many_folds_are_named(tmp_path):
    data = module({"own": patients(tmp_path, 4, 2)}, test_fraction=0.0)
    data.fold = (0, 4)
    with pytest.raises(UserError, match="4 folds of 3 patients"):
        data.setup()


def test_a_final_training_takes_the_validation_images_too_and_repeats_a_folder(tmp_path):
    folder = write_pairs(tmp_path, [f"{i}" for i in range(10)])
    folder.repeat = 3
    data = module({"a": folder}, validate=False, val_fraction=0.2, test_fraction=0.2, batch_size=4)
    data.setup()
    assert data.table["split"].value_counts().to_dict() == {"train": 8, "test": 2}
    assert len(data.train_dataloader()) == 8 * 3 // 4
    assert sum(len(images) for images, *_ in data.test_dataloader()) == 2
    folder.repeat = 0
    with pytest.raises(UserError, match=r"data\.folders\.a\.repeat"):
        data.setup()


def test_masks_of_ones_are_read(tmp_path):
    data = module({"a": write_pairs(tmp_path, ["1", "2", "3", "4"])}, val_fraction=0.5, test_fraction=0)
    data.setup()
    wanted = [batch.lungs for batch in data.val_dataloader()]
    for path in (tmp_path / "masks").iterdir():
        cv2.imwrite(str(path), decode(path) // 255)
    assert all(torch.equal(a, b.lungs) for a, b in zip(wanted, data.val_dataloader(), strict=True))


def test_splits_do_not_depend_on_where_the_data_set_lies(tmp_path):
    splits = []
    for name in ("here", "elsewhere"):
        folder = write_pairs(tmp_path / name, [f"{i}" for i in range(20)])
        rows = "".join(f"images/{i}.png,masks/{i}.png\n" for i in range(20))
        (tmp_path / name / "table.csv").write_text(f"image,mask\n{rows}")
        folder.table = "table.csv"
        data = module({"a": folder}, val_fraction=0.2)
        data.setup()
        splits.append(data.table["split"].tolist())
    assert splits[0] == splits[1]


def test_a_folder_can_be_for_testing_alone(tmp_path):
    folders = {"a": write_pairs(tmp_path / "a", [f"{i}" for i in range(10)])}
    folders["b"] = write_pairs(tmp_path / "b", ["x", "y"])
    folders["b"].split = "test"
    data = module(folders, test_fraction=0.0)
    data.setup()
    assert [batch[2].tolist() for batch in data.test_dataloader()] == [[1], [1]]
    assert len(data.train_dataloader()) == 9


def test_several_images_of_a_mask_stay_together(tmp_path):
    """The layout of Tang et al.: <name>_mask.png and <name>_0.png ... in one folder; what has no mask is no row."""
    for name in ("a_1", "b", "c"):
        cv2.imwrite(str(tmp_path / f"{name}_mask.png"), np.full((8, 8), 255, np.uint8))
        for number in range(3):
            cv2.imwrite(str(tmp_path / f"{name}_{number}.png"), np.zeros((8, 8), np.uint8))
    cv2.imwrite(str(tmp_path / "d_0.png"), np.zeros((8, 8), np.uint8))
    folder = LungFolder(root=str(tmp_path), images=".", masks=".", mask_suffix="_mask", variants=True)
    data = module({"a": folder}, val_fraction=0.34, test_fraction=0.0)
    data.setup()
    table = data.table
    assert len(table) == 9
    assert (table.groupby("patient")["split"].nunique() == 1).all()
    assert table["split"].value_counts().to_dict() == {"train": 6, "val": 3}
    stems = table["image"].map(lambda path: Path(path).stem)
    masks = table["mask"].map(lambda path: Path(path).stem.removesuffix("_mask"))
    assert all(image.rpartition("_")[0] == mask for image, mask in zip(stems, masks, strict=True))


def test_mistakes_are_named(tmp_path):
    def message(folders: dict[str, LungFolder], **data) -> str:
        with pytest.raises(UserError) as caught:
            module(folders, **data).setup()
        return str(caught.value)

    folder = write_pairs(tmp_path / "a", ["1", "2", "3"])
    assert "data.folders" in message({})
    assert "data.folders.a.root" in message({"a": LungFolder(root=str(tmp_path / "none"))})
    assert "split" in message({"a": LungFolder(root=folder.root, split="testing")})
    assert "no file" in message({"a": LungFolder(root=folder.root, table="pairs.csv")})
    assert "val_fraction" in message({"a": folder}, val_fraction=1.5)
    assert "val split" in message({"a": folder}, val_fraction=0.0)
    (tmp_path / "a/pairs.csv").write_text("image,mask,split\nimages/1.png,masks/9.png,train\n")
    assert "9.png" in message({"a": LungFolder(root=folder.root, table="pairs.csv")})
    (tmp_path / "a/pairs.csv").write_text("image,mask,split\nimages/1.png,masks/1.png,training\n")
    assert "line 2" in message({"a": LungFolder(root=folder.root, table="pairs.csv")})
    shutil.rmtree(tmp_path / "a/masks")
    assert "has a mask" in message({"a": folder})


def test_a_mask_of_another_shape_is_refused(tmp_path):
    folder = write_pairs(tmp_path, ["1", "2", "3"])
    for path in (tmp_path / "masks").iterdir():
        cv2.imwrite(str(path), np.zeros((40, 80), np.uint8))
    data = module({"a": folder}, val_fraction=0.4, test_fraction=0.0)
    data.setup()
    with pytest.raises(UserError, match="80x40"):
        next(iter(data.val_dataloader()))


def test_hearts_move_with_the_lungs_and_are_known_where_a_folder_has_them(tmp_path):
    """The heart is the right half of each rectangle; a second folder has none."""
    own, other = write_pairs(tmp_path / "own", ["1", "2", "3"]), write_pairs(tmp_path / "other", ["4", "5", "6"])
    (tmp_path / "own/heart").mkdir()
    for path in (tmp_path / "own/masks").iterdir():
        heart = decode(path).copy()
        heart[:, :16] = 0
        cv2.imwrite(str(tmp_path / "own/heart" / path.name), heart)
    own.hearts = "heart"
    data = module({"own": own, "other": other}, validate=False, test_fraction=0.0, batch_size=6)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert (batch.has_heart == (batch.folders == 0)).all()
    assert (batch.hearts.flatten(1).any(dim=1) == batch.has_heart).all()
    assert not (batch.hearts & ~batch.lungs).any()
    (tmp_path / "own/heart/1.png").unlink()
    with pytest.raises(UserError, match=r"has no counterpart .*heart/1\.png"):
        data.setup()


def test_left_and_right_lungs_of_two_folders_are_joined_and_levels_are_read(tmp_path):
    folder = write_pairs(tmp_path, ["1", "2"])
    (tmp_path / "right").mkdir()
    for name in ("1.png", "2.png"):
        right = np.zeros((40, 48), np.uint8)
        right[10:25, 30:40] = 255
        cv2.imwrite(str(tmp_path / "right" / name), right)
    folder.other_masks = ["right"]
    files = read_lung_folder("a", folder)["truth"].iloc[0]
    image = np.zeros((40, 48), np.uint8)
    assert int(files.read(image, "1.png").lungs.sum()) == 15 * (8 + 10)

    levels = np.zeros((40, 48), np.uint8)
    levels[10:25, 12:20], levels[10:25, 30:40], levels[10:25, 20:30] = 1, 2, 3
    cv2.imwrite(str(tmp_path / "masks/1.png"), levels)
    folder.other_masks, folder.levels = [], MaskLevels(lungs=[1, 2], heart=3)
    files = read_lung_folder("a", folder)["truth"].iloc[0]
    areas = files.read(image, "1.png")
    assert files.native == "out"
    assert (int(areas.lungs.sum()), int(areas.heart.sum())) == (15 * 18, 15 * 10)


def test_a_share_of_the_training_images_is_not_upright(tmp_path):
    data = module({"a": write_pairs(tmp_path, [f"{i}" for i in range(40)])}, not_upright=0.5, batch_size=36)
    data.setup()
    torch.manual_seed(0)
    poses = next(iter(data.train_dataloader())).poses
    assert 8 <= int((poses > 0).sum()) <= 28
    assert not next(iter(data.val_dataloader())).poses.any()
