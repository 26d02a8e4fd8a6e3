import csv
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from covidmt.pairs.make import COLUMNS, find_originals, make
from covidmt.pairs.match import Match, dhash, match, named_time, out_of_order, pair_up, sort_by_time
from datamodules.channels.messaging import get_channel, whatsapp
from datamodules.images.decode import decode
from datamodules.sources.patients import PatientRegistry
from datamodules.sources.wacxr import read
from experiments.errors import UserError
from experiments.schema import WacxrSource


def draw(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12), np.uint8)
    return Image.fromarray(coarse).resize((90, 70), Image.Resampling.BICUBIC)


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    for index, name in enumerate(("COVID-19", "normal", "normal", "normal")):
        (root / name).mkdir(parents=True, exist_ok=True)
        draw(index).save(root / name / f"film {index}.png")
    return root


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpeg")}


def table(out, received="covid_binary_test_whatsapp"):
    return read(WacxrSource(root=str(out), received=received), "wacxr", PatientRegistry([]), [])


@pytest.mark.parametrize("processes", [1, 2])
def test_made_pairs_are_read_as_wacxr(source, tmp_path, processes, capsys):
    out = tmp_path / "out"
    lines = rows(make(source, out, processes=processes))
    pairs = table(out)
    assert pairs["COVID-19"].tolist() == [0, 0, 0, 1]
    for image, received in zip(pairs["image"], pairs["received"], strict=True):
        assert whatsapp(decode(image)) == open(received, "rb").read()  # noqa: SIM115
    assert list(lines[0]) == COLUMNS
    assert [line["original"] for line in lines] == sorted(
        (f"covid_binary_test/{int(i == 0)}_{'COVID-19' if i == 0 else 'normal'}/film {i}.png" for i in range(4)),
        key=lambda name: name.split("/")[1][2:],
    )
    first = lines[0]
    assert (first["original_width"], first["original_height"]) == ("90", "70")
    sent, got = (os.path.getsize(out / first[side]) for side in ("original", "received"))
    assert (int(first["original_bytes"]), int(first["received_bytes"])) == (sent, got)
    assert float(first["compression"]) == pytest.approx(sent / got, abs=1e-3)
    assert "4 pairs in" in capsys.readouterr().out


def test_an_interrupted_run_goes_on(source, tmp_path, capsys):
    out = tmp_path / "out"
    manifest = make(source, out, processes=1)
    whole, before = manifest.read_bytes(), times(out)
    lost, damaged, *kept = sorted(before)
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    manifest.write_bytes(b"\x00\xff" + whole[: len(whole) // 2] + b'"\n1,2,3\n')
    capsys.readouterr()
    make(source, out, processes=1)
    assert "2 made, 2 were there" in capsys.readouterr().out
    after = times(out)
    assert manifest.read_bytes() == whole
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    assert not [path for path in out.rglob(".*") if path.suffix != ".lock"]
    make(source, out, processes=1)
    assert times(out) == after


def test_a_changed_source_is_sent_again(source, tmp_path):
    out = tmp_path / "out"
    make(source, out, processes=1)
    changed = source / "normal" / "film 1.png"
    draw(9).save(changed)
    make(source, out, processes=1)
    assert (out / "covid_binary_test/0_normal/film 1.png").read_bytes() == changed.read_bytes()
    received = out / "covid_binary_test_whatsapp/0_normal/film 1.jpeg"
    assert received.read_bytes() == whatsapp(decode(changed))


def test_channels_share_linked_originals(source, tmp_path):
    out = tmp_path / "out"
    make(source, out, link=True, processes=1)
    make(out / "covid_binary_test", out, "resize:64+webp:50", processes=1)
    original = out / "covid_binary_test/1_COVID-19/film 0.png"
    assert original.samefile(source / "COVID-19" / "film 0.png")
    folder = "covid_binary_test_resize-64+webp-50"
    assert len(table(out, folder)) == len(rows(out / f"{folder}.csv")) == 4
    assert Image.open(out / folder / "1_COVID-19" / "film 0.webp").size == (64, 50)


def test_a_broken_image_is_named_after_the_others_were_made(source, tmp_path):
    (source / "normal" / "film 1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 4 images.*film 1\.png"):
        make(source, tmp_path / "out", processes=1)
    assert len(table(tmp_path / "out")) == 3


def test_an_image_that_a_channel_cannot_take_is_named_after_the_others_were_made(source, tmp_path):
    Image.new("L", (16_400, 4)).save(source / "normal" / "film 1.png")  # WebP ends at 16,383
    with pytest.raises(UserError, match=r"1 of 4 images.*film 1\.png: cannot be sent through webp:50"):
        make(source, tmp_path / "out", "webp:50", processes=1)
    assert len(table(tmp_path / "out", "covid_binary_test_webp-50")) == 3


def test_folders_of_any_kind(source, tmp_path):
    assert {item.folder for item in find_originals(source, "covid-19")} == {"0_normal", "1_COVID-19"}
    assert {item.folder for item in find_originals(source / "normal", "COVID-19")} == {"0_unlabelled"}
    (source / "normal").rename(tmp_path / "0_healthy")
    assert {item.folder for item in find_originals(tmp_path / "0_healthy", "COVID-19")} == {"0_healthy"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: shutil.rmtree(root), "no such folder"),
        (lambda root: [shutil.rmtree(path) for path in root.iterdir()], "no images"),
        (lambda root: draw(0).save(root / "loose.png"), "beside class folders"),
        (lambda root: draw(0).save(root / "normal" / "film 1.bmp"), "same stem"),
        (lambda root: (root / "COVID-19").rename(root / "positive"), "--positive"),
    ],
)
def test_folders_that_cannot_be_sent(source, tmp_path, spoil, message):
    spoil(source)
    with pytest.raises(UserError, match=message):
        make(source, tmp_path / "out", processes=1)


