import cv2
import numpy as np
import pytest
from PIL import Image

from covidmt.pairs.compare import compare_route, print_comparison
from datamodules.channels.registry import get_channel
from datamodules.images.decode import decode
from experiments.errors import UserError
from experiments.names import Terminal


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Three films of 400 x 300."""
    folder = tmp_path_factory.mktemp("originals")
    for seed in range(3):
        rng = np.random.default_rng(seed)
        grey = cv2.GaussianBlur(rng.normal(0, 1, (300, 400)), (0, 0), 12) * 700 + 120 + rng.normal(0, 4, (300, 400))
        Image.fromarray(grey.clip(5, 250).astype(np.uint8)).save(folder / f"film {seed}.png")
    return folder


def send(originals, folder, channel, suffix=".jpg"):
    folder.mkdir()
    for path in originals.iterdir():
        (folder / f"{path.stem}{suffix}").write_bytes(get_channel(channel)(decode(path)))
    return folder


@pytest.mark.parametrize(
    ("channel", "proposal"),
    [
        ("whatsapp", "jpeg:70"),  # nothing is larger than 1600 px
        ("whatsapp_web", "jpeg:92"),
        ("resize:200+jpeg:92", "resize:200+jpeg:92"),
        ("resize:320+jpeg:85:4:4:4", "resize:320+jpeg:85:4:4:4"),
        ("jpeg:60:4:2:2", "jpeg:60:4:2:2"),
        ("resize:200", "resize:200"),
        ("resize:320+webp:50", "resize:320+webp:50"),
        ("whatsapp+resize:4000", "jpeg:70"),  # saved as PNG afterwards: by its pixels
    ],
)
def test_a_known_channel_is_got_back(originals, tmp_path, channel, proposal):
    comparison = compare_route(originals, send(originals, tmp_path / "got", channel), processes=1, size=64)
    assert comparison.proposal == proposal
    assert comparison.distances[proposal][1] == 0  # the very same pixels
    assert set(comparison.distances) == {"whatsapp", "whatsapp_web", proposal}
    assert [file.movement.describe() for file in comparison.files] == ["", "", ""]
    assert comparison.problems == []


def test_an_unchanged_copy(originals):
    comparison = compare_route(originals, originals, processes=1, size=64, channels=["whatsapp"])
    assert comparison.proposal == "unchanged"
    assert [file.difference for file in comparison.files] == [0, 0, 0]
    to_original, to_received = comparison.distances["whatsapp"]
    assert to_original == to_received > 0


def test_a_measured_route_does_the_same_again(originals, tmp_path, covidmt, capsys):
    received = send(originals, tmp_path / "got", "resize:200+jpeg:92")
    arguments = (originals, received, "--size", 64, "--processes", 1, "--out", "route.json")
    assert covidmt("pairs", "compare", *arguments) == 0
    assert "the same again: --channel fitted:route.json" in capsys.readouterr().out
    channel = get_channel("fitted:route.json")
    for path in originals.iterdir():
        assert channel(decode(path)) == (received / f"{path.stem}.jpg").read_bytes()
    assert covidmt("pairs", "make", originals, "made", "--channel", "fitted:route.json", "--processes", 1) == 0
    assert len(list((tmp_path / "made" / "covid_binary_test_fitted-route.json").rglob("*.jpeg"))) == 3


def test_what_is_printed(originals, tmp_path, capsys):
    received = send(originals, tmp_path / "got", "resize:200+jpeg:92")
    turned = np.rot90(decode(received / "film 1.jpg"))
    Image.fromarray(turned).save(received / "film 1.jpg", quality=92)
    (received / "film 2.jpg").write_bytes(b"half")
    comparison = compare_route(originals, received, processes=1, size=64, channels=["whatsapp", "resize:200+jpeg:92"])
    print_comparison(comparison, Terminal(width=120))
    out = capsys.readouterr().out
    for part in ("2 images", "JPEG in 2", "92 in 2", "200 px in 2", "2 of 2", "film 1: turned by 90", "not compared: "):
        assert part in out
    assert out.index("resize:200+jpeg:92") < out.index("nearest channel: resize:200+jpeg:92")


def test_what_cannot_be_compared(originals, tmp_path, covidmt, capsys):
    (tmp_path / "got").mkdir()
    with pytest.raises(UserError, match="no file has the name of an original"):
        compare_route(originals, tmp_path / "got", processes=1)
    (tmp_path / "got" / "film 0.jpg").write_bytes(b"half")
    with pytest.raises(UserError, match="none of 1 pairs can be read"):
        compare_route(originals, tmp_path / "got", processes=1)
    assert covidmt("pairs", "compare", originals, "none") == 2
    assert "RECEIVED: no folder none" in capsys.readouterr().err
    assert covidmt("pairs", "compare", originals, tmp_path / "got", "--channel", "whatsap") == 2
    assert "--channel: no channel 'whatsap'; did you mean 'whatsapp'?" in capsys.readouterr().err
