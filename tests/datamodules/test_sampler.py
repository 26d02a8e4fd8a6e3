from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.sampler import BalancedStream, Item, PoissonSampler, StepSampler, Stream

quick = settings(max_examples=25, deadline=None)
CHESTS, BOXES = Stream("chests", 0, np.arange(6)), Stream("boxes", 0, np.arange(4))
sizes = st.integers(1, 23)


def sampler(lengths, batches, *, epoch_length="primary", seed=0, rank=0, world=1):
    streams = [Stream(f"source {i}", seed, np.arange(n)) for i, n in enumerate(lengths)]
    return StepSampler(streams, batches, epoch_length, seed=seed, rank=rank, world_size=world)


@quick
@given(sizes, st.integers(0, 100), st.integers(0, 60), st.integers(1, 60))
def test_an_element_depends_on_its_number_alone(rows, seed, start, count):
    whole = Stream("s", seed, np.arange(rows)).elements(0, start + count)
    part = Stream("s", seed, np.arange(rows)).elements(start, start + count)
    assert part.tolist() == whole[start:].tolist()


@quick
@given(sizes, st.integers(0, 100), st.integers(1, 4))
def test_every_pass_shows_every_row_once(rows, seed, passes):
    elements = Stream("s", seed, np.arange(rows)).elements(0, passes * rows)
    assert np.sort(elements.reshape(passes, rows)).tolist() == [list(range(rows))] * passes


def test_passes_names_and_seeds_differ():
    first, second = Stream("s", 0, np.arange(50)).elements(0, 100).reshape(2, 50).tolist()
    assert first != second
    assert first != Stream("t", 0, np.arange(50)).elements(0, 50).tolist()
    assert first != Stream("s", 1, np.arange(50)).elements(0, 50).tolist()


def test_streams_are_the_same_in_every_process_and_version():
    """What a training saw before it was interrupted must not come again: these rows may change with a reason alone."""
    assert CHESTS.elements(0, 12).tolist() == [0, 2, 4, 3, 1, 5, 2, 5, 0, 3, 1, 4]
    upsampled = Stream("chests", 3, np.arange(4), [(np.array([1, 2]), 5)])
    assert upsampled.elements(0, 14).tolist() == [2, 0, 2, 3, 1, 1, 2, 1, 3, 1, 2, 2, 0, 2]
    balanced = BalancedStream("chests", 0, [np.array([0, 1, 2]), np.array([7, 8])])
    assert balanced.elements(0, 10).tolist() == [0, 8, 7, 1, 2, 7, 2, 8, 0, 7]


def test_steps_are_the_same_in_every_process_and_version():
    """Rows and augmentation seeds, as of Python's hash() they would be other ones in every process."""
    step = StepSampler([CHESTS, BOXES], [2, 1]).step(4)
    assert step == [(0, 0, 1483824816), (0, 3, 391195368), (1, 2, 4020647697)]
    poisson = PoissonSampler([CHESTS], [3]).step(2)
    assert poisson == [(0, 1, 3782935641), (0, 4, 3234606352), (0, 5, 2705921273)]
    assert PoissonSampler([Stream("chests", 5, np.arange(6))], [3], seed=5).step(1) == [(0, 5, 830778408)]


def test_a_step_holds_other_images_on_another_rank_and_of_another_seed():
    first = StepSampler([CHESTS], [2], seed=0, rank=0, world_size=2).step(1)
    second = StepSampler([CHESTS], [2], seed=0, rank=1, world_size=2).step(1)
    assert [item.row for item in first + second] == CHESTS.elements(4, 8).tolist()
    assert [item.seed for item in StepSampler([CHESTS], [2], seed=1).step(2)] != [item.seed for item in first]


def test_a_new_sampler_begins_with_step_0():
    steps = StepSampler([CHESTS, BOXES], [2, 1])
    assert steps.sampler is steps  # Lightning sets the epoch there
    assert (steps.start_step, len(list(steps))) == (0, 3)
    assert list(steps) == [steps.step(number) for number in range(3)]
    steps.set_epoch(2)
    assert steps.start_step == 6
    steps.start_step = 8  # within the epoch: it stays
    steps.set_epoch(2)
    assert steps.start_step == 8
    assert list(steps) == [steps.step(8)]


def test_a_balanced_stream_has_no_private_steps():
    """It is refused at the first step, not where the sampler is made."""
    balanced = PoissonSampler([BalancedStream("chests", 0, [np.arange(4)])], [2], units=np.array(list("aabb")))
    with pytest.raises(AssertionError):
        balanced.step(0)


def test_private_epochs_have_the_length_that_is_asked_for():
    assert len(PoissonSampler([CHESTS], [2], epoch_length="7")) == 7
    assert len(PoissonSampler([CHESTS], [2], world_size=2)) == 2


def test_upsampling_repeats_whole_and_draws_the_remainder_anew():
    rows, few = np.arange(20), np.array([3, 5, 7])
    stream = Stream("s", 0, rows, [(few, 11)])  # 11 = 3 whole repeats and a remainder of 2
    assert stream.pass_length == 20 + 8
    extras = set()
    for number in range(12):
        counts = Counter(stream.elements(number * 28, (number + 1) * 28).tolist())
        assert set(counts) == set(range(20))
        assert sum(counts[row] for row in few) == 11
        assert {counts[row] for row in few} == {3, 4}
        extras.add(tuple(row for row in few if counts[row] == 4))
    assert len(extras) == 3  # every pair of the three has been the remainder
    assert Stream("s", 0, rows, [(few, 2)]).pass_length == 20  # never down-sampled


