import cv2
import matplotlib
import numpy as np
import pytest

from experiments.schema import DecisionRule, Robustness, Target
from explain.decision import Decision
from explain.picture import (
    ALARM,
    HEIGHT,
    INK,
    LUNG,
    MARGIN,
    MUTED,
    REGION,
    WIDTH,
    Side,
    blend,
    cells_text,
    draw_pair,
    font,
    is_coarse,
    overlay,
    resize_grey,
    shorten,
)
from tests.helpers.sheets import Sheet, extent

NAN = float("nan")


def side(**changes):
    image = np.full((64, 64), 128, np.uint8)
    heat = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    return Side(image, heat, heat >= 0.5, 0.7, positive=True, iol=0.5, cells=(16, 16))._replace(**changes)


def drawn(original=None, received=None, lung=None, label=1.0, caption="a.png", settings=None, decision=None):
    lung = np.eye(64, dtype=bool) if lung is None else lung
    return draw_pair(
        original or side(), received or side(), lung, label=label, caption=caption, settings=settings or Robustness(),
        decision=decision or Decision("COVID-19", 0),
    )  # fmt: skip


@pytest.mark.parametrize("size", [48, 700])
def test_picture_has_one_size_whatever_comes(size):
    nothing = Side(
        np.zeros((size, size), np.uint8), np.zeros((size, size), np.float32), np.zeros((size, size), bool),
        NAN, False, NAN, (1, 1),
    )  # fmt: skip
    picture = drawn(nothing, nothing, np.zeros((size, size), bool), NAN, "Röntgen  (é) " * 40)
    assert picture.shape == (HEIGHT, WIDTH, 3)


def test_each_text_and_each_image_has_its_place():
    """Both sides have p, answer and IOL; red is what is wrong, out of the lungs or changed."""
    original, lung = side(iol=0.391, probability=0.4996, positive=False), np.eye(64, dtype=bool)
    received = side(image=np.full((64, 64), 30, np.uint8))
    picture = drawn(original, received, lung, settings=Robustness(region_threshold=0.25, layer="backbone.last"))
    sheet = Sheet(1042, 602)
    sheet.write((16, 4), "Label: COVID-19", INK, 31, bold=True)
    sheet.write((1026, 4), "the decision changes", ALARM, 31, bold=True, anchor="ra")

    # left: x = 16 to 448
    sheet.write((16, 40), "Original", MUTED, 31)
    sheet.write((448, 40), "p = 0.500", INK, 31, anchor="ra")
    sheet.write((16, 76), "not COVID-19", ALARM, 31, bold=True)
    sheet.write((448, 76), "IOL 0.39", ALARM, 31, anchor="ra")
    sheet.paste(overlay(original.image, original.heat, original.region, lung, (432, 432)), (16, 118))

    # right: x = 464 to 896
    sheet.write((464, 40), "Received", MUTED, 31)
    sheet.write((896, 40), "p = 0.700", INK, 31, anchor="ra")
    sheet.write((464, 76), "COVID-19", INK, 31, bold=True)
    sheet.write((896, 76), "IOL 0.50", INK, 31, anchor="ra")
    sheet.paste(overlay(received.image, received.heat, received.region, lung, (432, 432)), (464, 118))

    # the colour scale, 30 pixels wide and 342 high, with marks of two pixels at 1, 0.25 and 0
    ramp = np.linspace(1, 0, 342, dtype=np.float32)[:, None].repeat(30, axis=1)
    sheet.paste(blend(np.full((342, 30), 110, np.uint8), ramp), (912, 194))
    sheet.pen.multiline_text((912, 116), "share of\nthe map's\nmaximum", MUTED, font(20), spacing=3)
    for y, words in ((194, "1"), (449.75, "0.25"), (535, "0")):
        sheet.pen.line((942, y, 950, y), INK, 2)
        sheet.write((956, y), words, INK, 28, anchor="lm")

    # what is below
    sheet.write((16, 556), "Grad-CAM, explains the decision made", MUTED, 14)
    sheet.key(346, 556, REGION, "region, ≥ 0.25 of max.")
    sheet.key(560, 556, LUNG, "lungs")
    sheet.write((1026, 556), "positive from p = 0.5; red: wrong, or IOL < 0.4", MUTED, 14, anchor="ra")
    sheet.write((16, 579), "a.png   ·   layer backbone.last", INK, 15)
    sheet.write((1026, 579), "map of 16 x 16 cells", MUTED, 15, anchor="ra")
    assert (picture == sheet.pixels).all()


