import io

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from datamodules.channels import get_channel, whatsapp
from experiments.errors import UserError


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


def test_an_unknown_channel_names_the_nearest():
    assert get_channel("whatsapp") is whatsapp
    with pytest.raises(UserError, match=r"data\.pairs\.channel.*whatsap.*did you mean 'whatsapp'"):
        get_channel("whatsap")
