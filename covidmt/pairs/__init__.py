"""Image pairs in WaCXR's layout: `covidmt pairs`.

`make` sends originals through a simulated channel, `match` pairs them with the files that really went through a phone;
`originals` finds the images to send, `manifest` lists made pairs.

For use from outside: `make_pairs`, `match_pairs`, `read_manifest`, `ManifestRow`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