@pytest.mark.parametrize(
    ("changes", "lung", "words", "colour"),
    [
        ({"iol": NAN}, np.zeros((0, 0), bool), "no mask", MUTED),
        ({"iol": NAN}, np.zeros((64, 64), bool), "no lung", MUTED),
        ({"iol": NAN}, np.ones((64, 64), bool), "no map", MUTED),
        ({"iol": 0.4}, np.ones((64, 64), bool), "IOL 0.40", INK),
        ({"iol": 0.3999}, np.ones((64, 64), bool), "IOL 0.40", ALARM),
    ],
)
def test_the_iol_or_why_there_is_none(changes, lung, words, colour):
    sheet = Sheet(432, 42)
    sheet.write((0, 0), "COVID-19", INK, 31, bold=True)
    sheet.write((432, 0), words, colour, 31, anchor="ra")
    assert (drawn(side(**changes), lung=lung)[76:118, 16:448] == sheet.pixels).all()


@pytest.mark.parametrize(
    ("label", "positive", "title", "answer", "colour"),
    [
        (1.0, True, "COVID-19", "COVID-19", INK),
        (0.0, False, "not COVID-19", "not COVID-19", INK),
        (0.0, True, "not COVID-19", "COVID-19", ALARM),
        (NAN, False, "unknown", "not COVID-19", INK),
    ],
)
def test_the_label_and_what_is_wrong(label, positive, title, answer, colour):
    one = side(positive=positive)
    sheet = Sheet(1042, 36)
    sheet.write((16, 4), f"Label: {title}", INK, 31, bold=True)
    picture = drawn(one, one, label=label)
    assert (picture[:36] == sheet.pixels).all()

    sheet = Sheet(260, 42)
    sheet.write((0, 0), answer, colour, 31, bold=True)
    assert (picture[76:118, 16:276] == sheet.pixels).all()


def test_without_a_probability_there_is_no_prediction():
    sheet = Sheet(284, 42)
    sheet.write((0, 0), "no prediction", ALARM, 31, bold=True)
    assert (drawn(side(probability=NAN))[76:118, 16:300] == sheet.pixels).all()


@pytest.mark.parametrize(
    ("rule", "target", "words", "positive"),
    [
        (DecisionRule.argmax, Target.predicted, "the most probable class", "if p is highest"),
        (DecisionRule.threshold, Target.decision, "the decision made", "from p = 0.35"),
    ],
)
def test_the_legend_says_what_is_explained_and_what_is_positive(rule, target, words, positive):
    sheet = Sheet(1042, 20)
    sheet.write((16, 0), f"EigenCAM, explains {words}", MUTED, 14)
    sheet.key(346, 0, REGION, "region, ≥ 0.5 of max.")
    sheet.key(560, 0, LUNG, "lungs")
    sheet.write((1026, 0), f"positive {positive}; red: wrong, or IOL < 0.25", MUTED, 14, anchor="ra")
    decision = Decision("COVID-19", 0, threshold=0.35, rule=rule)
    settings = Robustness(target=target, engine="eigencam", eta=0.25)
    assert (drawn(settings=settings, decision=decision)[556:576] == sheet.pixels).all()


def test_a_coarse_map_is_said_in_red():
    sheet = Sheet(1042, 23)
    sheet.write((16, 0), "a.png", INK, 15)
    sheet.write((1026, 0), "coarse map of 4 x 4 cells: each is 6.2 % of the image", ALARM, 15, anchor="ra")
    assert (drawn(side(cells=(4, 4)))[579:] == sheet.pixels).all()


