import pickle

import numpy as np
import pytest

from datamodules.channels import registry
from datamodules.channels.phone_apps import whatsapp
from datamodules.channels.registry import CHANNELS, OwnChannel, get_channel
from datamodules.images.decode import decode
from experiments.errors import UserError
from experiments.load import load_experiment
from tests.conftest import REPO
from tests.helpers.films import noise


def test_an_unknown_channel_names_the_nearest():
    assert get_channel("whatsapp") is whatsapp
    with pytest.raises(UserError, match=r"data\.pairs\.channel.*whatsap.*did you mean 'whatsapp'"):
        get_channel("whatsap")


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
        ("whatsapp:70", "whatsapp takes quality and side, each once, as in whatsapp:quality=60..92"),
        ("whatsapp:quality=70,quality=80", "each once"),
        ("whatsapp:quality=0..92", "needs for quality, a whole number from 1 to 100"),
        ("telegram:side=2", "at least 16"),
        ("signal:side=800", "signal takes quality, each once"),
        ("mms:quality=60", "mms has no settings"),
        ("jpeg:92..60", "or a range of them, as in 60..92"),
        ("jpeg:60..", "or a range of them"),
        ("jpeg:..60", "or a range of them"),
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


RANGES = ", or a range of them, as in 60..92"
MESSAGES = {
    "jpeg:x": f"'jpeg:x': jpeg needs a quality, a whole number from 1 to 100, as in jpeg:70{RANGES}",
    "webp:x": f"'webp:x': webp needs a quality, a whole number from 1 to 100, as in webp:70{RANGES}",
    "resize:15": "'resize:15': resize needs a longest side in pixels, a whole number of at least 16, as in "
    f"resize:1600{RANGES}",
    "whatsapp:side=15": "'whatsapp:side=15': whatsapp needs for side, a whole number of at least 16, as in "
    f"whatsapp:1600{RANGES}",
    "mms:70": "mms has no settings, but got 'mms:70'; write mms, or a chain such as jpeg:70",
    "signal:side=20": "'signal:side=20': signal takes quality, each once, as in signal:quality=60..92",
    "jpeg:70:1": "'jpeg:70:1': no subsampling '1'; known: 4:4:4, 4:2:2, 4:2:0, e.g. jpeg:70:4:2:0",
    "a++b": "'a++b' has an empty step; write a channel on either side of each +",
    "resise:70": "no channel 'resise'; did you mean 'resize'?",
    "webq:70": "no channel 'webq'; did you mean 'webp'?",
    "fited:70": "no channel 'fited'; did you mean 'fitted'?",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_are_whole_sentences(name):
    with pytest.raises(UserError) as error:
        get_channel(name, "--channel")
    assert str(error.value) == f"--channel: {MESSAGES[name]}"


@pytest.mark.parametrize("name", ["jpeg:1", "jpeg:100", "webp:100", "resize:16", "telegram:side=16", "jpeg:70..70"])
def test_the_ends_of_the_ranges_are_allowed(name):
    assert decode(get_channel(name)(noise(20, 30))).ndim == 2


def test_an_app_takes_its_settings_as_arguments_too():
    image = noise(30, 40)
    assert get_channel("whatsapp(quality=30, side=20)")(image) == get_channel("whatsapp:quality=30,side=20")(image)
    with pytest.raises(UserError, match=r"^--channel: the arguments of 'whatsapp\(30\)' cannot be read"):
        get_channel("whatsapp(30)", "--channel")
    with pytest.raises(UserError, match=r"^--channel: .*qualiti"):
        get_channel("whatsapp(qualiti=30)", "--channel")


def test_a_range_is_drawn_with_both_ends_and_a_seed_draws_another_one():
    image = noise(30, 40)
    both = get_channel("resize:16..17")
    assert {max(decode(both.draw(seed)(image)).shape) for seed in range(20)} == {16, 17}
    lossy = "jpeg:5..95"
    assert get_channel(lossy, seed=3)(image) == get_channel(lossy).draw(3)(image)
    assert get_channel("telegram:quality=30,side=20")(image) == get_channel("resize:20+jpeg:30")(image)
    assert get_channel("signal:quality=30")(image) == get_channel("jpeg:30")(image)


def halved(image):
    return get_channel("resize:16")(image // 2)


def test_a_channel_of_ones_own_that_fails_or_gives_no_file_is_named():
    image = noise(20, 30)
    channel = OwnChannel(halved, "mine.halved")
    assert channel(image) == halved(image)
    assert not channel.is_seeded
    assert OwnChannel(lambda image, seed: b"", "mine.seeded").is_seeded
    with pytest.raises(UserError, match=r"^channel mine\.array: gives a ndarray; a channel gives the received file's"):
        OwnChannel(lambda image: image, "mine.array")(image)
    with pytest.raises(UserError, match=r"^channel mine\.broken: it fails.*division by zero"):
        OwnChannel(lambda image: 1 / 0, "mine.broken")(image)
    assert OwnChannel(lambda image, side: bytes(side), "mine.sized")(image, side=3) == b"\0" * 3


def test_a_chain_in_an_experiment(tmp_path):
    (tmp_path / "forwarded.yaml").write_text(
        f"extends: {REPO / 'experiments' / 'demo.yaml'}\ndata: {{pairs: {{channel: resize:1600+jpeg:70:4:2:0}}}}\n"
    )
    assert load_experiment(tmp_path / "forwarded.yaml").data.pairs.channel == "resize:1600+jpeg:70:4:2:0"
    override = load_experiment(tmp_path / "forwarded.yaml", ["data.pairs.channel=jpeg:70:4:2:0+whatsapp"])
    assert override.data.pairs.channel == "jpeg:70:4:2:0+whatsapp"


def test_a_channel_that_has_gone_is_named_with_the_setting(monkeypatch):
    """Another package's, which was there when the names were read."""
    monkeypatch.setattr(registry, "CHANNELS", (*registry.CHANNELS, "telegraph"))
    with pytest.raises(UserError, match=r"^--channel: "):
        get_channel("telegraph", "--channel")
