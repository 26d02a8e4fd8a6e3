"""What an experiment may say about its image pairs: which sources they are of, which channel makes them, how many."""

from __future__ import annotations

from dataclasses import dataclass

# OmegaConf reads the annotations at run time and knows typing's own generics.
from typing import Any, Optional

from experiments.bounds import bounded
from experiments.plugins.choices import chosen


@dataclass
class Pairs:
    """Where the image pairs of PI and OLS come from.

    Attributes:
        val: Source whose validation split is sent through ``channel`` at every validation epoch; or several in a list:
            the first one's pairs are those of the decision, and the active tasks of each source are scored on its own
            pairs. A further source without an active task has none.
        test: Source whose test split is tested on, or several in a list, as of ``val``: those of kind ``wacxr`` and
            ``pairs`` bring what the phone received, of any other it is made by ``channel``; null: no test. A further
            source that is not on this machine is left out.
        channel: One of ``datamodules.channels.registry``, or several in a row: ``whatsapp+whatsapp``,
            ``resize:1600+jpeg:70``; or a random one, whose numbers are drawn for each image:
            ``whatsapp:quality=60..92``.
        draws: PI over so many draws of a random channel, with its spread; OLS is measured on the first.
        limit: At most so many validation pairs of each source, drawn by seed and balanced over the classes; or a number
            by source, ``{nih: 500}``; null: all.
    """

    val: Any = "covidx"  # a name or a list of names
    test: Any = "wacxr"  # null, a name or a list of names
    channel: str = chosen("whatsapp", "channels")
    draws: int = bounded(1, at_least=1)
    limit: Any = None  # null, a number, or source -> number

    @property
    def val_sources(self) -> list[str]:
        """The sources of ``val``; the first has the pairs of the decision."""
        return list(self.val) if isinstance(self.val, list) else [self.val]

    @property
    def test_sources(self) -> list[str]:
        """The sources of ``test``; the first has the pairs of the decision.

        >>> [Pairs(test=test).test_sources for test in ("wacxr", ["wacxr", "clinic"], None)]
        [['wacxr'], ['wacxr', 'clinic'], []]
        """
        if self.test is None:
            return []
        return list(self.test) if isinstance(self.test, list) else [self.test]

    def sources_of(self, split: str) -> list[str]:
        """Return the sources of a split, ``val`` or ``test``; the first has the pairs of the decision.

        >>> Pairs(test=None).sources_of("val"), Pairs(test=None).sources_of("test")
        (['covidx'], [])
        """
        return self.test_sources if split == "test" else self.val_sources

    def limit_of(self, source: str) -> Optional[int]:
        """Return the most validation pairs of a source.

        >>> Pairs(limit={"nih": 500}).limit_of("nih"), Pairs(limit={"nih": 500}).limit_of("rsna")
        (500, None)
        """
        return self.limit.get(source) if isinstance(self.limit, dict) else self.limit