def test_long_texts_take_the_room_that_there_is():
    """Two letters are cut at a time, of 9 pixels each in the large type and 5 in the small one."""
    long = Decision("i" * 400, 0)
    changed = drawn(received=side(positive=False), caption="i" * 400, decision=long)
    wrong = drawn(settings=Robustness(target=Target.positive), decision=long)
    parts = [
        (changed[:38], 1010 - font(31, bold=True).getlength("the decision changes"), 22),
        (wrong[:38], 1010, 22),
        (changed[76:112], 432 - font(31).getlength("IOL 0.50"), 22),
        (changed[579:], 1010 - font(15).getlength("map of 16 x 16 cells"), 12),
        (wrong[556:576], 334, 12),
    ]
    for part, right, letters in parts:
        first, last = extent(part[:, : int(right) + 8])
        assert 16 <= first <= 19
        assert right - letters <= last <= right
    rule = drawn(settings=Robustness(eta=0.1234567), decision=Decision("COVID-19", 0, threshold=1e-5 / 3))
    first, last = extent(rule[556:576, 645:])
    assert 652 <= 645 + first < 672
    assert 645 + last <= 1026


def test_few_cells():
    assert [is_coarse((side, side)) for side in (1, 4, 6, 7, 16)] == [True, True, True, False, False]
    assert cells_text((7, 8)) == "map of 7 x 8 cells"
    assert cells_text((2, 2)) == "coarse map of 2 x 2 cells: each is 25.0 % of the image"


def test_what_is_cold_stays_grey_and_what_is_hot_shows_the_anatomy():
    grey = np.array([[0, 255]], np.uint8)
    assert blend(grey, np.zeros((1, 2))).tolist() == [[[0] * 3, [255] * 3]]
    assert (blend(grey, np.ones((1, 2)))[0, 1] > blend(grey, np.ones((1, 2)))[0, 0]).all()


@pytest.mark.parametrize("heat", [0.25, 0.5, 1.0])
def test_a_colour_is_infernos_and_as_opaque_as_it_is_hot(heat):
    inferno = np.array(matplotlib.colormaps["inferno"](round(heat * 255), bytes=True)[:3])
    expected = 100 * (1 - 0.6 * heat) + inferno * 0.6 * heat
    np.testing.assert_allclose(blend(np.array([[100]], np.uint8), np.array([[heat]]))[0, 0], expected, atol=1.2)


def test_an_outline_is_two_pixels_wide_between_dark_edges():
    """The block 8 to 23 of 32: its last pixels and the first ones outside are the line."""
    image, cold, region = np.full((32, 32), 90, np.uint8), np.zeros((32, 32), np.float32), np.zeros((32, 32), bool)
    region[8:24, 8:24] = True
    nothing = np.zeros((32, 32), bool)
    line = [0, *[255] * 2, 0]
    for lung in (nothing, np.zeros((0, 0), bool)):
        outlined = overlay(image, cold, region, lung, (32, 32))
        assert outlined[16].tolist() == [[grey] * 3 for grey in [90] * 6 + line + [90] * 12 + line + [90] * 6]
        assert outlined[:, 16].tolist() == outlined[16].tolist()
    assert (overlay(image, cold, nothing, region, (32, 32))[16, 7] == LUNG).all()
    assert (overlay(image, cold, region, region, (32, 32))[16, 7] == REGION).all()  # above the lungs'


def test_an_outline_is_closed_along_the_border():
    """A region with a hole has two lines, the whole image one; no region has none."""
    image, cold, whole = np.full((32, 32), 90, np.uint8), np.zeros((32, 32), np.float32), np.ones((32, 32), bool)
    hole = whole.copy()
    hole[12:20, 12:20] = False
    line = [0, 255, 255, 0]
    frame = [90] * (MARGIN - 2) + line
    for region, row in (
        (whole, frame + [90] * (32 - 2 * len(frame)) + frame[::-1]),
        (hole, frame + [90] * (10 - len(frame)) + line + [90] * 4 + line + [90] * (10 - len(frame)) + frame[::-1]),
        (~whole, [90] * 32),
    ):
        outlined = overlay(image, cold, region, ~whole, (32, 32))
        assert outlined[16, :, 0].tolist() == outlined[:, 16, 0].tolist() == row


