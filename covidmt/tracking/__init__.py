"""Where runs are logged, kept and found again.

`store` is the MLflow store and `logger` Lightning's logger, which writes to a `spool` on disk; `sender` sends that by
`delivery`, and `replay` drops what a resumed run logs a second time. `folders` has the layout of ``mlruns/``,
`provenance` says what a run was made of, `checkpoints` finds a trained network by a run's id, `history` reads how it
trained, `system_metrics` measures the machine and `ui` opens MLflow's pages.

From outside: `find_checkpoint`, `MlflowSpoolLogger`, `RunFolder`, `Store`, `sync`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
