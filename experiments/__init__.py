"""What to run: the shipped YAML files, the schemas that they obey, loading and checking, the trials of a sweep.

Also what data and models exchange (`experiments.batch`), and the one exception whose text is meant for people. The
names in ``__all__`` are for use from outside; they are imported when they are first asked for.

    >>> from experiments import load_experiment
    >>> load_experiment("experiments/demo.yaml", ["seed=3"]).seed
    3
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
