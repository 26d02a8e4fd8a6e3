import os

import pytest

from covidmt.pairs.match import match_pairs
from covidmt.pairs.originals import find_originals
from datamodules.channels.phone_apps import whatsapp
from datamodules.images.decode import decode
from experiments.errors import UserError
from tests.helpers.pairs import draw, rows, table


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
    match_pairs(source, tmp_path / "phone", tmp_path / "out", processes=1)
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
    match_pairs(source, phone, out, processes=1)
    assert twins(out) == {"film 0.png": "d.jpg", "film 2.png": "b.jpg", "film 3.png": "a.jpg"}
    assert [row["order_agrees"] for row in rows(out / "matched.csv")] == ["no", "yes", "no"]
    lost = {row["file"].rsplit("/", 1)[1]: row["reason"] for row in rows(out / "unmatched.csv")}
    assert lost.keys() == {"film 1.png", "cat.jpg", "e.jpg"}
    assert "nearest differs in" in lost["film 1.png"]
    assert "not a readable image" in lost["e.jpg"]
    assert "cat.jpg" in capsys.readouterr().out
    with pytest.raises(UserError, match="not an empty folder"):
        match_pairs(source, phone, out, processes=1)


def test_nothing_matches(source, tmp_path):
    (tmp_path / "phone").mkdir()
    with pytest.raises(UserError, match="no images directly"):
        match_pairs(source, tmp_path / "phone", tmp_path / "out")
    draw(99).save(tmp_path / "phone" / "cat.jpg")
    with pytest.raises(UserError, match="nothing was written"):
        match_pairs(source, tmp_path / "phone", tmp_path / "out", processes=1)
    assert not (tmp_path / "out").exists()


def test_names_that_tell_no_time_and_files_that_are_no_images_are_said(source, tmp_path, capsys):
    names = [f"IMG-20210203-WA000{n}.jpg" for n in (1, 2, 3)] + ["-cat\n\x1b[2J.jfif"]
    receive(source, tmp_path / "phone", names)
    (tmp_path / "phone" / ".DS_Store").touch()
    match_pairs(source, tmp_path / "phone", tmp_path / "out", processes=1)
    out = capsys.readouterr().out
    assert "note: the names of 1 of 4 received files tell no time: the order of arrival is that of" in out
    assert "1 is no image: .DS_Store" in out
    assert "\x1b" not in out
    assert len(table(tmp_path / "out")) == 4
    draw(99).save(tmp_path / "phone" / "=1+1\n.png")
    match_pairs(source, tmp_path / "phone", tmp_path / "out2", processes=1)
    assert r"=1+1\n.png: received: the nearest differs" in capsys.readouterr().out
