import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datamodules.images.cache
from datamodules.images.cache import ImageCache
from datamodules.images.decode import decode, resize
from experiments.errors import UserError
from tests.conftest import REPO

FILL = """
import sys, datamodules.images.cache as cache
cache.SAVE_SECONDS = 0
print(cache.ImageCache(sys.argv[1], "chests", 48).fill(sorted(sys.argv[2:]), processes=1))
"""


def write_images(folder: Path, count: int, side: int = 64) -> list[str]:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    paths = [str(folder / f"{i:03d}.{'jpg' if i % 2 else 'png'}") for i in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (side, side + 20), np.uint8)).save(path)
    return paths


def same(cache: ImageCache, paths: list[str]) -> bool:
    view = cache.view(paths)
    assert [tuple(shape) for shape in view.shapes] == [decode(path).shape for path in paths]
    return all(np.array_equal(view[i], resize(decode(path), cache.size)) for i, path in enumerate(paths))


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return write_images(tmp_path / "images", 6)


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "cache", "chests", 48)


def start(cache: ImageCache, paths: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-c", FILL, str(cache.pixels.parent), *paths]
    return subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True)


def test_the_same_bits_and_each_image_once(cache, paths):
    assert cache.fill(paths[:4]) == 4
    assert cache.fill(paths, processes=2) == 2
    written = cache.index.stat().st_ino
    cache.pixels.with_suffix(".lock").unlink()
    assert cache.fill(paths) == 0
    assert cache.index.stat().st_ino == written
    assert not cache.pixels.with_suffix(".lock").exists()  # a cache that one may only read is not locked
    assert same(cache, paths[::-1])


def test_real_dicom_and_png(cache, mini_cxr):
    paths = [str(min((mini_cxr / "rsna/stage_2_train_images").iterdir()))]
    paths += [str(min((mini_cxr / folder).iterdir())) for folder in ("nih/images_001/images", "covidx/train")]
    cache.fill(paths)
    assert same(cache, paths)


def test_a_changed_image_is_decoded_anew(cache, paths):
    cache.fill(paths)
    shutil.copyfile(paths[2], paths[0])
    assert cache.fill(paths) == 1
    assert same(cache, paths)


def test_a_moved_data_set_is_not_decoded_again(cache, paths, tmp_path):
    cache.fill(paths)
    before = cache.pixels.stat().st_mtime_ns
    shutil.move(tmp_path / "images", tmp_path / "moved")
    moved = [path.replace("/images/", "/moved/") for path in paths]
    assert cache.fill(moved) == 6
    assert cache.pixels.stat().st_mtime_ns == before
    assert same(cache, moved)


def test_on_a_full_disk_a_moved_data_set_is_taken_and_a_new_image_is_not(cache, paths, tmp_path, monkeypatch):
    cache.fill(paths)
    state = os.statvfs(cache.pixels.parent)
    full = os.statvfs_result((*state[:3], 1, 0, *state[5:]))  # a page is left, and that for root
    monkeypatch.setattr(os, "statvfs", lambda place: full)
    shutil.move(tmp_path / "images", tmp_path / "moved")
    moved = [path.replace("/images/", "/moved/") for path in paths]
    assert cache.fill(moved) == 6
    assert same(cache, moved)
    with pytest.raises(UserError, match=r"data.cache: 2 images of 48 px take 8.2 kB, but .* has 0 bytes left"):
        cache.fill([*moved, *write_images(tmp_path / "new", 2, side=70)])


def test_another_decoder_has_another_file(cache, paths, monkeypatch):
    cache.fill(paths)
    monkeypatch.setattr(datamodules.images.cache, "DECODER", "another")
    with pytest.raises(UserError, match="not in this cache"):
        ImageCache(cache.pixels.parent, "chests", 48).view(paths)


def test_broken_images_are_all_named_and_the_others_kept(cache, paths):
    Path(paths[1]).write_bytes(b"no image")
    Path(paths[4]).unlink()
    with pytest.raises(UserError) as error:
        cache.fill(paths)
    assert paths[1] in str(error.value)
    assert f"{paths[4]}: no such image file" in str(error.value)
    for path in (paths[1], paths[4]):
        shutil.copyfile(paths[0], path)
    assert cache.fill(paths) == 2
    assert same(cache, paths)


def test_killed_it_goes_on_where_it_was(cache, tmp_path):
    paths = write_images(tmp_path / "many", 150, side=300)
    process = start(cache, paths)
    while process.poll() is None and (not cache.index.exists() or len(np.load(cache.index)) < 20):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 0 < cache.fill(paths) <= 130
    assert same(cache, paths)


def test_two_jobs_at_once_decode_each_image_once(cache, tmp_path):
    paths = write_images(tmp_path / "many", 40)
    jobs = [start(cache, paths) for _ in range(2)]
    counts = sorted(int(job.communicate()[0].split()[-1]) for job in jobs)
    assert counts == [0, 40]
    assert same(cache, paths)


def test_damage_is_noticed_and_repaired(cache, paths):
    cache.fill(paths)
    with cache.pixels.open("r+b") as file:
        file.seek(int(cache.view(paths).rows[3]) * 4096 + 7)
        file.write(bytes([file.read(1)[0] ^ 1]))
    view = cache.view(paths)
    with pytest.raises(UserError, match=r"damaged.*--verify"):
        [view[i] for i in range(6)]
    assert cache.fill(paths) == 0
    assert cache.fill(paths, verify=True) == 1
    assert same(cache, paths)


def test_a_cut_file_is_refused(cache, paths):
    cache.fill(paths)
    os.truncate(cache.pixels, 4096)
    with pytest.raises(UserError, match="cut short; delete"):
        cache.view(paths)
    cache.pixels.unlink()
    assert cache.fill(paths) == 6
    cache.index.write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match="delete it"):
        cache.view(paths)


def test_a_full_disk_loses_nothing(cache, paths):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * 3, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be used .*make room"):
            cache.fill(paths, processes=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert cache.fill(paths) == 3
    assert same(cache, paths)


def test_no_room_is_said_before_the_work(paths, tmp_path):
    with pytest.raises(UserError, match=r"take 6.0 TB, but .* left; make room"):
        ImageCache(tmp_path, "chests", 10**6).fill(paths)


def test_a_view_in_another_process_carries_no_pixels(cache, paths):
    cache.fill(paths)
    view = cache.view(paths)
    first = view[0]
    assert len(pickle.dumps(view)) < 2000
    assert np.array_equal(pickle.loads(pickle.dumps(view))[0], first)
