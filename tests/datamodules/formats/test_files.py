import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.formats.files import read_regular
from datamodules.images.cache import ImageCache
from datamodules.images.decode import decode
from datamodules.images.mask_files import read_mask
from experiments.errors import UserError


@pytest.fixture
def short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    return tmp_path


def test_only_regular_files_are_opened(short_folder: Path) -> None:
    """A pipe that nobody writes to would be waited for for ever."""
    os.mkfifo("pipe.png")
    os.symlink("pipe.png", "link.png")
    os.symlink("/dev/zero", "device.png")
    os.mkdir("folder.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    kinds = {"pipe": "a pipe", "link": "a pipe", "device": "a device", "folder": "a folder", "socket": "a socket"}
    for name, kind in kinds.items():
        with pytest.raises(UserError, match=rf"{name}\.png: is {kind}"):
            decode(f"{name}.png")
    with pytest.raises(UserError, match=r"pipe\.png: is a pipe"):
        ImageCache(short_folder / "cache", "own", 8).fill(["pipe.png"], processes=1)


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    Image.new("L", (3, 2), 9).save(tmp_path / "film.png")
    (tmp_path / "link.png").symlink_to("film.png")
    assert np.array_equal(decode(tmp_path / "link.png"), np.full((2, 3), 9))


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    with path.open("wb") as file:
        file.truncate(10**13)  # takes no room
    with pytest.raises(UserError, match=r"10,000,000 MB.*data\.max_megapixels"):
        decode(path)
    assert read_regular(__file__, 10**6).startswith(b"import os")
    with pytest.raises(UserError, match="no such image file"):
        read_regular(tmp_path / "nowhere.png")


@pytest.mark.parametrize("name", ["a\nb.png", "a\n  b.png", "a\x1b[31m.png", "a\rb.png"])
def test_a_name_stays_on_its_line_in_messages(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for read in (decode, read_mask):
        for content in (None, b"", b"no image"):
            if content is not None:
                path.write_bytes(content)
            with pytest.raises(UserError) as caught:
                read(path)
            assert str(caught.value).isprintable()
            path.unlink(missing_ok=True)