def test_the_command_line(source, tmp_path, covidmt, capsys):
    assert covidmt("pairs", "make", source, "out", "--channel", "telegramm") == 2
    assert "--channel: no channel 'telegramm'; did you mean 'telegram'?" in capsys.readouterr().err
    assert covidmt("pairs", "make", source, "out", "--channel", "telegram", "--processes", 1) == 0
    assert covidmt("pairs", "match", source, "out/covid_binary_test_telegram/0_normal", "matched") == 0
    assert "3 pairs" in capsys.readouterr().out


def receive(source, folder, names):
    """Every original through WhatsApp, under the names that a phone gives."""
    folder.mkdir()
    for item, name in zip(find_originals(source, "COVID-19"), names, strict=True):
        (folder / name).write_bytes(whatsapp(decode(item.path)))


def twins(out):
    return {row["original"].rsplit("/", 1)[1]: row["received"].rsplit("/", 1)[1] for row in rows(out / "matched.csv")}


def test_match_in_order(source, tmp_path, capsys):
    names = [f"IMG-20210203-WA000{n}.jpg" for n in (1, 2, 3, 4)]
    receive(source, tmp_path / "phone", names)
    match(source, tmp_path / "phone", tmp_path / "out", processes=1)
    assert list(twins(tmp_path / "out").values()) == names
    assert len(table(tmp_path / "out")) == 4
    assert rows(tmp_path / "out" / "unmatched.csv") == []
    assert "paired 0 of them otherwise" in capsys.readouterr().out


def test_match_with_shuffled_names_missing_foreign_and_broken_files(source, tmp_path, capsys):
    names = ["d.jpg", "c.jpg", "b.jpg", "a.jpg"]
    phone, out = tmp_path / "phone", tmp_path / "out"
    receive(source, phone, names)
    for age, name in enumerate(names):
        os.utime(phone / name, (1e9 - age, 1e9 - age))  # arrived the other way round
    (phone / "c.jpg").unlink()
    draw(99).save(phone / "cat.jpg")
    (phone / "e.jpg").write_bytes(b"half")
    match(source, phone, out, processes=1)
    assert twins(out) == {"film 0.png": "d.jpg", "film 2.png": "b.jpg", "film 3.png": "a.jpg"}
    assert [row["order_agrees"] for row in rows(out / "matched.csv")] == ["no", "yes", "no"]
    lost = {row["file"].rsplit("/", 1)[1]: row["reason"] for row in rows(out / "unmatched.csv")}
    assert lost.keys() == {"film 1.png", "cat.jpg", "e.jpg"}
    assert "nearest differs in" in lost["film 1.png"]
    assert "not a readable image" in lost["e.jpg"]
    assert "cat.jpg" in capsys.readouterr().out
    with pytest.raises(UserError, match="not an empty folder"):
        match(source, phone, out, processes=1)


