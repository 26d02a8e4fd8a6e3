import os

import pytest
from PIL import Image

from covidmt.pairs.make import make_pairs
from covidmt.pairs.manifest import COLUMNS
from datamodules.channels.phone_apps import whatsapp
from datamodules.images.decode import decode
from experiments.errors import UserError
from tests.helpers.pairs import draw, rows, table


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpeg")}


@pytest.mark.parametrize("processes", [1, 2])
def test_made_pairs_are_read_as_wacxr(source, tmp_path, processes, capsys):
    out = tmp_path / "out"
    lines = rows(make_pairs(source, out, processes=processes))
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
    manifest = make_pairs(source, out, processes=1)
    whole, before = manifest.read_bytes(), times(out)
    lost, damaged, *kept = sorted(before)
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    manifest.write_bytes(b"\x00\xff" + whole[: len(whole) // 2] + b'"\n1,2,3\n')
    capsys.readouterr()
    make_pairs(source, out, processes=1)
    assert "2 made, 2 were there" in capsys.readouterr().out
    after = times(out)
    assert manifest.read_bytes() == whole
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    assert not [path for path in out.rglob(".*") if path.suffix != ".lock"]
    make_pairs(source, out, processes=1)
    assert times(out) == after


def test_a_changed_source_is_sent_again(source, tmp_path):
    out = tmp_path / "out"
    make_pairs(source, out, processes=1)
    changed = source / "normal" / "film 1.png"
    draw(9).save(changed)
    make_pairs(source, out, processes=1)
    assert (out / "covid_binary_test/0_normal/film 1.png").read_bytes() == changed.read_bytes()
    received = out / "covid_binary_test_whatsapp/0_normal/film 1.jpeg"
    assert received.read_bytes() == whatsapp(decode(changed))


def test_channels_share_linked_originals(source, tmp_path):
    out = tmp_path / "out"
    make_pairs(source, out, link=True, processes=1)
    make_pairs(out / "covid_binary_test", out, "resize:64+webp:50", processes=1)
    original = out / "covid_binary_test/1_COVID-19/film 0.png"
    assert original.samefile(source / "COVID-19" / "film 0.png")
    folder = "covid_binary_test_resize-64+webp-50"
    assert len(table(out, folder)) == len(rows(out / f"{folder}.csv")) == 4
    assert Image.open(out / folder / "1_COVID-19" / "film 0.webp").size == (64, 50)


def test_a_broken_image_is_named_after_the_others_were_made(source, tmp_path):
    (source / "normal" / "film 1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 of 4 images.*film 1\.png"):
        make_pairs(source, tmp_path / "out", processes=1)
    assert len(table(tmp_path / "out")) == 3


def test_an_image_that_a_channel_cannot_take_is_named_after_the_others_were_made(source, tmp_path):
    Image.new("L", (16_400, 4)).save(source / "normal" / "film 1.png")  # WebP ends at 16,383
    with pytest.raises(UserError, match=r"1 of 4 images.*film 1\.png: cannot be sent through webp:50"):
        make_pairs(source, tmp_path / "out", "webp:50", processes=1)
    assert len(table(tmp_path / "out", "covid_binary_test_webp-50")) == 3


def test_the_command_line(source, tmp_path, covidmt, capsys):
    assert covidmt("pairs", "make", source, "out", "--channel", "telegramm") == 2
    assert "--channel: no channel 'telegramm'; did you mean 'telegram'?" in capsys.readouterr().err
    assert covidmt("pairs", "make", source, "out", "--channel", "telegram", "--processes", 1) == 0
    assert covidmt("pairs", "match", source, "out/covid_binary_test_telegram/0_normal", "matched") == 0
    assert "3 pairs" in capsys.readouterr().out
