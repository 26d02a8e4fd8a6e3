"""What watches a training: PI, OLS and pictures at every validation epoch; resuming, preemption, pruning, the history.

`RobustnessCallback` and `GradCamOverlays` work with any LightningModule that has ``features`` and ``head``, and any
LightningDataModule that has image pairs. With `ResumeCheckpoint` and `Preemption` a training that was killed, or told
to leave, ends with the very bits of one that was left alone. All that covidmt needs of Lightning's private parts stands
in `callbacks.lightning_state`.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
