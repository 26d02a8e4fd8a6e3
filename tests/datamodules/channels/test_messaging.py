import io
import pickle

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from datamodules.channels.messaging import CHANNELS, get_channel, whatsapp
from datamodules.images.decode import decode
from experiments.errors import UserError
from experiments.load import load_experiment
from tests.conftest import REPO


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


def luma(sent):
    """The first entry of the JPEG's luma quantisation table, and the side of its chroma against its luma."""
    picture = JpegImageFile(io.BytesIO(sent))
    return picture.quantization[0][0], picture.layer[0][1:3]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


@pytest.mark.parametrize("name", [*CHANNELS, "whatsapp+whatsapp", "camera+mms", "resize:50+webp:30", "jpeg:5:4:4:4"])
@pytest.mark.parametrize(("height", "width"), [(60, 80), (1, 1), (300, 16)])
def test_every_channel_is_deterministic_and_readable(name, height, width):
    image = noise(height, width)
    before = image.copy()
    channel = pickle.loads(pickle.dumps(get_channel(name)))  # workers may be spawned
    sent = channel(image)
    received = decode(sent)
    assert sent == get_channel(name)(image)
    assert (received.dtype, received.ndim) == (np.uint8, 2)
    assert (image == before).all()
    assert sent != channel(255 - image)


@pytest.mark.parametrize(
    ("name", "given", "size", "table"),  # Annex K's 16, scaled by 0.6 at quality 70, by 0.4 at 80, by 0.1 at 95
    [
        ("whatsapp", (1300, 2000), (1600, 1040), 10),
        ("whatsapp_hd", (1300, 2000), (2000, 1300), 10),
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


@pytest.mark.parametrize(("given", "shown"), [((600, 400), (1080, 1620)), ((3000, 1000), (640, 1920))])
def test_a_screenshot_fills_the_screen_without_loss(given, shown):
    flat = np.full(given, 77, np.uint8)
    sent = get_channel("screenshot")(flat)
    assert Image.open(io.BytesIO(sent)).format == "PNG"
    assert Image.open(io.BytesIO(sent)).size == shown
    assert (decode(sent) == 77).all()


def test_a_photo_of_a_screen_differs_by_content_and_keeps_the_picture():
    y, x = np.mgrid[:300, :400]
    image = (40 + 80 * (x > 200) + 80 * (y > 150)).astype(np.uint8)
    photo = decode(get_channel("camera")(image))
    other = decode(get_channel("camera")(np.roll(image, 1)))
    assert max(photo.shape) == pytest.approx(1600, rel=0.06)
    assert photo.shape != other.shape or (photo != other).any()
    height, width = photo.shape
    at = [photo[int(height * v) - 9 : int(height * v) + 9, int(width * u) - 9 : int(width * u) + 9] for u, v in CORNERS]
    assert at[0].mean() + 20 < at[1].mean() < at[2].mean() - 20
    assert 1 < at[1].std() < 20  # grid and noise, no more


CORNERS = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75))


def test_a_chain_is_one_step_after_the_other():
    image = noise(90, 120)
    assert get_channel("whatsapp+telegram")(image) == get_channel("telegram")(decode(whatsapp(image)))
    large = noise(1000, 1800)
    assert (
        get_channel("resize:1600 + jpeg:70:4:2:0")(large)
        == whatsapp(large)
        == get_channel("resize:1600+jpeg:70")(large)
    )
    assert (decode(get_channel("resize:500")(image)) == image).all()


@pytest.mark.parametrize(
    ("step", "table", "sampling"),
    [("jpeg:95", 2, (2, 2)), ("jpeg:50:4:2:2", 16, (2, 1)), ("jpeg:10:4:4:4", 80, (1, 1))],
)
def test_quality_and_subsampling_of_a_step(step, table, sampling):
    assert luma(get_channel(step)(noise(32, 32))) == (table, sampling)


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_a_lower_quality_is_a_smaller_file_and_a_larger_error(mini_cxr, name):
    image = decode(sorted((mini_cxr / "wacxr" / "covid_binary_test").glob("*/*"))[0])
    sent = [get_channel(f"{name}:{quality}")(image) for quality in (1, 30, 70, 100)]
    errors = [np.abs(decode(file).astype(int) - image).mean() for file in sent]
    assert sorted(sent, key=len) == sent
    assert sorted(errors, reverse=True) == errors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jpeg:0", "'jpeg:0': jpeg needs a quality, a whole number from 1 to 100, as in jpeg:70"),
        ("jpeg:101", "from 1 to 100"),
        ("webp:0", "from 1 to 100"),
        ("webp:7.5", "from 1 to 100"),
        ("jpeg", "needs a quality"),
        ("jpeg:", "needs a quality"),
        ("resize:0", "at least 16"),
        ("resize:-5", "at least 16"),
        ("jpeg:70:4:1:1", "no subsampling '4:1:1'; known: 4:4:4, 4:2:2, 4:2:0"),
        ("whatsapp:70", "whatsapp has no settings"),
        ("whatsapp+signl", "no channel 'signl'; did you mean 'signal'"),
        ("jpg:70", "no channel 'jpg'; did you mean 'jpeg'"),
        ("whatsapp+", "empty step"),
        ("", "empty step"),
    ],
)
def test_nonsense_is_refused(name, message):
    with pytest.raises(UserError, match=r"^data\.pairs\.channel: ") as error:
        get_channel(name)
    assert message in str(error.value)


def test_a_chain_in_an_experiment(tmp_path):
    (tmp_path / "forwarded.yaml").write_text(
        f"extends: {REPO / 'experiments' / 'demo.yaml'}\ndata: {{pairs: {{channel: resize:1600+jpeg:70:4:2:0}}}}\n"
    )
    assert load_experiment(tmp_path / "forwarded.yaml").data.pairs.channel == "resize:1600+jpeg:70:4:2:0"
    override = load_experiment(tmp_path / "forwarded.yaml", ["data.pairs.channel=jpeg:70:4:2:0+whatsapp"])
    assert override.data.pairs.channel == "jpeg:70:4:2:0+whatsapp"
