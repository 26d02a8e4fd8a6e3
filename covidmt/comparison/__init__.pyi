from .analysis import analyse as analyse
from .panel import draw_representations as draw_representations
from .report import report_runs as report_runs
from .trained_runs import collect_runs as collect_runs
