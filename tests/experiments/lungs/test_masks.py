import pytest

from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment, parse_levels
from experiments.lungs.masks import MaskLevels, Masks


@pytest.mark.parametrize(
    ("levels", "drawn", "native"),
    [
        (None, "in", "in"),
        (None, "out", "out"),
        (MaskLevels(lungs=[1, 2]), "out", "out"),
        (MaskLevels(lungs=[1, 2], heart=3), "in", "out"),  # exclusive levels: the lungs stop at the heart
        (MaskLevels(lungs=[1, 2, 4], heart=[3, 4]), "out", "in"),  # 4: a lung behind the heart
    ],
)
def test_levels_tell_the_convention_that_masks_are_drawn_in(levels, drawn, native):
    assert Masks(levels=levels, drawn=drawn).native == native


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.masks.heart=inside", r"data\.masks\.heart: takes in or out, not 'inside'"),
        ("data.masks.drawn=both", r"data\.masks\.drawn: takes in or out"),
        ("data.masks.levels={lungs: [0, 1]}", r"data\.masks\.levels\.lungs: takes grey levels above 0"),
        ("data.masks.levels={lungs: 1, heart: red}", r"data\.masks\.levels\.heart: takes grey levels"),
        ("data.masks.levels={heart: 3}", r"levels"),
    ],
)
def test_mistakes_are_named(override, words):
    with pytest.raises(UserError, match=words):
        load_experiment(SHIPPED / "demo.yaml", [override])


def test_levels_arrive_as_they_were_written():
    masks = load_experiment(SHIPPED / "demo.yaml", ["data.masks.levels={lungs: [1, 2], heart: 3}"]).data.masks
    assert (masks.levels.lung_levels, masks.levels.heart_levels, masks.native) == ([1, 2], [3], "out")


@pytest.mark.parametrize("text", ["[1, 2]", "{lung: 1}", "{lungs: -1}", "{lungs: [1}"])
def test_levels_of_the_command_line_that_are_none_are_named(text):
    with pytest.raises(UserError, match="--levels"):
        parse_levels(text, "--levels")
