import os

import pytest

from covidmt.pairs.file_times import sort_by_time, time_in_name

NARROW, NO_BREAK, RIGHT_TO_LEFT = "\u202f", "\u00a0", "\u200f"


@pytest.mark.parametrize(
    ("name", "time"),
    [
        # WhatsApp: Android, iOS' export, computers in several languages
        ("IMG-20210203-WA0012.jpg", ("20210203", "", 12)),
        ("00000012-PHOTO-2021-02-03-22-11-12.jpg", ("20210203", "221112", 0)),
        ("WhatsApp Image 2021-02-03 at 9.05.06.jpeg", ("20210203", "090506", 0)),
        ("WhatsApp Image 2021-02-03 at 21.05.06 (3).jpeg", ("20210203", "210506", 3)),
        ("WhatsApp Image 2021-02-03 at 1.05.06 PM (2).jpeg", ("20210203", "130506", 2)),
        ("WhatsApp Image 2021-02-03 at 12.05.06 AM.jpeg", ("20210203", "000506", 0)),
        ("WhatsApp Image 2021-02-03 at 12.05.06 PM.jpeg", ("20210203", "120506", 0)),
        ("whatsapp image 2021-02-03 at 1.05.06 pm.jpeg", ("20210203", "130506", 0)),
        (f"WhatsApp Image 2021-02-03 at 1.05.06{NARROW}PM.jpeg", ("20210203", "130506", 0)),
        (f"WhatsApp Image 2021-02-03 at 1.05.06{NO_BREAK}PM (1).jpeg", ("20210203", "130506", 1)),
        ("WhatsApp Image 2021-02-03 at 1.05.06PM.jpeg", ("20210203", "130506", 0)),
        ("WhatsApp Image 2021-02-03 at 1.05.06 p.m..jpeg", ("20210203", "130506", 0)),
        ("WhatsApp Image 2021-02-03 at 1.05.06 a.m. (4).jpeg", ("20210203", "010506", 4)),
        ("Imagen de WhatsApp 2021-02-03 a las 1.05.06 p. m..jpg", ("20210203", "130506", 0)),
        (f"Imagen de WhatsApp 2021-02-03 a las 12.05.06 a.{NO_BREAK}m..jpg", ("20210203", "000506", 0)),
        (f"Imagen de WhatsApp 2021-02-03 a las 1.05.06 p.{NARROW}m. (2).jpg", ("20210203", "130506", 2)),
        ("Imagem do WhatsApp de 2021-02-03 à(s) 13.05.06_ab12cd.jpg", ("20210203", "130506", 12)),
        ("WhatsApp Bild 2021-02-03 um 13.05.06.jpeg", ("20210203", "130506", 0)),
        ("WhatsApp 图像2021-02-03于下午1.05.06.jpeg", ("20210203", "130506", 0)),
        ("WhatsApp 圖片 2021-02-03 於 上午 12.05.06.jpeg", ("20210203", "000506", 0)),
        ("WhatsApp 이미지 2021-02-03, 오후 1.05.06.jpeg", ("20210203", "130506", 0)),
        (f"صورة واتساب بتاريخ {RIGHT_TO_LEFT}2021-02-03 في 1.05.06 م.jpg", ("20210203", "130506", 0)),
        ("Εικόνα WhatsApp 2021-02-03, 1.05.06 μ.μ..jpg", ("20210203", "130506", 0)),
        # Telegram: Android, computers, exports
        ("IMG_20210203_101112_345.jpg", ("20210203", "101112", 345)),
        ("photo_2021-02-03_22-11-12.jpg", ("20210203", "221112", 0)),
        ("photo_2021-02-03 22.11.12.jpeg", ("20210203", "221112", 0)),
        ("photo_2021-02-03_22-11-12 (2).jpg", ("20210203", "221112", 2)),
        ("photo_7@03-02-2021_22-11-12.jpg", ("20210203", "221112", 0)),
        # Signal
        ("signal-2021-02-03-221112.jpg", ("20210203", "221112", 0)),
        ("signal-2021-02-03-22-11-12-345.jpg", ("20210203", "221112", 345)),
        ("signal-2021-02-03-221112_002.jpeg", ("20210203", "221112", 2)),
        ("signal-attachment-2021-02-03-221112.jpg", ("20210203", "221112", 0)),
        # cameras and screenshots
        ("photo_20210203-101112.jpg", ("20210203", "101112", 0)),
        ("PXL_20210203_101112345.jpg", ("20210203", "101112", 345)),
        ("WP_20210203_10_11_12_Pro.jpg", ("20210203", "101112", 0)),
        (f"Screenshot 2021-02-03 at 10.11.12{NARROW}PM.png", ("20210203", "221112", 0)),
        ("Bildschirmfoto 2021-02-03 um 10.11.12.png", ("20210203", "101112", 0)),
        # none
        ("00000773_001.png", None),
        ("IMG_1234.HEIC", None),
        ("received_20210203.jpg", None),
        ("photo_2021-13-45_10-11-12.jpg", None),
        ("photo_2021-02-03_25-61-12.jpg", None),
        ("1.2.826.0.1.20210203.7.jpg", None),
    ],
)
def test_time_in_a_name(name, time):
    assert time_in_name(name) == time


def test_order_of_time(tmp_path):
    paths = [tmp_path / f"IMG-2021020{day}-WA00{n:02d}.jpg" for day, n in ((4, 1), (3, 10), (3, 9))]
    for age, path in enumerate(paths):
        path.touch()
        os.utime(path, (1e9 + age, 1e9 + age))
    order = sort_by_time(paths)
    assert [path.stem[-6:] for path in order.paths] == ["WA0009", "WA0010", "WA0001"]
    assert order.note == ""


def test_names_without_a_time_fall_back_to_the_files_times_and_say_so(tmp_path):
    names = ["IMG-20210204-WA0001.jpg", "IMG-20210203-WA0009.jpg", "cat.jpg"]
    for age, name in enumerate(names):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1e9 + age, 1e9 + age))
    order = sort_by_time([tmp_path / name for name in reversed(names)])
    assert [path.name for path in order.paths] == names
    assert order.note.startswith("the names of 1 of 3 received files tell no time: the order of arrival is that of")


def test_numbers_and_times_of_one_day_cannot_be_compared(tmp_path):
    names = ["photo_2021-02-03_22-11-12.jpg", "IMG-20210203-WA0009.jpg"]
    for age, name in enumerate(names):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1e9 + age, 1e9 + age))
    order = sort_by_time([tmp_path / name for name in reversed(names)])
    assert [path.name for path in order.paths] == names
    assert order.note.startswith("received files of 1 day(s) have a time in some names and only a number in others")
