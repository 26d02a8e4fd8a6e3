"""Sweeps: one experiment many times, on this machine or on SLURM.

`run` submits what is not finished, `cancel` ends trials, `show` prints their table and logs. `folder` is a sweep on
disk, `runs` its MLflow runs, `status` how its trials are. `local` and `slurm` start the trials, each of which is a
`job`; `search` has Optuna draw their values, and `snapshot` copies the code that they import.

From outside: `cancel_trials`, `run_sweep`, `SweepFolder`, `trial_statuses`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
