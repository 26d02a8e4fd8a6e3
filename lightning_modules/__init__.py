"""The networks and how they are trained: base networks, heads, losses, the multi-task module, the lung U-Net.

`multitask` is the heart: six tasks on one base network. It is made of `networks/` (base networks by name, their
weights), `heads` and `box_codes`, `tasks` (a head with its loss and scores), `losses/` and `optimizers`. `privacy` and
`private_multitask` train with differential privacy; `checkpoint` and `load` read what was trained; `lungs/` finds the
lungs.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
