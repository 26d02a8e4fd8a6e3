"""The losses: of the tasks, how they become one, and those beyond the paper.

`tasks` has Table 3 of the paper, `weighting` its Eq. 5 and two other ways; `consistency`, `attention` and `surgery` are
additions: the same answer to the received image, heat inside the lungs, gradients of tasks that do not conflict.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
