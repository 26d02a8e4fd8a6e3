"""Trained networks as MLflow knows them: `logged` makes a run's LoggedModel, `registry` its version under a name.

From outside: `ModelEntry`, `deliver_model`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
