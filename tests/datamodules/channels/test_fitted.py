import io
import json
import pickle
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from datamodules.channels.encodings import jpeg, webp
from datamodules.channels.fitted import FORMAT, SentFile, read_route, send_fitted, write_route
from datamodules.channels.registry import get_channel
from experiments.errors import UserError
from tests.helpers.films import noise


@pytest.fixture
def route(tmp_path: Path) -> Path:
    path = tmp_path / "route.json"
    write_route(path, [SentFile("jpeg", 40, 92), SentFile("jpeg", 40, 92), SentFile("jpeg", None, 70, "4:4:4")])
    return path


def test_a_route_is_written_and_read(route: Path) -> None:
    assert route.read_text().startswith('{\n "format": "covidmt route 1",\n "files": [\n')  # people read it, too
    assert read_route(str(route), "--channel")[2] == SentFile("jpeg", None, 70, "4:4:4")


def test_what_a_file_of_a_route_was_sent_as() -> None:
    film = noise(30, 60)
    assert SentFile("jpeg", None, 70, "4:4:4").send(film) == jpeg(film, 70, "4:4:4")
    assert SentFile("webp", None, 50).send(film) == webp(film, 50)
    assert Image.open(io.BytesIO(SentFile("png", 20, None).send(film))).size == (20, 10)
    assert Image.open(io.BytesIO(SentFile("jpeg", 100, 80).send(film))).size == (60, 30)  # never made larger


def test_the_content_draws_and_the_shares_are_the_routes(route: Path) -> None:
    channel = get_channel(f"fitted:{route}")
    films = [noise(60, 80, seed) for seed in range(150)]
    widths = Counter(Image.open(io.BytesIO(channel(film))).width for film in films)
    assert widths[40] + widths[80] == 150
    assert 80 <= widths[40] <= 120  # two of three
    assert len({channel.draw(seed)(films[0]) for seed in range(20)}) == 2
    assert channel(films[0]) == pickle.loads(pickle.dumps(channel))(films[0].copy())
    assert send_fitted(films[0][:, ::2], [SentFile("png", None, None)])  # a view of an array


def test_a_png_stays_one_whatever_its_quality_and_the_seed_draws() -> None:
    film = noise(30, 60)
    assert SentFile("png", 20, 50).send(film) == SentFile("png", 20, None).send(film)
    assert SentFile("jpeg", 20, None).send(film) == SentFile("png", 20, None).send(film)
    files = [SentFile("jpeg", None, quality) for quality in range(1, 101)]
    assert send_fitted(film, files) == send_fitted(film, files, 0)
    assert len({send_fitted(film, files, seed) for seed in range(10)}) > 5


SOUND = [
    SentFile("jpeg", 1, 1, "4:2:2"),
    SentFile("jpeg", None, 100, "4:4:4"),
    SentFile("webp", 1600, 50),
    SentFile("png", 20, None),
]


def test_everything_that_a_route_may_hold_is_read(tmp_path: Path) -> None:
    write_route(tmp_path / "route.json", SOUND)
    assert read_route(str(tmp_path / "route.json"), "--channel") == tuple(SOUND)


@pytest.mark.parametrize(
    "file",
    [
        SentFile("gif", 10, 50),
        SentFile("jpeg", 0, 50),
        SentFile("jpeg", 10.5, 50),  # ty: ignore[invalid-argument-type]
        SentFile("jpeg", 10, 0),
        SentFile("webp", 10, 101),
        SentFile("jpeg", 10, None),
        SentFile("webp", 10, 50.5),  # ty: ignore[invalid-argument-type]
        SentFile("png", 10, 50),
        SentFile("jpeg", 10, 50, "4:1:1"),
    ],
)
def test_a_route_with_one_wrong_file_is_refused(tmp_path: Path, file: SentFile) -> None:
    path = tmp_path / "route.json"
    write_route(path, [*SOUND, file])
    with pytest.raises(UserError, match=r"^--channel: .*route\.json was not written by `covidmt pairs compare --out`"):
        read_route(str(path), "--channel")


def test_it_can_be_a_step_of_several(route: Path) -> None:
    received = get_channel(f"resize:32+fitted:{route}")(noise(60, 80))
    assert Image.open(io.BytesIO(received)).width == 32


@pytest.mark.parametrize(
    "content",
    [
        "no JSON",
        "[]",
        json.dumps({"format": "other", "files": []}),
        json.dumps({"format": FORMAT, "files": []}),
        json.dumps({"format": FORMAT, "files": [{"encoding": "jpeg", "side": 10, "quality": 0}]}),
        json.dumps({"format": FORMAT, "files": [{"encoding": "gif", "side": 10, "quality": 5}]}),
        json.dumps({"format": FORMAT, "files": [{"encoding": "jpeg", "side": "x", "quality": 5}]}),
        json.dumps({"format": FORMAT, "files": [{"side": 1}]}),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "route.json").write_text(content)
    with pytest.raises(UserError, match=r"^data\.pairs\.channel: .*route\.json was not written by"):
        get_channel(f"fitted:{tmp_path / 'route.json'}")
    with pytest.raises(UserError, match=r"fitted: no file 'none\.json'"):
        get_channel("fitted:none.json")
