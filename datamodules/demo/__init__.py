"""Made-up data sets to try everything out with: `covidmt data demo`.

`write` makes the folder, `layouts` writes each data set's own layout, `films` decides who has which finding in which
split. One chest X-ray is drawn by `phantom`, from `anatomy`, `findings` and the shapes of `canvas`.

For use from outside: `write_demo`, `draw_chest`, `Anatomy`, `Chest`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
