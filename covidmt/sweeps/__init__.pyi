from .cancel import cancel_trials as cancel_trials
from .folder import SweepFolder as SweepFolder
from .run import run_sweep as run_sweep
from .status import trial_statuses as trial_statuses