@quick
@given(st.lists(sizes, min_size=1, max_size=4), st.integers(0, 100), st.integers(0, 50), st.integers(1, 30))
def test_balanced_classes_come_up_equally_often(counts, seed, start, count):
    starts = np.cumsum([0, *counts])
    classes = [np.arange(a, b) for a, b in pairwise(starts)]
    stream = BalancedStream("s", seed, classes)
    elements = stream.elements(0, stream.pass_length)
    assert set(elements.tolist()) == set(range(starts[-1]))
    drawn = np.searchsorted(starts, elements, side="right") - 1
    assert np.sort(drawn.reshape(-1, len(counts))).tolist() == [list(range(len(counts)))] * max(counts)
    part = BalancedStream("s", seed, classes).elements(start, start + count)
    assert part.tolist() == stream.elements(0, start + count)[start:].tolist()


@quick
@given(st.lists(sizes, min_size=1, max_size=3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 30))
def test_ranks_draw_together_what_one_process_draws(lengths, batch, world, step):
    alone = sampler(lengths, [batch * world] * len(lengths)).step(step)
    ranks = [sampler(lengths, [batch] * len(lengths), rank=r, world=world).step(step) for r in range(world)]
    assert sorted(item for rank in ranks for item in rank) == sorted(alone)  # images and augmentation seeds


@quick
@given(st.lists(st.integers(8, 23), min_size=1, max_size=3), st.integers(2, 4), st.integers(0, 9))
def test_ranks_are_disjoint_within_a_pass(lengths, world, step):
    ranks = [sampler(lengths, [2] * len(lengths), rank=r, world=world).step(step) for r in range(world)]
    for group, length in enumerate(lengths):
        first = step * world * 2
        rows = [item.row for rank in ranks for item in rank if item.group == group]
        if first // length == (first + world * 2 - 1) // length:  # the step lies within one pass
            assert len(set(rows)) == world * 2


@quick
@given(st.lists(sizes, min_size=2, max_size=3), st.integers(1, 3), st.integers(1, 3))
def test_ranks_and_epochs_cover_everything(lengths, batch, world):
    seen = [set() for _ in lengths]
    samplers = [sampler(lengths, [batch] * len(lengths), rank=r, world=world) for r in range(world)]
    for epoch in range(max(lengths)):
        for steps in samplers:
            steps.set_epoch(epoch)
            for items in steps:
                for item in items:
                    seen[item.group].add(item.row)
        if epoch == 0:
            assert seen[0] == set(range(lengths[0]))  # the primary one within one epoch
    assert seen == [set(range(length)) for length in lengths]


def test_epoch_lengths():
    assert len(sampler([10, 100], [4, 4])) == 3
    assert len(sampler([10, 100], [4, 4], epoch_length="longest")) == 25
    assert len(sampler([10, 100], [4, 4], epoch_length="longest", world=3)) == 9
    assert len(sampler([10, 100], [4, 4], epoch_length="7")) == 7


def test_resuming_is_starting_at_a_step():
    steps = sampler([10, 100], [4, 4])
    run = []
    for epoch in range(3):
        steps.set_epoch(epoch)
        run += list(steps)
    again = sampler([10, 100], [4, 4])
    again.start_step = 4
    again.set_epoch(1)  # the epoch that step 4 lies in
    resumed = list(again)
    again.set_epoch(2)
    assert resumed + list(again) == run[4:]


def test_augmentation_seeds_are_the_images_own():
    items = sampler([5, 5], [50, 50]).step(0)
    assert len({item.seed for item in items}) == 100
    assert all(isinstance(item, Item) and item.seed is not None for item in items)


def test_poisson_draws_each_row_for_itself():
    """The rate is batch / rows, steps differ in size, and a step is a function of its number."""
    rows = np.arange(100, 140)
    sampler = PoissonSampler([Stream("s", 3, rows)], [10], seed=3)
    assert len(sampler) == 4
    steps = [sampler.step(k) for k in range(600)]
    sizes = np.array([len(step) for step in steps])
    assert sizes.mean() == pytest.approx(10, rel=0.05)
    assert sizes.var() == pytest.approx(40 * 0.25 * 0.75, rel=0.2)  # binomial: no fixed size
    times = np.bincount([item.row - 100 for step in steps for item in step], minlength=40)
    assert (abs(times - 150) < 5 * np.sqrt(600 * 0.25 * 0.75)).all()
    assert PoissonSampler([Stream("s", 3, rows)], [10], seed=3).step(17) == steps[17]
    assert len({item.seed for step in steps for item in step}) > 0.99 * sizes.sum()
    sampler.start_step = 6  # resumed within the second epoch
    assert list(sampler) == steps[6:8]
    assert any(not PoissonSampler([Stream("s", 3, rows)], [1], seed=3).step(k) for k in range(20))  # empty ones too


def test_units_are_drawn_together_and_as_often():
    """Rows 0 to 5 of patient 0, each other row of a patient of its own."""
    patients = np.array([0] * 6 + [*range(1, 195)])
    sampler = PoissonSampler([Stream("chests", 0, np.arange(200))], [50], units=patients)
    steps = [{item.row for item in sampler.step(step)} for step in range(400)]
    together = [len(rows & set(range(6))) for rows in steps]
    assert set(together) == {0, 6}
    assert np.mean([count == 6 for count in together]) == pytest.approx(0.25, abs=0.07)
    assert np.mean([len(rows) for rows in steps]) == pytest.approx(50, abs=2)


def test_draws_from_the_system_are_never_the_same_again():
    stream = Stream("chests", 0, np.arange(500))
    sampler = PoissonSampler([stream], [50], replayable=False)
    assert sampler.step(0) != sampler.step(0)
    assert np.mean([len(sampler.step(0)) for _ in range(100)]) == pytest.approx(50, abs=4)
