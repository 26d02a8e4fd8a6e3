from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.sweep_schema import Sweep


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 3), max_size=3), rows=st.integers(0, 3), listed=st.integers(0, 2))
def test_as_many_points_as_the_sections_say(sizes: list[int], rows: int, listed: int):
    grid = {f"a{n}": list(range(size)) for n, size in enumerate(sizes)}
    zipped = {"b": list(range(rows)), "c": list(range(rows))} if rows else {}
    points = list(Sweep(grid=grid, zip=zipped, list=[{"d": n} for n in range(listed)]).points())
    crossed = max(1, rows)
    for size in sizes:
        crossed *= size
    alone = bool(listed and not sizes and not rows)
    assert len(points) == (0 if alone else crossed) + listed
    assert len({str(point) for point in points}) == len(points)


def test_the_grids_values_are_crossed_with_the_zipped_rows():
    sweep = Sweep(grid={"a": [1, 2]}, zip={"b": [3, 4], "c": [5, 6]}, list=[{"x": {"y": 7}}])
    assert list(sweep.points()) == [
        {"a": 1, "b": 3, "c": 5},
        {"a": 1, "b": 4, "c": 6},
        {"a": 2, "b": 3, "c": 5},
        {"a": 2, "b": 4, "c": 6},
        {"x.y": 7},
    ]
