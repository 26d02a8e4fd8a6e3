"""`covidmt probe`: what the frozen features of a trained network tell, of the disease and of where images come from.

`linear` fits a linear probe, `few_shot` classifies by the nearest class mean of a few images, `classes` says which
class each image of a source has, `probe` asks the questions and prints, writes and logs the answers.

For use from outside: `probe_network`, `linear_probe`, `few_shot`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
