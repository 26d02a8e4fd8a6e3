"""What readers of data sets are made of: `listing` (which images lie in a folder), `labels`, and `boxes` of a frame.

For use from outside: `scan_folders`, `FolderImages`, `split_labels`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