def test_nothing_matches(source, tmp_path):
    (tmp_path / "phone").mkdir()
    with pytest.raises(UserError, match="no images directly"):
        match(source, tmp_path / "phone", tmp_path / "out")
    draw(99).save(tmp_path / "phone" / "cat.jpg")
    with pytest.raises(UserError, match="nothing was written"):
        match(source, tmp_path / "phone", tmp_path / "out", processes=1)
    assert not (tmp_path / "out").exists()


def test_pairs_by_hash_then_by_order():
    far = 90
    distances = np.full((5, 4), far)
    distances[0, 1] = 3  # clear
    distances[1:3, 2:4] = [[2, 2], [2, 2]]  # two copies, both received: by order
    distances[3:5, 0] = [1, 1]  # two copies, one received: nobody knows which
    matches, (lost, foreign) = pair_up(distances)
    assert matches == [Match(0, 1, 3, "hash"), Match(1, 2, 2, "order"), Match(2, 3, 2, "order")]
    assert lost == dict.fromkeys((3, 4), "2 originals and 1 files look alike")
    assert list(foreign) == [0]
    assert out_of_order(matches) == set()
    assert len(out_of_order([Match(0, 2, 0, "hash"), Match(1, 1, 0, "hash"), Match(2, 3, 0, "hash")])) == 2


def test_the_hash_decides_against_the_order_where_it_is_clear():
    distances = np.array([[60, 2], [1, 70]])
    matches, _ = pair_up(distances)
    assert [(found.original, found.received, found.by) for found in matches] == [(0, 1, "hash"), (1, 0, "hash")]
    assert pair_up(np.zeros((1, 0)))[1][0].keys() == {0}


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("IMG-20210203-WA0012.jpg", ("20210203", "", 12)),
        ("WhatsApp Image 2021-02-03 at 9.05.06.jpeg", ("20210203", "090506", 0)),
        ("WhatsApp Image 2021-02-03 at 1.05.06 PM (2).jpeg", ("20210203", "130506", 2)),
        ("WhatsApp Image 2021-02-03 at 12.05.06 AM.jpeg", ("20210203", "000506", 0)),
        ("photo_20210203-101112.jpg", ("20210203", "101112", 0)),
        ("00000773_001.png", None),
    ],
)
def test_time_in_a_name(name, time):
    assert named_time(name) == time


def test_order_of_time(tmp_path):
    paths = [tmp_path / f"IMG-2021020{day}-WA000{n}.jpg" for day, n in ((4, 1), (3, 10), (3, 9))]
    paths = [path.with_name(path.name.replace("WA00010", "WA0010")) for path in paths]
    for age, path in enumerate(paths):
        path.touch()
        os.utime(path, (1e9 + age, 1e9 + age))
    assert [path.stem[-6:] for path in sort_by_time(paths)] == ["WA0009", "WA0010", "WA0001"]
    other = tmp_path / "cat.jpg"
    other.touch()
    assert sort_by_time([other, *paths]) == [*paths, other]


def test_real_x_rays_are_paired_and_told_apart(mini_cxr):
    paths = sorted((mini_cxr / "wacxr" / "covid_binary_test").glob("*/*"))[::3]
    images = [decode(path) for path in paths]
    received = [decode(get_channel(f"whatsapp+{('telegram', 'mms')[i % 2]}")(image)) for i, image in enumerate(images)]
    bits = np.array([[(dhash(a) != dhash(b)).sum() for b in received] for a in images])
    matches, reasons = pair_up(bits)
    assert [(found.original, found.received, found.by) for found in matches] == [
        (i, i, "hash") for i in range(len(paths))
    ]
    assert reasons == ({}, {})
