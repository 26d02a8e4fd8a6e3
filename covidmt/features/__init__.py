"""What a trained network makes of all images of a source, whatever their split: for probes and the membership audit.

For use from outside: `answer_source`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