def test_an_enlarged_outline_has_no_stairs():
    """Ten times larger, the diagonal's stairs of ten pixels become a straight line: no run of one row has ten."""
    lung = np.tri(32, dtype=bool)
    cold = np.zeros((32, 32), np.float32)
    outlined = overlay(np.zeros((32, 32), np.uint8), cold, lung & False, lung, (320, 320))
    edge = (outlined == LUNG).all(axis=2)[60:260]
    assert edge[:, [MARGIN - 1, MARGIN]].all()  # along the image's border
    edge[:, : MARGIN + 1] = False
    assert set(edge.sum(axis=1)) <= {2, 3, 4, 5}
    centres = np.array([np.flatnonzero(row).mean() for row in edge])
    assert np.abs(centres - np.arange(60, 260) - 5).max() < 2.5


@pytest.mark.parametrize(("size", "sides"), [((320, 320), (89, 230)), ((16, 16), (3, 12))])
def test_an_outline_lies_where_its_mask_ends(size, sides):
    """The block 9 to 22 of 32 is 90 to 229 of 320, and 4 to 11 of 16, for what is half in is in."""
    region = np.zeros((32, 32), bool)
    region[9:23, 9:23] = True
    outlined = overlay(np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.float32), region, region & False, size)
    columns = np.flatnonzero((outlined[size[1] // 2] == REGION).all(axis=1))
    assert tuple(columns[[0, -1]]) == sides


@pytest.mark.parametrize("side", [160, 300, 320])
def test_a_region_of_a_single_cell_is_outlined(side):
    """So the picture of a heat map whose peak is one cell shows what OLS counted."""
    region = np.zeros((16, 16), bool)
    region[4, 11] = True
    grey, cold = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.float32)
    outlined = overlay(grey, cold, region, region & False, (side, side))
    edge = (outlined == REGION).all(axis=2)
    rows, columns = np.nonzero(edge)
    cell = side / 16
    assert abs(rows.mean() - 4.5 * cell) < 1
    assert abs(columns.mean() - 11.5 * cell) < 1
    assert 0.6 * cell < np.ptp(rows) + 1 < 0.9 * cell  # what is small shrinks


def test_an_enlarged_block_is_rounded_alike_on_all_sides():
    region = np.zeros((8, 8), bool)
    region[3:5, 3:5] = True
    outlined = overlay(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.float32), region, region & False, (320, 320))
    edge = (outlined == REGION).all(axis=2)
    assert (edge == edge.T).all()
    assert (edge == edge[::-1]).all()
    rows = np.flatnonzero(edge.any(axis=1))
    assert tuple(rows[[0, -1]]) == (119, 200)  # the block is 120 to 199, and its outline three pixels wide
    assert not edge[120, 120]  # a round corner


def test_each_pixel_counts_where_an_image_gets_smaller_and_a_larger_one_is_smooth():
    dot = np.zeros((4, 4), np.uint8)
    dot[0, 0] = 160
    assert resize_grey(dot, (1, 1)).tolist() == [[10]]
    step = np.array([[0, 200]] * 2, np.uint8)
    assert resize_grey(step, (4, 4))[0].tolist() == [0, 50, 150, 200]
    film = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    cold, nothing = np.zeros((64, 64), np.float32), np.zeros((64, 64), bool)
    for size in ((16, 16), (128, 128)):
        assert (overlay(film, cold, nothing, nothing, size)[..., 0] == resize_grey(film, size)).all()
    hot = overlay(film, cold + 1, nothing, nothing, (16, 16))
    assert (hot == blend(resize_grey(film, (16, 16)), np.ones((16, 16)))).all()
    ramp = np.array([[0, 1]] * 2, np.float32)
    wide = overlay(film, ramp, nothing, nothing, (64, 64))
    assert (wide == blend(film, cv2.resize(ramp, (64, 64), interpolation=cv2.INTER_LINEAR))).all()


def test_a_long_text_loses_its_middle():
    assert shorten("a.png", font(14), 100) == "a.png"
    short = shorten("a" * 99 + ".png", font(14), 100)
    assert 88 < font(14).getlength(short) <= 100
    assert short.startswith("aaa")
    assert short.endswith(".png")
    assert shorten("abcdefgh", font(14), font(14).getlength("abc…fgh")) == "abc…fgh"
    assert shorten("abcdefgh", font(14), font(14).getlength("abcdefgh")) == "abcdefgh"
