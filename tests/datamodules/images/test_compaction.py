import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from datamodules.images.cache import ImageCache
from datamodules.images.compaction import give_back
from tests.datamodules.images.test_cache import same, write_images


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    probe = tmp_path / "probe"
    probe.write_bytes(os.urandom(8192))
    if not give_back(probe, 4096, np.array([0])):
        pytest.skip("this file system knows no holes")
    return ImageCache(tmp_path / "cache", "chests", 48)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return write_images(tmp_path / "images", 6)


def room(cache: ImageCache) -> int:
    return 512 * cache.pixels.stat().st_blocks // 4096


def test_replaced_and_removed_images_go_and_no_other_moves(cache: ImageCache, paths: list[str], tmp_path: Path):
    cache.fill(paths)
    assert (cache.compact(), room(cache)) == (0, 6)
    other = write_images(tmp_path / "other", 3, side=50)
    for source, target in zip(other[:2], paths[:2], strict=True):
        shutil.copyfile(source, target)
    Path(paths[5]).unlink()
    assert cache.fill(paths[:5]) == 2
    assert room(cache) == 8
    assert cache.compact() == 3 * 4096
    assert room(cache) == len(np.load(cache.index)) == 5
    assert cache.fill(paths[:5]) == 0
    assert same(cache, paths[:5])

    # and it grows on behind the holes
    assert cache.fill([*paths[:5], other[2]]) == 1
    assert same(cache, [*paths[:5], other[2]])
    assert room(cache) == 6


def test_what_compacting_would_give_back(cache: ImageCache, paths: list[str]):
    cache.fill(paths)
    assert cache.spare() == 0
    Path(paths[5]).unlink()
    assert cache.spare() == 4096
    held = cache.view(paths[:5])
    assert (cache.spare(), cache.compact()) == (0, 0)
    del held
    assert cache.compact() == 4096
    assert cache.spare() == 0


def test_the_caches_in_a_folder(cache: ImageCache, paths: list[str]):
    cropped = ImageCache(cache.pixels.parent, "other-chests", 32, top=0.1)
    for one in (cache, cropped):
        one.fill(paths)
    (cache.pixels.parent / "chests-48px-0123456789ab.pixels").touch()  # of another decoder
    assert [found.pixels for found in ImageCache.all_in(cache.pixels.parent)] == [cache.pixels, cropped.pixels]


def test_a_disk_that_is_not_mounted_keeps_its_images(cache: ImageCache, paths: list[str], tmp_path: Path):
    cache.fill(paths)
    shutil.move(tmp_path / "images", tmp_path / "elsewhere")
    assert cache.compact() == 0
    shutil.move(tmp_path / "elsewhere", tmp_path / "images")
    assert cache.fill(paths) == 0
    assert same(cache, paths)


def test_what_moved_keeps_the_pixels_that_it_shares(cache: ImageCache, paths: list[str], tmp_path: Path):
    cache.fill(paths)
    (tmp_path / "moved").mkdir()
    moved = [shutil.move(path, tmp_path / "moved") for path in paths[:3]]  # their folder stays
    assert cache.fill(map(str, moved)) == 3
    assert cache.compact() == 0
    assert (room(cache), same(cache, list(map(str, moved)))) == (6, True)


def _read_later(cache: ImageCache, path: str, ready, go) -> None:
    view = cache.view([path])  # as a training that has begun, and whose workers open the file in every epoch
    ready.set()
    go.wait()
    view[0]
    os._exit(0)


def test_an_image_that_a_training_may_still_read_stays(cache: ImageCache, paths: list[str], tmp_path: Path):
    cache.fill(paths)
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    reader = context.Process(target=_read_later, args=(cache, paths[0], ready, go))
    reader.start()
    assert ready.wait(60)
    Path(paths[0]).unlink()
    assert cache.compact() == 0
    go.set()
    reader.join()
    assert reader.exitcode == 0
    assert cache.compact() == 4096
