from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.keys import flatten, merge, nest


@given(st.dictionaries(st.text("ab", min_size=1, max_size=2), st.integers() | st.just([1]), max_size=4))
@settings(max_examples=20, deadline=None)
def test_dotted_and_nested_are_the_same(values: dict):
    nested = {"x": values, "y": 1} if values else {"y": 1}
    assert nest(flatten(nested)) == nested


def test_a_mapping_takes_the_place_of_a_plain_value_and_the_other_way_round():
    values = {"a": 1, "b": {"c": 2}}
    merge(values, {"a": {"d": 3}, "b": 4})
    assert values == {"a": {"d": 3}, "b": 4}


def test_what_is_merged_is_not_changed_later():
    given_values = {"data": {"root": "a"}}
    nest({"data": given_values["data"], "data.root": "b"})
    assert given_values == {"data": {"root": "a"}}
