"""Self-supervised pretraining: `train` makes a weights file for ``model.weights`` out of films without labels.

For use from outside: `pretrain`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
