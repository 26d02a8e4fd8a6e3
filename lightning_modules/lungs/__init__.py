"""Where the lungs are: the lung U-Net (paper 001), and segmenters by name, among them the trained one.

`unet` and `encoder` are the network and its training; `segmenters` loads `lung_unet.ckpt`, which comes with covidmt, a
checkpoint of one's own, or torchxrayvision's PSPNet.

The names in ``__all__`` are for use from outside; they are imported when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
