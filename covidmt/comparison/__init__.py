"""`covidmt report` and `covidmt panel`: trained networks side by side, beside the papers.

From the tracking store to the page: `trained_runs` reads what the runs logged, `configurations` groups those that
differ in their seed alone, `comparisons` says which is more stable and how sure that is, `analysis` puts it together,
and `findings`, `tables`, `figures` and `report` say it in words, numbers, pictures and on a page. `hide_and_seek`,
`privacy` and `paper` know the three papers' own questions and figures.

From outside: `report_runs`, `analyse`, `collect_runs`, `draw_representations`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covidmt.comparison.analysis import analyse
    from covidmt.comparison.panel import draw_representations
    from covidmt.comparison.report import report_runs
    from covidmt.comparison.trained_runs import collect_runs

__all__ = ["analyse", "collect_runs", "draw_representations", "report_runs"]

_HOMES = {
    "analyse": "covidmt.comparison.analysis",
    "collect_runs": "covidmt.comparison.trained_runs",
    "draw_representations": "covidmt.comparison.panel",
    "report_runs": "covidmt.comparison.report",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
