"""Which images a training step holds: a pure function of (seed, step, rank, world size), without any loader state.

Any number of workers gives the same batches, resuming is starting at step k, and W processes with batch B draw the
images of one process with batch W * B.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Item(NamedTuple):
    """One image of a batch.

    Attributes:
        group: Its batch group.
        row: Its row there.
        seed: Of its augmentation; None: no augmentation.
    """

    group: int
    row: int
    seed: int | None = None


class Stream:
    """An endless stream of rows, shuffled anew in every pass: once a pass each, more often where up-sampled.

    Element k is a pure function of (seed, name, k).

    Args:
        name: Sets the stream apart from the others of the same seed.
        seed: The experiment's seed.
        rows: The rows, each unique.
        upsample: (some of the rows, how many of them a pass shall hold): whole repeats, and a remainder drawn anew in
            every pass, so that no image is preferred for good.

    Attributes:
        pass_length: After so many elements every row has come up.

    Example:
        >>> stream = Stream("chests", seed=0, rows=np.array([10, 11, 12]))
        >>> sorted(stream.elements(0, 3).tolist()), sorted(stream.elements(3, 6).tolist())
        ([10, 11, 12], [10, 11, 12])
        >>> stream.elements(0, 6)[2:4].tolist() == stream.elements(2, 4).tolist()
        True
    """

    def __init__(self, name: str, seed: int, rows: np.ndarray, upsample: Sequence[tuple[np.ndarray, int]] = ()) -> None:
        self.name = name
        self.seed = seed
        self.rows = rows
        self.extra = [(members, max(0, total - len(members))) for members, total in upsample]
        self.pass_length = len(rows) + sum(count for _, count in self.extra)
        self._last: tuple[int, np.ndarray] = (-1, rows)

    def elements(self, start: int, stop: int) -> np.ndarray:
        """Return rows number ``start`` to ``stop - 1`` of the stream, (stop - start,) int64."""
        first, last = start // self.pass_length, (stop - 1) // self.pass_length
        order = np.concatenate([self._pass(number) for number in range(first, last + 1)])
        return order[start - first * self.pass_length : stop - first * self.pass_length]

    def _pass(self, number: int) -> np.ndarray:
        if self._last[0] != number:  # steps ask for the same pass again and again
            rng = np.random.default_rng(_seed(self.seed, self.name, number))
            pool = [self.rows]
            for members, count in self.extra:
                whole, rest = divmod(count, len(members))
                pool += [np.tile(members, whole), rng.choice(members, rest, replace=False)]
            self._last = (number, rng.permutation(np.concatenate(pool)))
        return self._last[1]


class BalancedStream:
    """As :class:`Stream`, but its classes come up equally often, each from an endless stream of its own.

    In every run of as many elements as there are classes, each class comes up once, in a random order.

    Args:
        name: Sets the stream apart from the others of the same seed.
        seed: The experiment's seed.
        classes: The rows of each class.

    Example:
        >>> stream = BalancedStream("chests", seed=0, classes=[np.array([0, 1, 2, 3]), np.array([9])])
        >>> (stream.elements(0, 8) == 9).sum()
        np.int64(4)
    """

    def __init__(self, name: str, seed: int, classes: Sequence[np.ndarray]) -> None:
        self.name = name
        self.seed = seed
        self.streams = [Stream(f"{name}/class {i}", seed, rows) for i, rows in enumerate(classes)]
        self.pass_length = len(classes) * max(len(rows) for rows in classes)

    def elements(self, start: int, stop: int) -> np.ndarray:
        """Return rows number ``start`` to ``stop - 1`` of the stream, (stop - start,) int64."""
        n = len(self.streams)
        first, end = start // n, -(-stop // n)
        rows = np.stack([stream.elements(first, end) for stream in self.streams], axis=1)
        orders = [
            np.random.default_rng(_seed(self.seed, self.name, block)).permutation(n) for block in range(first, end)
        ]
        return np.take_along_axis(rows, np.stack(orders), axis=1).ravel()[start - first * n : stop - first * n]


class StepSampler(Sampler[list[Item]]):
    """The batch sampler of training: step s takes elements [s*W*B + r*B, s*W*B + (r+1)*B) of every group's stream.

    Epoch e covers the steps [e*L, (e+1)*L); the streams know no epochs and go on where they are.

    Args:
        streams: One a batch group; the first is the primary task's.
        batch_sizes: Images a step takes from each, per process.
        epoch_length: ``primary``: L steps show each image of the first group at least once; ``longest``: of every
            group; or L itself.
        seed: The experiment's seed.
        rank: This process.
        world_size: Number of processes.

    Attributes:
        start_step: The step that the next iteration begins with, counted in batches from the beginning of training
            (gradient accumulation does not enter). To resume, set it; it runs to the end of its epoch.

    Example:
        >>> streams = [Stream("chests", 0, np.arange(6)), Stream("boxes", 0, np.arange(4))]
        >>> steps = StepSampler(streams, batch_sizes=[2, 1])
        >>> len(steps), [(item.group, len(item)) for item in next(iter(steps))]
        (3, [(0, 3), (0, 3), (1, 3)])
        >>> two = [StepSampler(streams, [1, 1], rank=rank, world_size=2) for rank in (0, 1)]
        >>> steps.step(5)[:2] == [sampler.step(5)[0] for sampler in two]  # one process with 2 images, two with 1
        True
    """

    def __init__(
        self,
        streams: Sequence[Stream | BalancedStream],
        batch_sizes: Sequence[int],
        epoch_length: str = "primary",
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.streams = streams
        self.batch_sizes = batch_sizes
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.start_step = 0
        self.sampler: StepSampler | None = self  # Lightning calls set_epoch on ``batch_sampler.sampler``
        lengths = [-(-s.pass_length // (b * world_size)) for s, b in zip(streams, batch_sizes, strict=True)]
        named = {"primary": lengths[0], "longest": max(lengths)}
        self._length = named.get(epoch_length) or int(epoch_length)

    def __len__(self) -> int:
        """Steps an epoch."""
        return self._length

    def set_epoch(self, epoch: int) -> None:
        """Go to the first step of an epoch, unless ``start_step`` lies within it."""
        if self.start_step // len(self) != epoch:
            self.start_step = epoch * len(self)

    def __iter__(self) -> Iterator[list[Item]]:
        # no generator: start_step is read now, not at the first step
        end = (self.start_step // len(self) + 1) * len(self)
        return map(self.step, range(self.start_step, end))

    def step(self, step: int) -> list[Item]:
        """Return this process's images of one step, group by group."""
        items: list[Item] = []
        for group, (stream, size) in enumerate(zip(self.streams, self.batch_sizes, strict=True)):
            start = (step * self.world_size + self.rank) * size
            for k, row in enumerate(stream.elements(start, start + size), start):
                items.append(Item(group, int(row), _augmentation_seed(self.seed, stream.name, k)))
        return items


