from experiments.errors import nearest


def test_the_nearest_word_is_suggested():
    assert nearest("covidxx", ["rsna", "covidx", "nih"]) == "; did you mean 'covidx'?"


def test_where_no_word_is_near_all_are_named():
    assert nearest("zzz", iter(["rsna", "covidx"])) == "; known: covidx, rsna"
    assert nearest("zzz", []) == ""
