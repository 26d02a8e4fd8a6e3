import io

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from datamodules.channels.phone_apps import whatsapp
from datamodules.channels.registry import get_channel
from tests.helpers.films import luma, noise


def send(height, width):
    return whatsapp(np.random.default_rng(0).integers(0, 256, (height, width), np.uint8))


def test_what_a_phone_receives():
    sent = send(60, 80)
    picture = JpegImageFile(io.BytesIO(sent))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (80, 60))
    assert "progressive" not in picture.info
    assert [component[1:3] for component in picture.layer] == [(2, 2), (1, 1), (1, 1)]  # 4:2:0
    luma = picture.quantization[0]  # quality 70: Annex K's 16 ... 99 by 0.6
    assert (luma[0], luma[-1]) == (10, 59)
    standard_dc = bytes([0x00, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, *range(12)])  # ITU-T T.81, Table K.3
    assert standard_dc in sent


@pytest.mark.parametrize(
    ("given", "sent"), [((1700, 3200), (1600, 850)), ((2000, 1000), (800, 1600)), ((1600, 10), (10, 1600))]
)
def test_the_longest_side_is_at_most_1600(given, sent):
    assert Image.open(io.BytesIO(send(*given))).size == sent


def test_the_mini_set_was_made_by_the_same_channel(mini_cxr):
    originals = sorted((mini_cxr / "wacxr" / "covid_binary_test").glob("*/*"))
    for path in [*originals[::8], *(p for p in originals if p.stem == "CD50BA96-6982-4C80-AE7B-5F67ACDBFA56")]:
        twin = mini_cxr / "wacxr" / "covid_binary_test_whatsapp" / path.parent.name / f"{path.stem}.jpeg"
        assert whatsapp(np.array(Image.open(path).convert("L"))) == twin.read_bytes()


@pytest.mark.parametrize(
    ("name", "given", "size", "table"),  # Annex K's 16, scaled by 0.6 at quality 70, by 0.4 at 80, by 0.1 at 95
    [
        ("whatsapp", (1300, 2000), (1600, 1040), 10),
        ("whatsapp_hd", (1300, 2000), (2000, 1300), 10),
        ("whatsapp_web", (1300, 2000), (1600, 1040), 3),  # quality 92: Annex K's 16 by 0.16
        ("whatsapp_hd", (40, 5000), (4096, 33), 10),
        ("telegram", (2000, 1300), (832, 1280), 6),
        ("signal", (200, 2000), (1600, 160), 10),
        ("signal", (2400, 2400), (1024, 1024), 10),  # noise: 1600 px would have more than 1 MiB
        ("mms", (600, 1280), (640, 300), 2),
        ("mms", (1280, 600), (300, 640), 2),
        ("mms", (100, 90), (90, 100), 2),
    ],
)
def test_sides_quality_and_subsampling_of_the_apps(name, given, size, table):
    sent = get_channel(name)(noise(*given))
    assert Image.open(io.BytesIO(sent)).size == size
    assert luma(sent) == (table, (2, 2))
    assert len(sent) <= {"signal": 1024 * 1024, "mms": 300 * 1024}.get(name, 10**9)