class PoissonSampler(StepSampler):
    """The batch sampler of private training: every row is drawn at every step with probability batch size / rows.

    A step may hold few images, or none. The accounting of differential privacy presumes this. A step is a pure function
    of its number, as with :class:`StepSampler`, and an epoch has as many steps. For one process and one stream, of
    which only the rows are used.

    Args:
        streams: As of :class:`StepSampler`, one.
        batch_sizes: As of the same.
        epoch_length: As of the same.
        units: Row -> its unit, such as its patient: all rows of a unit are drawn together; None: each row for itself.
        replayable: False: the draws come from the operating system, and a step is another one each time.
        options: ``seed``, ``rank`` and ``world_size`` of :class:`StepSampler`.

    Example:
        >>> steps = PoissonSampler([Stream("chests", 0, np.arange(1000))], batch_sizes=[50])
        >>> 30 < len(steps.step(0)) < 70, steps.step(0) == steps.step(0)
        (True, True)
    """

    def __init__(
        self,
        streams: Sequence[Stream | BalancedStream],
        batch_sizes: Sequence[int],
        epoch_length: str = "primary",
        *,
        units: np.ndarray | None = None,
        replayable: bool = True,
        **options: int,
    ) -> None:
        super().__init__(streams, batch_sizes, epoch_length, **options)
        rows = streams[0].rows if isinstance(streams[0], Stream) else np.empty(0, np.int64)
        self.units = np.unique(rows if units is None else units[rows], return_inverse=True)[1]
        self.replayable = replayable

    def step(self, step: int) -> list[Item]:
        """Return the images of one step."""
        (stream,), (size,) = self.streams, self.batch_sizes
        assert isinstance(stream, Stream)
        name = f"{stream.name}/poisson"
        rng = np.random.default_rng(_seed(self.seed, name, step) if self.replayable else None)
        chances = rng.random(self.units.max() + 1)[self.units]
        rows = stream.rows[chances < size / len(stream.rows)]
        first = step * len(stream.rows)
        return [Item(0, int(row), _augmentation_seed(self.seed, name, first + k)) for k, row in enumerate(rows)]


def _seed(seed: int, name: str, number: int) -> np.random.SeedSequence:
    # hash() of a string differs from process to process
    digest = int.from_bytes(sha256(name.encode()).digest()[:8])
    return np.random.SeedSequence([seed, digest], spawn_key=(number,))


def _augmentation_seed(seed: int, name: str, k: int) -> int:
    return int(_seed(seed, f"{name}/augmentation", k).generate_state(1)[0])
