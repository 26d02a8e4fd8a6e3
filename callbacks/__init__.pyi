from .history import MetricHistory as MetricHistory
from .overlays import GradCamOverlays as GradCamOverlays
from .pair_maps import PairMaps as PairMaps
from .preemption import Preempted as Preempted
from .preemption import Preemption as Preemption
from .pruning import OptunaPruning as OptunaPruning
from .resume import ResumeCheckpoint as ResumeCheckpoint
from .robustness import RobustnessCallback as RobustnessCallback
