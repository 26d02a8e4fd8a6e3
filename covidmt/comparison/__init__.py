"""`covidmt report` and `covidmt panel`: trained networks side by side, beside the papers.

From the tracking store to the page: `trained_runs` reads what the runs logged, `configurations` groups those that
differ in their seed alone, `comparisons` says which is more stable and how sure that is, `analysis` puts it together,
and `findings`, `tables`, `figures` and `report` say it in words, numbers, pictures and on a page. `hide_and_seek`,
`privacy` and `paper` know the three papers' own questions and figures.

From outside: `report_runs`, `analyse`, `collect_runs`, `draw_representations`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
