"""``covidmt evaluate``: every score of a trained network with its interval and controls.

The way of the data: ``networks.py`` loads the networks, ``answers.py`` asks them, ``perturbations.py`` changes what
they are asked; ``pair_table.py``, ``scores.py`` and ``task_scores.py`` score the answers; ``result.py`` has all that
was found, and ``files.py``, ``table.py``, ``findings.py``, ``texts.py``, ``plots/``, ``pictures.py`` and ``report.py``
say, write and draw it. ``evaluate.py`` is the command.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
